"""The shape of ``limbeck.toml``: each section's keys, types and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from control.config.fields import (
    AddressField,
    BaseUrlField,
    CronField,
    Dollars,
    FunctionField,
    MetricField,
    PlainName,
    RouteName,
    Seconds,
    SecretField,
    Share,
    SystemField,
    TargetField,
    read_secret,
)
from control.config.policy_sections import (
    Count,
    GuardSection,
    RolloutSection,
    Section,
    ShadowSection,
)
from control.config.values import (
    ControlConfig,
    Coverage,
    DistillConfig,
    GatewayConfig,
    RouteConfig,
    SpoolPolicy,
    TrainerName,
)
from router.snapshot import Target

# The values' own defaults, so that each default is written once.
_GATEWAY = GatewayConfig()
_CONTROL = ControlConfig(data=Path(".limbeck"))
_DISTILL = DistillConfig()
_ROUTE = RouteConfig(name="", lm=Target(upstream="", model=""))


class KeySection(Section):
    key: SecretField
    may_pin: bool = False


def _short_key(value: object) -> object:
    return KeySection.model_construct(key=read_secret(value)) if isinstance(value, str) else value


class PriceSection(Section):
    input_per_m: Dollars
    output_per_m: Dollars


class GatewaySection(Section):
    bind: AddressField = _GATEWAY.bind
    workers: Annotated[int, Field(ge=1, le=64)] = _GATEWAY.workers
    keys: dict[PlainName, Annotated[KeySection, BeforeValidator(_short_key)]] = Field(
        default_factory=dict
    )
    passthrough: str | None = None
    spool_policy: SpoolPolicy = _GATEWAY.spool_policy
    max_spool_mb: Annotated[int, Field(ge=16)] = _GATEWAY.max_spool_mb
    min_free_mb: Annotated[int, Field(ge=0)] | None = None


class ControlSection(Section):
    admin_bind: AddressField = _CONTROL.admin_bind
    data: Annotated[str, Field(min_length=1)] = str(_CONTROL.data)
    tick_s: Seconds = _CONTROL.tick_s
    collect_s: Seconds = _CONTROL.collect_s


class UpstreamSection(Section):
    base_url: BaseUrlField
    api_key: SecretField | None = None
    prices: dict[str, PriceSection] = Field(default_factory=dict)


class DistillSection(Section):
    enabled: bool = _DISTILL.enabled
    schedule: CronField | None = None
    trainer: TrainerName = _DISTILL.trainer
    min_rows: Count = _DISTILL.min_rows
    embedded_min_rows: Count = _DISTILL.embedded_min_rows
    after_rows: Count | None = None
    max_seconds: Seconds | None = None


class RouteSection(Section):
    teacher: TargetField | None = None
    program: FunctionField | None = None
    lm: TargetField | None = None
    pure: bool = _ROUTE.pure
    system: SystemField = _ROUTE.system
    metric: MetricField | None = None
    pass_score: Share = _ROUTE.pass_score
    output: Literal["text", "json"] = _ROUTE.output
    feedback: dict[str, Coverage] = Field(default_factory=dict)
    deadline_s: Seconds = _ROUTE.deadline_s
    student_price: PriceSection = PriceSection(input_per_m=0.0, output_per_m=0.0)
    distill: DistillSection = DistillSection()
    shadow: ShadowSection = ShadowSection()  # type: ignore[valid-type]
    rollout: RolloutSection = RolloutSection()  # type: ignore[valid-type]
    guard: GuardSection = GuardSection()  # type: ignore[valid-type]


class FileSection(Section):
    """The whole file."""

    gateway: GatewaySection = GatewaySection()
    control: ControlSection = ControlSection()
    upstreams: dict[PlainName, UpstreamSection] = Field(default_factory=dict)
    routes: dict[RouteName, RouteSection] = Field(default_factory=dict)
