"""Training rows, rendered by the real child."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from programs.errors import ChildError
from programs.rows import Job, RenderedRow, Row, render_rows
from tests.programs.hosts import APP

OUTPUTS = {"reasoning": "because", "category": "lost", "confidence": 0.75}


def job(adapter: str, *, drop: tuple[str, ...] = ("reasoning",), **changes: object) -> Job:
    values = {
        "factory": "triage:classify",
        "user_dir": str(APP),
        "predictor": "predict",
        "adapter": adapter,
        "drop": drop,
        "rows": [Row(inputs={"text": "my card"}, outputs=OUTPUTS)],
        **changes,
    }
    return Job(**values)  # type: ignore[arg-type]


async def test_rows_of_the_json_adapter_leave_the_reasoning_out() -> None:
    rendered = await render_rows(job("json"), timeout_s=30)
    (row,) = rendered.rows
    system, user, assistant = row.messages
    assert [system["role"], user["role"], assistant["role"]] == ["system", "user", "assistant"]
    assert "my card" in user["content"]
    assert "reasoning" not in system["content"] + user["content"]
    assert json.loads(assistant["content"]) == {"category": "lost", "confidence": 0.75}
    assert row.outputs == {"category": "lost", "confidence": 0.75}
    assert row.inputs == {"text": "my card"}
    assert rendered.head.drop == ("reasoning",)
    fields = rendered.head.output_fields
    assert {name: field.type for name, field in fields.items()} == {
        "category": "str",
        "confidence": "float",
    }
    assert all(line in user["content"] for line in rendered.head.skeleton.lines)


async def test_rows_of_the_chat_adapter_can_keep_the_reasoning() -> None:
    rendered = await render_rows(job("chat", drop=()), timeout_s=30)
    assert rendered.rows[0].messages[-1]["content"] == (
        "[[ ## reasoning ## ]]\nbecause\n\n[[ ## category ## ]]\nlost\n\n"
        "[[ ## confidence ## ]]\n0.75\n\n[[ ## completed ## ]]\n"
    )
    assert rendered.head.drop == ()


async def test_a_row_without_an_output_is_reported_and_the_others_stay() -> None:
    rows = [
        Row(inputs={"text": "a"}, outputs={"category": "lost"}),
        Row(inputs={"text": 5}, outputs=OUTPUTS),
        Row(inputs={"text": "b"}, outputs=OUTPUTS),
    ]
    rendered = await render_rows(job("json", rows=rows), timeout_s=30)
    assert rendered.rows[0] == RenderedRow(problem="missing outputs: confidence")
    assert "input `text` must be str" in (rendered.rows[1].problem or "")
    assert rendered.rows[2].problem is None


async def test_a_history_comes_back_as_turns() -> None:
    history = {"messages": [{"text": "one", "answer": "two"}]}
    row = Row(inputs={"text": "three", "history": history}, outputs={"answer": "four"})
    rendered = await render_rows(
        job("chat", factory="triage:Chat", predictor="answer", rows=[row]), timeout_s=30
    )
    roles = [message["role"] for message in rendered.rows[0].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factory": "nowhere:make"}, "there is no module nowhere"),
        ({"factory": "triage:raises"}, "no database here"),
        ({"predictor": "other"}, 'has no predictor "other"; it has: predict'),
        ({"user_dir": "/nowhere"}, "does not exist"),
    ],
)
async def test_what_cannot_be_rendered_is_said(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ChildError, match=words):
        await render_rows(job("json", **changes), timeout_s=30)


async def test_a_row_that_is_nested_too_deeply_to_be_sent_is_said() -> None:
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    row = Row(inputs={"text": nested}, outputs=OUTPUTS)
    with pytest.raises(ChildError, match="nested too deeply"):
        await render_rows(job("json", rows=[row]), timeout_s=30)


async def test_the_deadline_ends_the_child() -> None:
    with pytest.raises(ChildError, match="took more than"):
        await render_rows(job("json", factory="sleepy:make"), timeout_s=1)


async def test_prints_of_the_program_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import dspy\nprint('hello')\n\n\ndef make():\n    print('again')\n"
        "    return dspy.Predict('text -> category, confidence: float')\n"
    )
    rendered = await render_rows(
        job("json", factory="noisy:make", user_dir=str(tmp_path), predictor="self"), timeout_s=30
    )
    assert len(rendered.rows) == 1
    assert rendered.head.drop == ()
