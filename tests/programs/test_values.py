"""JSON values, types of fields, slots, recordings: the small pure parts."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import math
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.errors import BadInputs, Busy, LoadError, UnknownModel
from programs.fields import closed_values, converter, type_name, type_schema
from programs.json_values import is_json, json_safe
from programs.recording import Recording
from programs.slots import Slots
from programs.student_files import list_students, read_student


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(pydantic.BaseModel):
    x: int
    when: dt.date


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        (math.nan, None),
        (math.inf, None),
        (Point(x=1, when=dt.date(2026, 1, 2)), {"x": 1, "when": "2026-01-02"}),
        ((1, {"a"}), [1, ["a"]]),
        (Colour.RED, "red"),
        ({1: [math.nan]}, {"1": [None]}),
        (Odd(), "odd"),
        (b"ab", "ab"),
    ],
)
def test_json_safe(value: object, safe: object) -> None:
    assert json_safe(value) == safe


@pytest.mark.parametrize(
    ("text", "is_one"),
    [('{"a": 1}', True), (" [1]", True), ("[]", True), ("7", False), ("{", False), ("hi", False)],
)
def test_what_is_a_json_object_or_list(text: str, is_one: bool) -> None:
    assert is_json(text) is is_one


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_everything_becomes_strict_json(value: object) -> None:
    json.dumps(json_safe(value), allow_nan=False)


@pytest.mark.parametrize(
    ("annotation", "name", "closed"),
    [
        (str, "str", None),
        (bool, "bool", (False, True)),
        (Literal["a", "b"], "Literal['a', 'b']", ("a", "b")),
        (Colour, "Colour", ("red", "blue")),
        (list[str], "list[str]", None),
        (str | None, "str | None", None),
    ],
)
def test_types(annotation: Any, name: str, closed: tuple[object, ...] | None) -> None:
    assert type_name(annotation) == name
    assert closed_values(annotation) == closed
    json.dumps(type_schema(annotation))


def test_a_type_without_a_schema_has_a_name() -> None:
    assert type_schema(Odd) == "Odd"
    assert converter("x", Odd)(5) == 5


def test_inputs_are_converted_or_refused() -> None:
    assert converter("colour", Colour)("red") is Colour.RED
    assert converter("points", list[Point])([{"x": 1, "when": "2026-01-02"}])[0].x == 1
    with pytest.raises(BadInputs, match="input `n` must be int: Input should be a valid integer"):
        converter("n", int)("many")


async def test_slots_run_some_let_some_wait_and_refuse_the_rest() -> None:
    slots = Slots(1, waiting=1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with slots.take():
            entered.set()
            await leave.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await entered.wait()
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="2 requests run or wait already"):
        async with slots.take():
            pass
    tasks[1].cancel()
    leave.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with slots.take():
        pass


def test_a_recording_gives_each_call_its_own() -> None:
    recording = Recording()
    recording.opened("program", None)
    for number, name in enumerate(["one", "two"]):
        recording.opened(name, "program")
        recording.predictor_started(name, f"predictor {name}", {}, by_student=number == 1)
        recording.opened(f"lm {name}", name)
        recording.lm_started(f"lm {name}", "model", [{"n": number}])
    for name in ["two", "one"]:
        recording.tokens_used(f"lm {name}", 10, 1)
        recording.lm_ended(f"lm {name}", f"says {name}")
    recording.tokens_used("somewhere else", 5, 5)
    failure = ValueError("no")
    recording.predictor_ended("two", None, failure)
    recording.predictor_ended("unknown", {}, None)
    recording.close()
    one, two = recording.spans
    assert (one.completion, one.messages, one.tokens_in, one.seq) == ("says one", [{"n": 0}], 10, 0)
    assert (two.completion, two.error, two.seq) == ("says two", "ValueError: no", 1)
    assert one.error == "unfinished"
    assert recording.student_error is failure
    assert (recording.usage.tokens_in, recording.usage.total) == (25, 32)
    recording.tool_started()
    assert recording.tools_ran
    assert (one.tools_ran, two.tools_ran) == (False, True)


def test_students_are_read_by_their_quoted_names(tmp_path: Path) -> None:
    folder = tmp_path / "a%2Fb@s1-aaaa"
    (folder / "steps%5B0%5D").mkdir(parents=True)
    served = {"served_model": "m", "adapter": "json"}
    values = {
        "route": "a/b",
        "student": "s1-aaaa",
        "program_version": "v",
        "predictors": {"steps[0]": served},
    }
    (folder / "student.json").write_text(json.dumps(values))
    manifest = {"skeleton": {"system_sha256": "00", "lines": []}, "more": 1}
    (folder / "steps%5B0%5D" / "manifest.json").write_text(json.dumps(manifest))
    found = read_student(tmp_path, "a/b", "s1-aaaa")
    assert found.skeletons["steps[0]"].system_sha256 == "00"
    assert list_students(tmp_path, "a/b") == ["s1-aaaa"]
    assert list_students(tmp_path, "b") == []
    with pytest.raises(UnknownModel):
        read_student(tmp_path, "a/b", "s2-bbbb")
    (tmp_path / "x@s1-aaaa").mkdir()
    (tmp_path / "x@s1-aaaa" / "student.json").write_text(json.dumps(values))
    with pytest.raises(LoadError, match="belongs to a/b@s1-aaaa"):
        read_student(tmp_path, "x", "s1-aaaa")
