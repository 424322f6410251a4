"""Rollback and kill: one small file per route that workers obey above any snapshot.

Works while control is dead or frozen, and takes no lock. Imports stay minimal: a person on call
waits for this. What happens afterwards (event, snapshot, removal of the file) is control's work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from control.errors import FileProblem
from control.files import write_atomically
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
    ends = (
        f"its requests go to the teacher meanwhile: run `limbeck rollback {route}`, which writes "
        "it anew, or remove it"
    )
    try:
        override = msgspec.json.decode(path.read_bytes(), type=Override)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise FileProblem(f"{path}: can't be read ({error}); {ends}") from error
    if override.action not in _ACTIONS:
        known = ", ".join(_ACTIONS)
        raise FileProblem(f'{path}: unknown action "{override.action}" (known: {known}); {ends}')
    if override.action == QUALITY_ALARM and override.student is None:
        raise FileProblem(f"{path}: a quality alarm that names no student; {ends}")
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
    more than a rollback, which is more than the quality alarm of one ``student``. Raises
    `FileProblem` if the file can't be written.
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
    try:
        write_atomically(path, msgspec.json.encode(override))
    except OSError as error:
        raise FileProblem(
            f"{path}: can't be written ({error.strerror}), so the {action} is NOT in force: free "
            "some space there or repair the permissions, or stop the student server (its requests "
            "then fall back to the teacher)"
        ) from error
    return override, True


def remove_override(folder: Path, override: Override) -> bool:
    """Remove a folded override, unless a newer one took its place meanwhile.

    Between a look and a removal a newer one may arrive all the same, so the file is moved aside and
    looked at again. For the moment until a newer one is back, workers find no file. They miss
    nothing: a poll lists the overrides first and reads the snapshot then, and the snapshot that
    holds ``override``, with every weight of the route at 0, was written before this is called.
    """
    path = override_path(folder, override.route)
    newer = read_override(folder, override.route)
    if newer is not None and newer.id != override.id:
        return False
    aside = path.with_name(f".{path.name}.{override.id}.folded")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    try:
        found: Override | None = msgspec.json.decode(aside.read_bytes(), type=Override)
    except msgspec.MsgspecError:
        found = None
    if found is None or found.id != override.id:
        # A person was faster: theirs goes back, unless an even newer one is there.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        os.unlink(aside)
        return False
    os.unlink(aside)
    return True


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
