"""Rollback and kill: one small file per route that workers obey above any snapshot.

Works while control is dead or frozen, and takes no lock. Imports stay minimal: a person on call
waits for this. What happens afterwards (event, snapshot, removal of the file) is control's work.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from control.contended import Contended
from control.errors import FileProblem
from control.snapshot_file import read_acknowledgement
from router.snapshot import Override

ROLLBACK = "rollback"
KILL = "kill"
#: of one student, while nobody else serves
QUALITY_ALARM = "quality_alarm"
#: each is more than the one before it
_ACTIONS = (QUALITY_ALARM, ROLLBACK, KILL)
#: who writes the override of a quality alarm
GUARD = "quality guard"
#: actors that stand for limbeck itself (`router.events.AUTO` too): no person may use these names
NOT_PEOPLE = frozenset({"auto", GUARD})
_POLL_S = 0.005


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """Which live workers obey an override, and how long that took."""

    #: workers that obey it
    workers: tuple[str, ...]
    #: live workers that don't say so, for example because they are stopped
    missing: tuple[str, ...]
    #: from the start of the command to the last acknowledgement, or to giving up
    seconds: float

    @property
    def everywhere(self) -> bool:
        """No live worker is missing."""
        return not self.missing


def override_path(folder: Path, route: str) -> Path:
    """The file of one route."""
    return folder / f"{route}.json"


def load_override(folder: Path, route: str) -> Override | None:
    """The override in force; None if there is none.

    Raises `FileProblem` for a file that says nothing that control could record. Workers obey it all
    the same: somebody wanted the route stopped.
    """
    path = override_path(folder, route)
    try:
        return _understood(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f"can't be read ({error})"
    except ValueError as error:
        problem = str(error)
    raise FileProblem(
        f"{path}: {problem}; its requests go to the teacher meanwhile: run `limbeck rollback "
        f"{route}`, which writes it anew, or remove it"
    )


def _understood(content: bytes) -> Override:
    """Raises `ValueError` for a file that says nothing that control could record."""
    try:
        override = msgspec.json.decode(content, type=Override)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"can't be read ({error})") from error
    if override.action not in _ACTIONS:
        known = ", ".join(_ACTIONS)
        raise ValueError(f'unknown action "{override.action}" (known: {known})')
    if override.action == QUALITY_ALARM and override.student is None:
        raise ValueError("a quality alarm that names no student")
    return override


def read_override(folder: Path, route: str) -> Override | None:
    """The override in force; None if there is none, or none that can be understood."""
    try:
        return load_override(folder, route)
    except FileProblem:
        return None


def write_override(
    folder: Path,
    *,
    route: str,
    action: str,
    actor: str,
    reason: str,
    now: float,
    student: str | None = None,
) -> tuple[Override, bool]:
    """Put an override in force and return it, and whether it is new.

    A repeated command finds its override and leaves it, and so does one that orders less: a kill is
    more than a rollback, which is more than the quality alarm of one ``student``. Two that come in
    the same moment do so, too. Raises `FileProblem` if the file can't be written.
    """
    before = read_override(folder, route)
    if before is not None and _ACTIONS.index(before.action) >= _ACTIONS.index(action):
        return before, False
    override = Override(
        id=f"{int(now * 1000):x}-{os.urandom(6).hex()}",
        action=action,
        route=route,
        actor=actor,
        reason=reason,
        time=now,
        student=student,
    )
    path = override_path(folder, route)
    order = msgspec.json.encode(override)
    try:
        in_force = _FILES.put(path, order)
    except OSError as error:
        raise FileProblem(
            f"{path}: can't be written ({error.strerror}), so the {action} is NOT in force: free "
            "some space there or repair the permissions, or stop the student server (its requests "
            "then fall back to the teacher)"
        ) from error
    return (override, True) if in_force == order else (_understood(in_force), False)


def remove_override(folder: Path, override: Override) -> bool:
    """Remove a folded override, unless a newer one took its place meanwhile.

    Where a newer one arrives just then, workers find no file for a moment. They miss nothing: a
    poll lists the overrides first and reads the snapshot then, and the snapshot that holds
    ``override``, with every weight of the route at 0, was written before this is called.
    """
    path = override_path(folder, override.route)
    try:
        seen = path.read_bytes()
        return _understood(seen).id == override.id and _FILES.take(path, seen)
    except (FileNotFoundError, ValueError):
        return False


def restore_overrides(folder: Path) -> None:
    """Put in force again what a crash has left aside; for a start of control.

    One that was recorded before is found to be so, and goes; one that was not, would be lost.
    """
    _FILES.restore(folder)


def _rank(order: bytes) -> int:
    """How much it orders; what can't be understood orders least."""
    try:
        return _ACTIONS.index(_understood(order).action)
    except ValueError:
        return -1


_FILES = Contended(rank=_rank, top=_ACTIONS.index(KILL))


def live_workers(acknowledgements: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each worker that lives: its file is locked (a stopped process counts)."""
    for path in sorted(acknowledgements.glob("*.json")):
        if not path.name.startswith(".") and _is_locked(path):
            yield path.stem, path


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two commands at once don't take each other for a worker.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def wait_for_acknowledgements(
    acknowledgements: Path,
    override_id: str,
    *,
    timeout_s: float,
    started: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Acknowledged:
    """Wait until every live worker obeys the override, at most ``timeout_s``.

    ``started``: the start of the command on ``clock``. A worker that ends meanwhile is no longer
    waited for: its successor obeys from its first request.
    """
    deadline = clock() + timeout_s
    while True:
        obeying: list[str] = []
        missing: list[str] = []
        for worker, path in live_workers(acknowledgements):
            said = read_acknowledgement(path)
            obeys = said is not None and override_id in said.overrides
            (obeying if obeys else missing).append(worker)
        now = clock()
        if not missing or now >= deadline:
            return Acknowledged(
                workers=tuple(obeying), missing=tuple(missing), seconds=now - started
            )
        pause(_POLL_S)
