"""Where limbeck's own processes listen: chosen once, kept while the ports are free."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from control.config.values import Address, Config
from control.errors import FileProblem, StartRefused
from control.files import write_atomically
from control.place import DATA

LOOPBACK = "127.0.0.1"
#: below the range that Linux and macOS take for outgoing connections, so that a port that is ours
#: is not gone after a restart
_PORTS = range(21_000, 32_000)
_ATTEMPTS = 500


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """``addresses.json``."""

    gateway: Address
    admin: Address
    student_server: Address
    trainer: Address
    #: "ROUTE.teacher" and "ROUTE.student" -> the program host of that side
    hosts: dict[str, Address] = {}

    def host(self, route: str, side: str) -> Address:
        """The program host of a route's side (teacher or student)."""
        return self.hosts[f"{route}.{side}"]


def is_free(address: Address) -> bool:
    """Whether a plain bind works: nobody listens there, not even with SO_REUSEPORT."""
    return bind_error(address) is None


def bind_error(address: Address) -> str | None:
    """Why this address can't be listened on; None: it can."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        return "in use" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
    return None


def load_addresses(path: Path) -> Addresses:
    """Read them; raises `FileProblem` for a missing or damaged file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Addresses)
    except FileNotFoundError:
        raise FileProblem(
            f"{path}: not found: limbeck has not been started in this folder"
            f" ({_instead(path) or '`limbeck up`'})"
        ) from None
    except (OSError, ValueError) as error:  # no JSON, or no UTF-8
        raise FileProblem(f"{path}: can't be read ({error}): remove it and start again") from error


def _instead(path: Path) -> str | None:
    """The data folder that was probably meant, where its parent is named."""
    parts = (path.parent / name for name in (DATA, "data"))
    meant = next((part for part in parts if (part / path.name).is_file()), None)
    return None if meant is None else f"but in {meant}: name that one"


def ensure_addresses(path: Path, config: Config, *, starting: bool) -> Addresses:
    """Addresses for everything that ``config`` needs, written to ``path``.

    ``starting``: nothing of ours runs yet, so a port that is taken belongs to somebody else and is
    replaced. Otherwise what is written stands, as our own process may listen there.
    """
    known = load_addresses(path) if path.exists() else None
    free = _free_ports({config.gateway.bind.port, config.control.admin_bind.port})

    def keep(address: Address | None) -> Address:
        if address is not None and (not starting or is_free(address)):
            return address
        return Address(host=LOOPBACK, port=next(free))

    sides = [
        f"{route.name}.{side}"
        for route in config.routes.values()
        if not route.plain
        for side in ("teacher", "student")
    ]
    addresses = Addresses(
        gateway=config.gateway.bind,
        admin=config.control.admin_bind,
        student_server=keep(known.student_server if known else None),
        trainer=keep(known.trainer if known else None),
        hosts={side: keep(known.hosts.get(side) if known else None) for side in sides},
    )
    if addresses != known:
        write_atomically(path, msgspec.json.format(msgspec.json.encode(addresses)))
    return addresses


def _free_ports(taken: Iterable[int]) -> Iterator[int]:
    used = set(taken)
    # Not a fixed first port: several data folders may start on one machine at once.
    chance = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chance.choice(_PORTS)
        if port not in used and is_free(Address(host=LOOPBACK, port=port)):
            used.add(port)
            yield port
    raise StartRefused(
        f"no free port on {LOOPBACK} between {_PORTS.start} and {_PORTS.stop}: stop what holds them"
    )
