"""Every contact with dspy: loading, running and recording programs, and a student's prompts.

Written for dspy 3.4; see docs/decisions/0004-dspy-compat.md for what 3.5 will change here.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # before dspy: no price table from the network

import dspy
import msgspec
from dspy import lm15
from dspy.utils import callback_context
from dspy.utils.callback import BaseCallback
from dspy.utils.usage_tracker import UsageTracker

from programs import errors, versions
from programs.description import InputField, ProgramDescription
from programs.fields import converter, type_name
from programs.json_values import json_safe
from programs.prompt import StudentPrompt
from programs.recording import Recording
from programs.settings import LmSettings
from programs.shape import Input, defines, inputs_of_module, outputs_signature
from programs.student_files import ServedPredictor, StudentFiles
from programs.uncancelled import contained, uncancelled
from programs.user_code import load_object

#: our declared provider; everything after the slash is sent as the model name, unchanged
_PROVIDER = "limbeck"
_RETRIES = 2
_STUDENT_STATUS: dict[int, type[errors.HostError]] = {
    404: errors.UnknownModel,
    412: errors.StaleStudent,
    429: errors.Busy,
    500: errors.ProgramFailed,
    502: errors.UnusableAnswer,
}
#: the program and its student are not at fault
_UNAVAILABLE = (
    dspy.LMTransportError,
    dspy.LMTimeoutError,
    dspy.LMServerError,
    dspy.LMAuthError,
    dspy.LMBillingError,
)


def prepare(*, workers: int) -> None:
    """Set dspy up for serving. Call once, from the main thread, after the user's code is loaded."""
    dspy.configure(
        lm=None,
        trace=None,
        disable_history=True,
        track_usage=False,
        async_max_workers=workers,
    )
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


def teacher_lm(settings: LmSettings) -> dspy.LM:
    """Return the LM of a program's predictors."""
    key = os.environ.get(settings.api_key_env, "").strip() if settings.api_key_env else "none"
    if not key:
        raise errors.LoadError(
            f"the key of the program's model {settings.model} is missing: set the environment "
            f"variable {settings.api_key_env}"
        )
    return dspy.LM(**_connection(settings.model, settings.base_url, key, settings.timeout_s))


def _connection(model: str, base_url: str, key: str, timeout_s: float) -> dict[str, Any]:
    lm15.register_provider(
        lm15.ProviderDefinition.chat(
            lm15.AccessPolicy(
                provider=_PROVIDER, env_keys=("LIMBECK_INTERNAL_KEY",), base_url="http://127.0.0.1"
            ),
            compat=lm15.OpenAIChatCompat(),
        ),
        # A model with a name of OpenAI's is taken to do what OpenAI's model does.
        metadata_namespaces=("openai",),
    )
    return {
        "model": f"{_PROVIDER}/{model}",
        "engine": "lm15",
        "cache": False,
        "num_retries": _RETRIES,
        "api_base": base_url,
        "api_key": key,
        "timeout": timeout_s,
    }


