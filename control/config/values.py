"""The configuration in force: immutable values, checked, with every default filled in.

Made by `control.config.load`; nothing here reads a file or the environment. A secret never lies
in a value, only the name of the environment variable that holds it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from router.policy import Policy
from router.snapshot import Target

Coverage = Literal["all", "audit", "volunteered"]
TrainerName = Literal["auto", "classifier", "embedded"]
SpoolPolicy = Literal["availability", "audit"]


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a process listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __str__(self) -> str:
        return self.url.removeprefix("http://")


def parse_address(text: str) -> Address:
    """Parse ``host:port`` or ``[ipv6]:port``; `ValueError` says what is wrong."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError('must be "HOST:PORT", for example "127.0.0.1:8000"')
    return Address(host=host, port=int(port))


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs, USD per million tokens."""

    input_per_m: float
    output_per_m: float


class KeyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A client's key."""

    #: name of the environment variable that holds the key
    env: str
    #: may pin a request to one side
    may_pin: bool = False


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Section ``[gateway]``."""

    bind: Address = Address(host="127.0.0.1", port=8000)
    workers: int = 2
    #: name of the app -> its key; empty: no key is asked for (loopback only)
    keys: dict[str, KeyConfig] = {}
    #: other model names pass through to this upstream
    passthrough: str | None = None
    spool_policy: SpoolPolicy = "availability"
    max_spool_mb: int = 4096
    #: of the disk, left free; None: 2 GB, or a twentieth of a small disk
    min_free_mb: int | None = None

    @property
    def max_spool_bytes(self) -> int:
        return self.max_spool_mb << 20

    @property
    def min_free_bytes(self) -> int | None:
        return None if self.min_free_mb is None else self.min_free_mb << 20


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Section ``[control]``."""

    admin_bind: Address = Address(host="127.0.0.1", port=8001)
    #: the data folder, absolute
    data: Path
    #: between two looks at the rollouts, seconds
    tick_s: float = 1.0
    #: between two passes of the collector, seconds
    collect_s: float = 0.5


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Section ``[upstreams.NAME]``."""

    #: ends without a slash
    base_url: str
    #: name of the environment variable that holds the key
    api_key_env: str | None = None
    #: by model; a model that is missing has an unknown price
    prices: dict[str, Price] = {}


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """How answers are scored. Exactly one of the two is set."""

    #: ``module:attribute`` of a function in the user's folder
    function: str | None = None
    #: the output field that ``exact_match(FIELD)`` compares
    field: str | None = None

    def __str__(self) -> str:
        return self.function or f"exact_match({self.field})"


class DistillConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Section ``[routes.NAME.distill]``."""

    enabled: bool = True
    #: cron line, UTC; None: by hand and by ``after_rows`` only
    schedule: str | None = None
    trainer: TrainerName = "auto"
    #: usable training rows that a job needs
    min_rows: int = 100
    #: ``auto`` tries ``embedded`` from this many usable training rows
    embedded_min_rows: int = 800
    #: distil by itself once that many usable training rows are there
    after_rows: int | None = None
    #: longest training time of one job, seconds
    max_seconds: float | None = None


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Section ``[routes.NAME]`` with its sub-sections."""

    name: str
    #: the frontier model: the teacher of a plain route, the LM of a program
    lm: Target
    #: ``module:factory`` of the DSPy program; None: a plain route
    program: str | None = None
    #: the whole program may be repeated for one request (no tool has side effects)
    pure: bool = False
    #: what a program does with system messages: ``reject``, ``ignore`` or ``field:NAME``
    system: str = "reject"
    #: None: nothing is scored, so nothing is promoted
    metric: Metric | None = None
    #: a trace with at least this score is training material
    pass_score: float = 0.8
    output: Literal["text", "json"] = "text"
    #: source of feedback -> which requests it labels; an undeclared source is ``volunteered``
    feedback: dict[str, Coverage] = {}
    #: bound of a whole request, seconds
    deadline_s: float = 600.0
    #: what serving the student costs; the default is your own machine, at no cost per token
    student_price: Price = Price(input_per_m=0.0, output_per_m=0.0)
    distill: DistillConfig = DistillConfig()
    policy: Policy = Policy()

    @property
    def plain(self) -> bool:
        """Without a program."""
        return self.program is None

    def coverage(self, source: str) -> Coverage:
        """Which requests the feedback of ``source`` labels."""
        return self.feedback.get(source, "volunteered")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in ``limbeck.toml``."""

    #: the file; None: made from arguments
    path: Path | None = None
    #: the user's folder: programs and metrics are imported from here
    folder: Path
    gateway: GatewayConfig
    control: ControlConfig
    upstreams: dict[str, UpstreamConfig] = {}
    routes: dict[str, RouteConfig] = {}

    @property
    def hash(self) -> str:
        """Hash of what the configuration says; the same wherever its files lie."""
        portable = (
            self.gateway,
            msgspec.structs.replace(self.control, data=Path()),
            self.upstreams,
            self.routes,
        )
        encoded = msgspec.json.encode(portable, order="sorted", enc_hook=str)
        return hashlib.sha256(encoded).hexdigest()[:16]
