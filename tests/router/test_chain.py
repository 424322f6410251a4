from __future__ import annotations

import msgspec
import pytest

from router.chain import GENESIS, line, verify
from router.errors import ChainError
from router.events import Event
from tests.router.build import Log


def lines() -> list[bytes]:
    log = Log()
    log.send(Event.STUDENT_REGISTERED, actor="auto")
    log.send(Event.GATE_PROMOTE, actor="auto")
    log.send(Event.APPROVE)
    return [line(event) for event in log.events]


def test_the_chain_verifies_and_gives_the_events_back() -> None:
    stored = lines()
    events = verify(stored)
    assert [event.seq for event in events] == [1, 2, 3]
    assert events[0].prev_hash == GENESIS and events[1].prev_hash == events[0].hash
    assert [line(event) for event in events] == stored
    assert verify([]) == []
    assert all(b"\n" not in text for text in stored)


def test_a_changed_row_is_found() -> None:
    stored = lines()
    stored[1] = stored[1].replace(b'"READY"', b'"SHADOW"', 1)
    with pytest.raises(ChainError, match="row 2 was changed after it was written"):
        verify(stored)


def test_a_forged_row_breaks_the_next() -> None:
    stored = lines()
    row = msgspec.json.decode(stored[1])
    forged = Log()
    forged.send(Event.STUDENT_REGISTERED, actor="auto")
    forged.send(Event.GATE_PROMOTE, actor="auto", reason="another reason")
    assert row["hash"] != forged.events[1].hash
    stored[1] = line(forged.events[1])
    with pytest.raises(ChainError, match="row 3 does not follow"):
        verify(stored)


def test_missing_and_doubled_rows_are_found() -> None:
    stored = lines()
    for broken in ([stored[0], stored[2]], [stored[0], stored[0]], stored[1:]):
        with pytest.raises(ChainError, match="sequence number"):
            verify(broken)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"seq": 1}', b'{"seq": "x"}'])
def test_junk_is_named_with_its_row(junk: bytes) -> None:
    with pytest.raises(ChainError, match="row 2 is no event"):
        verify([lines()[0], junk])


def test_rows_of_another_version_stay_valid() -> None:
    """A row with a field that this version does not know keeps its hash."""
    from hashlib import sha256

    row = msgspec.json.decode(lines()[0])
    row["added_later"] = 1
    del row["hash"]
    row["hash"] = sha256(msgspec.json.encode(row, order="sorted")).hexdigest()
    assert verify([msgspec.json.encode(row)])[0].student == "s1"
