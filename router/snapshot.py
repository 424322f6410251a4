"""The snapshot: the immutable routing state that gateway workers follow.

Control writes it, workers read it. Values only; reading and writing files is the drivers' work.
"""

from __future__ import annotations

import msgspec

SCHEMA = 1


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A server that speaks OpenAI chat completions."""

    #: ends without a slash, for example ``https://api.openai.com/v1``
    base_url: str
    #: name of the environment variable that holds the key; a secret never lies in the snapshot
    api_key_env: str | None = None
    #: one of our own processes (program host, student server): gets ``x-limbeck-*`` headers
    internal: bool = False


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model at an upstream."""

    upstream: str
    model: str


class StudentRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One student's share of a route."""

    #: such as ``s7-3fa2``
    student: str
    target: Target
    stage: str
    #: 0..1, compared with the hash of the sticky key
    weight: float
    #: Unix seconds; the weight counts only before. None while the weight is 0
    valid_until: float | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The name that apps send as ``model``."""

    teacher: Target
    #: newest first: a challenger takes its share before the champion
    students: tuple[StudentRoute, ...] = ()
    #: share of the keys that always stay on the teacher
    holdout: float = 0.02
    salt: str = ""
    #: share of requests that are marked for independent labels
    audit_rate: float = 0.0
    #: a student's longest delay before the teacher is asked instead, seconds
    student_deadline_s: float = 10.0
    #: bound of the whole request, seconds
    deadline_s: float = 600.0
    #: the whole request may be repeated on the teacher after it reached the student
    replayable: bool = True
    program_version: str = ""
    metric_hash: str = ""
    #: id of the last override file that control has folded into this snapshot
    folded_override: str | None = None


class AppKey(msgspec.Struct, frozen=True, kw_only=True):
    """A client's key, known by the SHA-256 of the key (hex)."""

    name: str
    #: may pin a request to one side
    may_pin: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker needs to answer requests."""

    schema: int = SCHEMA
    #: grows with each change of content; renewing a lease is no change
    version: int
    #: grows when another control takes over; a worker never goes back to a lower (epoch, version)
    epoch: int
    config_hash: str
    #: SHA-256 (hex) of the key -> who; empty: no key is asked for
    keys: dict[str, AppKey] = {}
    upstreams: dict[str, Upstream] = {}
    routes: dict[str, Route] = {}
    #: other model names pass through to this upstream untouched; None: they are 404
    passthrough: str | None = None


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """A rollback or kill of one route, obeyed above any snapshot (``overrides/ROUTE.json``)."""

    id: str
    #: ``rollback``, ``kill``, or ``quality_alarm``; workers obey each of them for the whole route
    action: str
    route: str
    actor: str
    reason: str
    #: Unix seconds
    time: float
    #: of a quality alarm: the student that it ends; None: the order is about everybody
    student: str | None = None


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker obeys (``acks/WORKER.json``, locked while the worker lives)."""

    worker: str
    pid: int
    epoch: int
    version: int
    #: ids of the overrides in force, and of those folded into the snapshot in force
    overrides: tuple[str, ...] = ()
    #: open circuit breakers of this worker: "ROUTE/STUDENT" -> since (Unix seconds)
    breakers: dict[str, float] = {}
    #: Unix seconds
    time: float
