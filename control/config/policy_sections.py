"""The sections that set a route's policy. Their keys and defaults are those of `router.policy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from control.config.fields import Dollars, Seconds, Share
from router.policy import GatePolicy, GuardPolicy, Policy, RolloutPolicy, ShadowPolicy, Step

Probability = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Level = Annotated[float, Field(gt=0, le=1)]
_Length = Annotated[float, Field(gt=1, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of all sections: no unknown keys, no conversions, immutable."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True
    )


class StepSection(Section):
    """``{ served = 100, dwell_s = 3600 }``; what is left out keeps the step's default."""

    served: Annotated[int, Field(ge=0)] | None = None
    dwell_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class StepsSection(Section):
    """The ramp, each step a key."""

    r1: StepSection = StepSection()
    r5: StepSection = StepSection()
    r25: StepSection = StepSection()
    r50: StepSection = StepSection()


#: key -> type, narrower than that of the value's field; a key that is missing fails the import
_TYPES: Mapping[type[msgspec.Struct], Mapping[str, Any]] = {
    GatePolicy: {
        "retention": Level | None,
        # At 1 no pair could show that a student is above it.
        "min_score": Probability | None,
        "margin": Probability | None,
        "alpha": Probability,
        "beta": Probability,
        "min_pairs": Count,
        "max_pairs": Count,
        "max_s": Seconds,
        "min_label_coverage": Share,
        "max_outage_share": Share,
        "recent_s": Seconds,
    },
    RolloutPolicy: {
        "holdout": Annotated[float, Field(ge=0, le=0.5)],
        "approval": Literal["first", "every", "none"],
        "ready_expires_s": Seconds,
        "patience": Annotated[float, Field(ge=1, allow_inf_nan=False)],
        "settle_s": Annotated[float, Field(ge=0, allow_inf_nan=False)],
        "cool_down_s": Annotated[float, Field(ge=0, allow_inf_nan=False)],
        "lease_s": Seconds,
        "live_lease_s": Seconds,
        "lease_renew_s": Seconds,
        "dry_run": bool,
    },
    GuardPolicy: {
        "quality_arl": _Length,
        "availability_arl": _Length,
        "error_rate": Probability,
        "slow_rate": Probability,
        "latency_slo_ms": Seconds | None,
        "warn_min_pairs": Count,
        "return_dwell_s": Annotated[list[Seconds], Field(min_length=4, max_length=4)],
        "flap_holds": Count,
        "flap_window_s": Seconds,
        "flap_window_requests": Count,
        "gone_after_s": Seconds,
        "breakers_open_s": Seconds,
    },
    ShadowPolicy: {
        "sample_rate": Share,
        "reverse_rate": Share,
        "audit_rate": Share,
        "daily_budget_usd": Dollars,
        "concurrency": Count,
        "label_deadline_s": Seconds,
        "timeout_s": Seconds,
    },
}


def _keys(policy: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(policy):
        default = field.default
        if isinstance(default, Step):
            continue
        if isinstance(default, tuple):
            default = list(default)
        yield field.name, (_TYPES[policy][field.name], default)


def _section(name: str, *policies: type[msgspec.Struct], **keys: Any) -> type[Section]:
    for policy in policies:
        keys |= dict(_keys(policy))
    return create_model(name, __base__=Section, __module__=__name__, **keys)


ShadowSection = _section("ShadowSection", ShadowPolicy)
RolloutSection = _section(
    "RolloutSection", GatePolicy, RolloutPolicy, steps=(StepsSection, StepsSection())
)
GuardSection = _section("GuardSection", GuardPolicy)


def policy(shadow: Section, rollout: Section, guard: Section) -> Policy:
    """Make the router's policy from the three sections."""
    gate = _values(GatePolicy, rollout)
    others = {"min_score", "margin"} & rollout.model_fields_set
    if others and "retention" not in rollout.model_fields_set:
        # The ratio form is a default, not a second bar beside the one that was asked for.
        gate["retention"] = None
    return Policy(
        gate=GatePolicy(**gate),
        rollout=RolloutPolicy(**(_values(RolloutPolicy, rollout) | _steps(rollout))),
        guard=GuardPolicy(**_values(GuardPolicy, guard)),
        shadow=ShadowPolicy(**_values(ShadowPolicy, shadow)),
    )


def _values(policy: type[msgspec.Struct], section: Section) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(policy):
        if not isinstance(field.default, Step):
            value = getattr(section, field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return values


def _steps(rollout: Section) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    for name, section in getattr(rollout, "steps"):  # noqa: B009
        default: Step = getattr(RolloutPolicy(), name)
        served = default.served if section.served is None else section.served
        dwell_s = default.dwell_s if section.dwell_s is None else section.dwell_s
        # A default may be written as 3_600: the hash of the configuration must not depend on it.
        steps[name] = Step(served=served, dwell_s=float(dwell_s))
    return steps
