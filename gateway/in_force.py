"""What a worker obeys: a compiled snapshot and the overrides above it, as one immutable object."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from gateway.errors import Refusal
from gateway.request_headers import is_student_id
from gateway.upstream.client import Client
from router.snapshot import AppKey, Override, Route, Snapshot, Target

#: who asks when no keys are configured
ANYBODY = AppKey(name="", may_pin=True)
#: at most that many models are named to who asks for an unknown one
_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A model at an upstream, ready to be asked."""

    upstream: str
    model: str
    #: the model's name as JSON text, for the splice; None: the body passes untouched
    spelled: bytes | None
    client: Client
    #: one of our own processes: gets ``x-limbeck-*`` headers
    internal: bool
    #: why there is no key to ask the upstream with, if it needs one
    no_key: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteInForce:
    """A route and its endpoints. An empty name is a model that passes through."""

    name: str
    route: Route
    teacher: Endpoint
    students: dict[str, Endpoint] = field(default_factory=dict)
    #: some student has weight: a sticky key is needed
    weighted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """One state of the worker's rules. A request reads one such object, once."""

    snapshot: Snapshot
    #: the model's name, with or without a pin -> route and pin
    models: dict[str, tuple[RouteInForce, str | None]]
    #: for all other models; its endpoint's model is filled in per request
    passthrough: Endpoint | None = None
    #: by route
    overrides: dict[str, Override] = field(default_factory=dict)
    #: False: the snapshot file is broken, no student has weight
    leased: bool = True

    def authenticate(self, api_key: bytes | None) -> AppKey:
        """Return whose key it is; raise `Refusal` (401)."""
        keys = self.snapshot.keys
        if not keys:
            return ANYBODY
        if api_key:
            key = keys.get(hashlib.sha256(api_key).hexdigest())
            if key is not None:
                return key
            message = "Incorrect API key provided. Ask the operator of this limbeck for a key."
        else:
            message = "No API key provided. Send it as 'Authorization: Bearer KEY'."
        raise Refusal(401, message, type="authentication_error", code="invalid_api_key")

    def find(self, model: str) -> tuple[RouteInForce, str | None]:
        """Return the route of a model name, and its pin; raise `Refusal` (404)."""
        found = self.models.get(model)
        if found is not None:
            return found
        name, at, pin = model.partition("@")
        if at and name in self.models and is_student_id(pin):
            # It was taken back, or never was: whoever pinned requests to it has the teacher.
            return self.models[name][0], pin
        if self.passthrough is None or (at and name in self.models):
            raise Refusal(
                404,
                f"The model {model!r} does not exist; this limbeck serves: {self._served()}.",
                param="model",
                code="model_not_found",
            )
        endpoint = self.passthrough
        route = Route(teacher=Target(upstream=endpoint.upstream, model=model), holdout=0.0)
        return RouteInForce(name="", route=route, teacher=replace(endpoint, model=model)), None

    def _served(self) -> str:
        """Enough of the routes' names to see how one is spelled."""
        names = sorted(self.snapshot.routes)
        few = ", ".join(names[:_NAMED]) or "no model yet"
        return few if len(names) <= _NAMED else f"{few}, and more: GET /v1/models lists them"

    @property
    def override_ids(self) -> tuple[str, ...]:
        """The overrides that are obeyed: files, and those folded into the snapshot."""
        folded = (route.folded_override for route in self.snapshot.routes.values())
        in_files = (override.id for override in self.overrides.values())
        return tuple(sorted({id for id in (*folded, *in_files) if id}))