class Program:
    """One loaded, immutable program: the teacher, or the teacher with a student's predictors."""

    def __init__(self, module: dspy.Module, lm: dspy.LM, factory: str, adapter: dspy.Adapter):
        self._module = module
        self._lm = lm
        self._adapter = adapter
        self._names = _predictor_names(module)
        inputs = inputs_of_module(module)
        self._converters = {name: converter(name, one.annotation) for name, one in inputs.items()}
        outputs = outputs_signature(module)
        body = _version_body(module, lm, factory, adapter)
        self.description = ProgramDescription(
            program_version=versions.version_of(body),
            input_fields={name: _input_field(one) for name, one in inputs.items()},
            output_fields=versions.predictor_fields(outputs).outputs if outputs else {},
            predictors={
                name: versions.predictor_fields(p.signature)
                for name, p in module.named_predictors()
            },
            body=body,
        )

    def convert(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Turn JSON values into what the program's types ask for. Raises `BadInputs`."""
        return {
            name: self._converters[name](value) if name in self._converters else value
            for name, value in inputs.items()
        }

    async def run(self, inputs: Mapping[str, Any], recording: Recording) -> dict[str, Any]:
        """Return the outputs as JSON values, or raise a `HostError`.

        A student's failure fails the run even where the program's own code would go on: the
        gateway then asks the teacher. Cancelled, it returns when the program has really ended: at
        once where it is asynchronous, with its thread where it is not.
        """
        callback = _Callback(recording, self._names)
        with dspy.context(
            lm=self._lm,
            adapter=self._adapter,
            callbacks=[*(dspy.settings.get("callbacks") or []), callback],
            usage_tracker=_Usage(recording),
            trace=[],
        ):
            try:
                prediction = await self._called(inputs)
            except Exception as error:
                raise _failure(recording.student_error or error, recording) from error
        if recording.student_error is not None:
            raise _failure(recording.student_error, recording) from recording.student_error
        return _prediction_values(prediction)

    async def _called(self, inputs: Mapping[str, Any]) -> Any:
        if defines(self._module, "aforward"):
            return await contained(self._module.acall(**inputs))
        return await uncancelled(contained(dspy.asyncify(self._module)(**inputs)))


def load_teacher(factory: str, lm: dspy.LM, folder: Path) -> Program:
    """Load the program as the user wrote it."""
    module = _make(factory, lm, folder)
    return Program(module, lm, factory, dspy.settings.adapter or dspy.ChatAdapter())


def load_student(
    factory: str, lm: dspy.LM, folder: Path, student: StudentFiles, *, server: str, key: str
) -> Program:
    """Load a fresh instance of the program with the student's predictors in it.

    Raises `StaleStudent` where the program's prompts are no longer those of the training.
    """
    module = _make(factory, lm, folder)
    predictors = dict(module.named_predictors())
    for name, served in student.map.predictors.items():
        if name not in predictors:
            raise errors.StaleStudent(f'the program has no predictor "{name}" any more')
        prompt = student_prompt(predictors[name], adapter=served.adapter, drop=served.drop)
        if student.skeletons[name].system_sha256 not in (None, prompt.skeleton.system_sha256):
            raise errors.StaleStudent(
                f'the prompt of predictor "{name}" has changed since {student.map.student} was '
                f"trained: distil again"
            )
        predictors[name].signature = prompt.signature
        predictors[name].demos = []
        predictors[name].lm = _StudentLM(served, prompt, server=server, key=key)
    teacher = dspy.settings.adapter or dspy.ChatAdapter()
    return Program(module, lm, factory, _ByLm(teacher))


def load_predictor(factory: str, folder: Path, name: str) -> dspy.Predict:
    """Return one predictor of the program, for rendering only."""
    module = _make(factory, None, folder)
    predictors = dict(module.named_predictors())
    if name not in predictors:
        known = ", ".join(predictors) or "none"
        raise errors.LoadError(f'program "{factory}" has no predictor "{name}"; it has: {known}')
    return predictors[name]


def _make(factory: str, lm: dspy.LM | None, folder: Path) -> dspy.Module:
    what = f'program "{factory}"'
    make = load_object(factory, what="program", folder=folder)
    if isinstance(make, dspy.Module) or not callable(make):
        raise errors.LoadError(
            f"{what} is no factory: name a function without arguments (or a class) that returns a "
            f"dspy.Module"
        )
    try:
        with dspy.context(lm=lm):
            module = make()
    except (Exception, SystemExit) as error:
        raise errors.LoadError(f"{what} raised {type(error).__name__}: {error}") from error
    if not isinstance(module, dspy.Module):
        raise errors.LoadError(f"{what} returned {type(module).__name__}, not a dspy.Module")
    for _, predictor in module.named_predictors():
        predictor.lm = predictor.lm or lm  # a predictor with an LM of its own keeps it
    return module


def student_prompt(
    predictor: dspy.Predict, *, adapter: str, drop: Collection[str]
) -> StudentPrompt:
    """Return how a student with this adapter (``chat`` or ``json``) sees the predictor."""
    fields = predictor.signature.input_fields.items()
    return StudentPrompt(
        predictor.signature,
        # Neither may ask again in another format: a student's bad answer is the teacher's turn.
        dspy.JSONAdapter(use_native_function_calling=False)
        if adapter == "json"
        else dspy.ChatAdapter(use_json_adapter_fallback=False),
        drop=drop,
        history=[name for name, field in fields if field.annotation is dspy.History],
    )


class _StudentLM(dspy.LM):  # type: ignore[misc]  # dspy is not typed
    """A served model of the student server, with the prompt that it was trained on."""

    def __init__(
        self, served: ServedPredictor, prompt: StudentPrompt, *, server: str, key: str
    ) -> None:
        connection = _connection(served.served_model, server, key, timeout_s=60.0)
        super().__init__(**{**connection, "num_retries": 0})  # the gateway falls back at once
        self.adapter: Any = prompt.adapter

    def options(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of one call: the inputs travel beside the messages."""
        given = msgspec.json.encode(json_safe(dict(inputs))).decode()
        return {"temperature": 0.0, "metadata": {"limbeck_inputs": given}}


class _ByLm(dspy.Adapter):  # type: ignore[misc]
    """The program's own adapter; for a student's LM, the adapter of its training."""

    def __init__(self, teacher: dspy.Adapter) -> None:
        super().__init__()
        self._teacher = teacher

    def __call__(
        self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Mapping[str, Any]
    ) -> Any:
        if isinstance(lm, _StudentLM):
            return lm.adapter(lm, lm.options(inputs), signature, demos, inputs)
        return self._teacher(lm, lm_kwargs, signature, demos, inputs)

    async def acall(
        self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Mapping[str, Any]
    ) -> Any:
        if isinstance(lm, _StudentLM):
            return await lm.adapter.acall(lm, lm.options(inputs), signature, demos, inputs)
        return await self._teacher.acall(lm, lm_kwargs, signature, demos, inputs)

    def format(self, *args: Any, **kwargs: Any) -> Any:
        return self._teacher.format(*args, **kwargs)

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        return self._teacher.parse(*args, **kwargs)


class _Callback(BaseCallback):  # type: ignore[misc]
    """Translates dspy's callbacks for one run."""

    def __init__(self, recording: Recording, names: Mapping[object, str]) -> None:
        self._recording = recording
        self._names = names

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._recording.opened(call_id, callback_context.ACTIVE_CALL_ID.get())
        if isinstance(instance, dspy.Predict):
            given = inputs.get("kwargs") or {}
            signature = given.get("signature") or instance.signature
            fields = getattr(signature, "input_fields", given)
            self._recording.predictor_started(
                call_id,
                # A copy of the predictor (BestOfN, Refine) is another object of the same stage.
                self._names.get(id(instance)) or self._names.get(instance.stage) or "?",
                json_safe({name: value for name, value in given.items() if name in fields}),
                by_student=isinstance(given.get("lm") or instance.lm, _StudentLM),
            )

    def on_module_end(
        self, call_id: str, outputs: Any, exception: BaseException | None = None
    ) -> None:
        is_prediction = isinstance(outputs, dspy.Prediction)
        values = json_safe(dict(outputs.items())) if is_prediction else None
        self._recording.predictor_ended(call_id, values, exception)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._recording.opened(call_id, callback_context.ACTIVE_CALL_ID.get())
        messages = inputs.get("messages") or [{"role": "user", "content": inputs.get("prompt")}]
        model = str(getattr(instance, "model", "?")).removeprefix(f"{_PROVIDER}/")
        self._recording.lm_started(call_id, model, json_safe(messages))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        first = outputs[0] if isinstance(outputs, list) and outputs else None
        text = first.get("text") if isinstance(first, dict) else first
        self._recording.lm_ended(call_id, text if isinstance(text, str) else None)

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._recording.opened(call_id, callback_context.ACTIVE_CALL_ID.get())
        self._recording.tool_started()


class _Usage(UsageTracker):  # type: ignore[misc]
    """Gives each LM call its own tokens: dspy adds them while that call is the active one."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def __deepcopy__(self, memo: object) -> _Usage:
        return self  # dspy.Parallel copies the tracker for each thread

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        self._recording.tokens_used(
            callback_context.ACTIVE_CALL_ID.get(),
            int(usage_entry.get("prompt_tokens") or 0),
            int(usage_entry.get("completion_tokens") or 0),
        )


def _failure(error: BaseException, recording: Recording) -> errors.HostError:
    """Give an exception of the run the status that the caller sees."""
    lines = str(getattr(error, "message", "") or error).splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0][:300]}"
    if isinstance(error, dspy.AdapterParseError):
        return errors.UnusableAnswer(f"the model's answer could not be read: {text}")
    if isinstance(error, dspy.LMRateLimitError):
        return errors.Busy(f"the program's model takes no more requests now: {text}")
    if isinstance(error, dspy.ContextWindowExceededError):
        return errors.BadInputs(f"the inputs are too long for the program's model: {text}")
    if isinstance(error, dspy.LMError) and error is recording.student_error:
        text = f"student server: {text}"
        if told := _STUDENT_STATUS.get(getattr(error, "status", None) or 0):
            return told(text)
    if isinstance(error, _UNAVAILABLE):
        return errors.ModelUnavailable(f"the program's model can't be used now: {text}")
    return errors.ProgramFailed(f"the program failed: {text}")


def _prediction_values(prediction: Any) -> dict[str, Any]:
    if not isinstance(prediction, dspy.Example | Mapping):  # a Prediction is an Example
        kind = type(prediction).__name__
        raise errors.ProgramFailed(f"the program returned {kind}: return a dspy.Prediction")
    try:
        return dict(json_safe(dict(prediction.items())))
    except RecursionError as error:
        raise errors.UnusableAnswer("the program's outputs are nested too deeply") from error


def _predictor_names(module: dspy.Module) -> dict[object, str]:
    """Names by identity and by stage; predictors of frozen sub-modules have names too."""
    found: dict[object, str] = {}
    for name, predictor in [*module.named_sub_modules(dspy.Predict), *module.named_predictors()]:
        found[id(predictor)] = found[predictor.stage] = name.removeprefix("self.")
    return found


def _input_field(one: Input) -> InputField:
    history = dspy.History in (one.annotation, *typing.get_args(one.annotation))
    required = one.required and not history
    return InputField(type=type_name(one.annotation), required=required, history=history)


def _version_body(
    module: dspy.Module, lm: dspy.LM, factory: str, adapter: dspy.Adapter
) -> dict[str, Any]:
    parts = [cls for _, part in module.named_sub_modules() for cls in type(part).__mro__]
    code = versions.code_body({cls for cls in parts if issubclass(cls, dspy.Module)}, but="dspy")
    return {
        "factory": factory,
        "dspy": dspy.__version__,
        "lm": versions.lm_body(lm.model, lm.kwargs),
        "adapter": versions.options_body(adapter),
        "predictors": {
            name: versions.predictor_body(one) for name, one in module.named_predictors()
        },
        "tools": [versions.tool_body(tool) for _, tool in module.named_sub_modules(dspy.Tool)],
        "code": code,
    }
