"""The snapshot as a file: written so that no reader sees a half, read without trusting it.

Imported by `limbeck rollback`, so nothing heavy here.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from control.errors import FileProblem
from control.files import write_atomically
from control.layout import Layout
from router.snapshot import SCHEMA, Acknowledgement, Snapshot


def read_snapshot(path: Path) -> Snapshot:
    """Read one file; raises `FileProblem` if it is missing, damaged or of another schema."""
    try:
        snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        raise FileProblem(f"{path}: not found: control has not written a snapshot yet") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise FileProblem(f"{path}: can't be read ({error}): control writes it again") from error
    if snapshot.schema != SCHEMA:
        raise FileProblem(
            f"{path}: schema {snapshot.schema}, this limbeck reads {SCHEMA}: start one version only"
        )
    return snapshot


def read_newest(layout: Layout) -> Snapshot | None:
    """The snapshot, or its last good copy; None if neither can be read."""
    for path in (layout.snapshot, layout.last_good_snapshot):
        try:
            return read_snapshot(path)
        except FileProblem:
            continue
    return None


def write_snapshot(layout: Layout, snapshot: Snapshot) -> None:
    """Put it in force, then keep it as the last good one."""
    data = msgspec.json.encode(snapshot)
    write_atomically(layout.snapshot, data)
    write_atomically(layout.last_good_snapshot, data)


def revised(fresh: Snapshot, before: Snapshot | None) -> Snapshot:
    """``fresh`` with the version that follows ``before``: the same if only leases are renewed."""
    if before is None:
        return msgspec.structs.replace(fresh, version=1)
    version = before.version if _content(fresh) == _content(before) else before.version + 1
    return msgspec.structs.replace(fresh, version=version)


def _content(snapshot: Snapshot) -> Snapshot:
    routes = {
        name: msgspec.structs.replace(
            route,
            students=tuple(
                msgspec.structs.replace(student, valid_until=None) for student in route.students
            ),
        )
        for name, route in snapshot.routes.items()
    }
    return msgspec.structs.replace(snapshot, version=0, routes=routes)


def next_epoch(layout: Layout) -> int:
    """The epoch of a control that takes over: above all that a worker may have in force.

    Workers remember more than the files do: with both copies of the snapshot lost, what they
    acknowledged still counts, or they would refuse the new one for ever.
    """
    known = [0]
    newest = read_newest(layout)
    if newest is not None:
        known.append(newest.epoch)
    known += [
        acknowledgement.epoch
        for path in layout.acknowledgements.glob("*.json")
        if (acknowledgement := read_acknowledgement(path)) is not None
    ]
    return max(known) + 1


def read_acknowledgement(path: Path) -> Acknowledgement | None:
    """What the worker wrote last; None while it is being written, or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Acknowledgement)
    except (OSError, msgspec.MsgspecError):
        return None
