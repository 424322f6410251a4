"""Programs in process: versions, shapes, and copies of predictors that keep their names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from programs import dspy_compat
from programs.dspy_compat import Program
from programs.errors import HostError, LoadError
from programs.recording import Recording
from programs.settings import LmSettings
from programs.user_code import open_user_folder
from tests.fakes import lm
from tests.fakes.lm import Upstream

_HEAD = "import dspy\nfrom typing import Literal\n\n\n"


@pytest.fixture(scope="module")
def teacher() -> Iterator[Upstream]:
    with lm.upstream(lm.teacher) as running:
        yield running


Load = Callable[..., Program]


@pytest.fixture
def load(tmp_path: Path, teacher: Upstream) -> Iterator[Load]:
    """Load a program from its source; each gets a module of its own."""
    open_user_folder(tmp_path)
    count = iter(range(100))

    def get(
        source: str, *, model: str = "gpt-4o", base_url: str = "", name: str = "make"
    ) -> Program:
        module = f"{tmp_path.name.replace('-', '_')}_{next(count)}"
        (tmp_path / f"{module}.py").write_text(_HEAD + source)
        settings = LmSettings(base_url=base_url or teacher.base_url, model=model)
        program = dspy_compat.load_teacher(
            f"{module}:make", dspy_compat.teacher_lm(settings), tmp_path
        )
        program.description.body.pop("factory")
        return program

    yield get
    sys.path.remove(str(tmp_path))


def make(expression: str) -> str:
    return f"def make():\n    return {expression}\n"


BASE = make("dspy.Predict('text -> category: str')")


@pytest.mark.parametrize(
    "changed",
    [
        make("dspy.Predict('text -> category')").replace("category", "label"),
        make("dspy.Predict('text -> category: int')"),
        make("dspy.Predict(dspy.Signature('text -> category: str', 'Sort it.'))"),
        make("dspy.ChainOfThought('text -> category: str')"),
        make("dspy.Predict('text -> category: str', temperature=0.5)"),
        "def make():\n    p = dspy.Predict('text -> category: str')\n"
        "    p.demos = [dspy.Example(text='a', category='b')]\n    return p\n",
    ],
)
def test_the_version_follows_what_shapes_prompts(load: Load, changed: str) -> None:
    assert load(BASE).description.body != load(changed).description.body


def test_the_version_follows_the_model_and_not_its_address(load: Load) -> None:
    body = load(BASE).description.body
    assert load(BASE, base_url="http://127.0.0.1:9/v1").description.body == body
    assert load(BASE, model="gpt-4o-mini").description.body != body


PROGRAM = """
class Support(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict('text -> category: str')

    def forward(self, text):
        return self.classify(text=text.strip())


def make():
    return Support()
"""


def test_the_version_follows_the_code_and_not_its_layout(load: Load) -> None:
    body = load(PROGRAM).description.body
    assert (
        load(PROGRAM.replace("return self", "# why\n        return self")).description.body == body
    )
    assert load(PROGRAM.replace(".strip()", ".lower()")).description.body != body


def test_a_module_of_ones_own_is_described_by_its_forward(load: Load) -> None:
    described = load(PROGRAM).description
    assert list(described.input_fields) == ["text"]
    assert described.input_fields["text"].required
    assert list(described.output_fields) == ["category"]
    assert list(described.predictors) == ["classify"]
    assert not described.predictors["classify"].has_reasoning


def test_a_declared_signature_wins(load: Load) -> None:
    source = PROGRAM.replace(
        "super().__init__()",
        "super().__init__()\n        self.signature = dspy.Signature('text -> label: bool')",
    )
    described = load(source).description
    assert described.output_fields["label"].closed == (False, True)


def test_a_module_whose_inputs_nobody_knows_is_refused(load: Load) -> None:
    source = PROGRAM.replace("forward(self, text)", "forward(self, *given)")
    with pytest.raises(LoadError, match="the inputs of Support are not known"):
        load(source)


BEST_OF = """
def make():
    return dspy.BestOfN(
        module=dspy.ChainOfThought('text -> category: str'),
        N=2, reward_fn=lambda args, pred: 0.5, threshold=1.0,
    )
"""

PARALLEL = """
class Many(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict('text -> category: str')

    def forward(self, text):
        examples = [dspy.Example(text=f'{text} {n}').with_inputs('text') for n in range(3)]
        run = dspy.Parallel(num_threads=3, disable_progress_bar=True)
        found = run([(self.classify, example) for example in examples])
        return dspy.Prediction(answer=', '.join(one.category for one in found))


def make():
    return Many()
"""


async def run(program: Program, **inputs: Any) -> tuple[dict[str, Any], Recording]:
    recording = Recording()
    return await program.run(program.convert(inputs), recording), recording


async def test_copies_of_a_predictor_keep_its_name(load: Load) -> None:
    outputs, recording = await run(load(BEST_OF), text="hi")
    assert outputs["category"] == "category of <hi>"
    assert [span.predictor for span in recording.spans] == ["module.predict"] * 2
    assert recording.usage.total == 220


async def test_threads_of_dspy_are_recorded(load: Load) -> None:
    outputs, recording = await run(load(PARALLEL), text="hi")
    assert outputs["answer"] == ", ".join(f"category of <hi {n}>" for n in range(3))
    assert sorted(span.inputs["text"] for span in recording.spans) == ["hi 0", "hi 1", "hi 2"]
    assert {span.tokens_in for span in recording.spans} == {100}


async def test_a_predictor_with_an_lm_of_its_own_keeps_it(load: Load, teacher: Upstream) -> None:
    source = (
        "def make():\n    p = dspy.Predict('text -> category: str')\n"
        f"    p.lm = dspy.LM('openai/other', api_base='{teacher.base_url}', api_key='k',"
        " engine='lm15', cache=False)\n    return p\n"
    )
    await run(load(source), text="hi")
    assert teacher.requests[-1]["model"] == "other"


async def test_errors_have_a_status_and_the_failed_call_is_kept(load: Load) -> None:
    recording = Recording()
    with pytest.raises(HostError) as failed:
        await load(BASE).run({"text": "fault 400"}, recording)
    assert failed.value.status == 500
    assert "LMInvalidRequestError" in (recording.spans[0].error or "")


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-5", "meta/llama-3:free", "ft:gpt-4o:org::id", "triage.a@s1-aaaa"]
)
async def test_any_model_name_is_sent_unchanged(load: Load, teacher: Upstream, model: str) -> None:
    await run(load(BASE, model=model), text="hi")
    assert teacher.requests[-1]["model"] == model


async def test_the_key_comes_from_the_environment(
    teacher: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LmSettings(base_url=teacher.base_url, model="m", api_key_env="TEACHER_KEY")
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(LoadError, match="set the environment variable TEACHER_KEY"):
        dspy_compat.teacher_lm(settings)
    monkeypatch.setenv("TEACHER_KEY", "secret-1")
    assert "secret-1" in str(dspy_compat.teacher_lm(settings).kwargs)


def test_the_price_table_stays_here() -> None:
    ask = "import os, programs.dspy_compat; print(os.environ['LITELLM_LOCAL_MODEL_COST_MAP'])"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "False"},
    )  # fmt: skip
    assert done.stdout == "True\n"


THREADS = """
import threading


class Raw(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict('text -> category: str')

    def forward(self, text):
        found = []
        thread = threading.Thread(target=lambda: found.append(self.classify(text=text)))
        thread.start()
        thread.join()
        return found[0]


def make():
    return Raw()
"""


async def test_raw_threads_answer_and_leave_no_spans(load: Load) -> None:
    outputs, recording = await run(load(THREADS), text="hi")
    assert outputs["category"] == "category of <hi>"
    assert recording.spans == []
