"""The demo's folder: program, configuration and ports, written once and used again by `--serve`."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import msgspec

from control.addresses import LOOPBACK, is_free
from control.config.values import Address
from control.demo.stand_in import MODEL, PRICE_IN, PRICE_OUT
from control.demo.world import RecordedWorld, TicketWorld, World
from control.errors import BadInput
from control.files import write_atomically

_TEMPLATE = Path(__file__).parent / "template"
_STATE = "demo.json"
#: how far above the wanted port to look for a free one
_PORTS = 500
#: dollars per million tokens that a student on one's own machine is taken to cost
STUDENT_PRICE = 0.05
ROUTE = "tickets"
_QUESTION = "where is my order B18204"


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """Where the demo plays, and how long its parts are."""

    folder: str
    port: int
    admin_port: int
    provider_port: int
    #: folder of recorded answers; None: generated tickets
    data: str | None
    seed: int
    #: requests at the most
    requests: int
    #: requests per second
    rate: float
    #: usable training rows that start the training
    after_rows: int
    trainer: str
    #: share of the requests that are replayed as evidence
    sample_rate: float
    #: requests that a student answers in R1, R5, R25 and R50 before the next step
    served: tuple[int, int, int, int]
    dwell_s: float
    #: requests in LIVE before the world changes
    live: int
    #: median time that the stand-in provider takes for an answer
    latency_s: float
    workers: int = 2

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def config(self) -> Path:
        return self.path / "limbeck.toml"

    @property
    def place(self) -> tuple[str, ...]:
        """For a command: this limbeck, whatever the environment names."""
        return ("--config", str(self.config), "--data", str(self.path / "data"))

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/v1"

    @property
    def try_it(self) -> str:
        """A command for a second terminal that asks one question."""
        asked = json.dumps({"model": ROUTE, "messages": [{"role": "user", "content": _QUESTION}]})
        return (
            f"curl -si {self.base_url}/chat/completions -H 'content-type: application/json'"
            f" -d '{asked}'"
        )

    @property
    def provider_url(self) -> str:
        return f"http://{LOOPBACK}:{self.provider_port}"

    def world(self) -> World:
        """What the stand-in provider and the traffic know. Raises `WorldError` for bad data."""
        if self.data is None:
            return TicketWorld(seed=self.seed)
        return RecordedWorld(folder=Path(self.data), seed=self.seed)


def write_scene(scene: Scene) -> None:
    """Write the program, the configuration and the scene itself into the folder."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    toml = environment.from_string((_TEMPLATE / "limbeck.toml").read_text()).render(
        model=MODEL,
        price_in=PRICE_IN,
        price_out=PRICE_OUT,
        student_price=STUDENT_PRICE,
        scene=scene,
    )
    write_atomically(scene.config, toml.encode())
    program = (_TEMPLATE / "tickets_app.py").read_bytes()
    write_atomically(scene.path / "tickets_app.py", program)
    write_atomically(scene.path / _STATE, msgspec.json.format(msgspec.json.encode(scene)))


def read_scene(folder: Path) -> Scene:
    """The scene of an earlier demo. Raises `BadInput` where there is none."""
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=Scene)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadInput(
            f"{folder}: no demo was made here ({error}): run `limbeck demo --folder {folder}` first"
        ) from error


def fresh_folder(wanted: Path | None) -> Path:
    """A folder that does not exist yet, or is empty."""
    if wanted is None:
        names = ("limbeck-demo", *(f"limbeck-demo-{n}" for n in range(2, 1000)))
        return next(path for path in map(Path, names) if not path.exists()).absolute()
    if wanted.is_dir() and any(wanted.iterdir()):
        raise BadInput(
            f"{wanted}: is not empty: name another folder, or start this one again with "
            f"`limbeck demo --serve --folder {wanted}`"
        )
    if wanted.exists() and not wanted.is_dir():
        raise BadInput(f"{wanted}: is a file, not a folder: name another one")
    return wanted.absolute()


def free_port(preferred: int, taken: set[int]) -> int:
    """``preferred``, or the next port above it that nobody listens on and that is not taken."""
    for port in range(preferred, min(preferred + _PORTS, 65_536)):
        if port not in taken and is_free(Address(host=LOOPBACK, port=port)):
            taken.add(port)
            return port
    raise BadInput(
        f"no free port on {LOOPBACK} from {preferred} on: start from another one with --port"
    )
