"""A classifier student: TF-IDF features, one linear model an output field, calibrated. Numpy only.

Files: ``vocabulary.json`` (`features.Vocabulary`), ``outputs.json`` (`Outputs`), ``model.npz``
(``weights_I`` terms x classes and ``bias_I`` for field I). Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from distiller.artefact import ArtefactError, Manifest, encode, read_manifest
from distiller.chat import last_user_text
from distiller.features import Vectoriser, Vocabulary, input_text
from distiller.student_server.answer import Answer, BadInputs, Question, Token

VOCABULARY_FILE = "vocabulary.json"
OUTPUTS_FILE = "outputs.json"
MODEL_FILE = "model.npz"

T = TypeVar("T")
Value = str | int | bool | None


class OutputField(msgspec.Struct, frozen=True, kw_only=True):
    """A closed output: every value it can have."""

    name: str
    classes: tuple[Value, ...]


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """What ``outputs.json`` holds: the fields, and how an answer is written."""

    fields: tuple[OutputField, ...]
    #: field that gets the calibrated probability; None: there is none
    confidence: str | None
    #: names in the order of the training rows' outputs, the confidence among them
    order: tuple[str, ...]
    #: plain: the value of the only field; json: an object
    shape: Literal["plain", "json"]
    #: names of the inputs that were trained on
    inputs: tuple[str, ...]


class Weights(NamedTuple):
    """The linear model of one field."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


class Prediction(NamedTuple):
    """The most likely value of each field, and the probability that all of them are right."""

    values: dict[str, Value]
    probability: float


class ClassifierModel:
    """Safe to share between threads: nothing in it changes after loading."""

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        outputs: Outputs,
        models: Sequence[Weights],
        manifest: Manifest,
    ) -> None:
        self._vectoriser = Vectoriser(vocabulary)
        self._outputs = outputs
        self._models = models
        self._temperature = manifest.temperature or 1.0
        self.manifest = manifest

    @classmethod
    def load(cls, folder: Path) -> ClassifierModel:
        """Read a folder whose hashes were checked. Raises `ArtefactError`."""
        manifest = read_manifest(folder)
        try:
            vocabulary = _decode(folder / VOCABULARY_FILE, Vocabulary)
            outputs = _decode(folder / OUTPUTS_FILE, Outputs)
            models = _read_weights(folder / MODEL_FILE, len(outputs.fields))
        except (OSError, KeyError, ValueError) as error:
            raise ArtefactError(f"{folder} can't be read as a classifier: {error}") from error
        for field, model in zip(outputs.fields, models, strict=True):
            if model.weights.shape != (vocabulary.size, len(field.classes)):
                raise ArtefactError(
                    f"{folder / MODEL_FILE}: field {field.name!r} has weights of shape "
                    f"{model.weights.shape}, not {(vocabulary.size, len(field.classes))}"
                )
        return cls(vocabulary=vocabulary, outputs=outputs, models=models, manifest=manifest)

    def predict(self, inputs: Mapping[str, Any]) -> Prediction:
        """Answer ``inputs``, which must hold every field that the model was trained on."""
        missing = [name for name in self._outputs.inputs if name not in inputs]
        if missing:
            raise BadInputs(f"the inputs lack {missing[0]!r}, which the student was trained on")
        known = {name: inputs[name] for name in self._outputs.inputs}
        columns, numbers = self._vectoriser.vector(input_text(known))
        values: dict[str, Value] = {}
        probability = 1.0
        for field, model in zip(self._outputs.fields, self._models, strict=True):
            logits = numbers @ model.weights[columns] + model.bias
            likely = softmax(logits / self._temperature)
            best = int(np.argmax(likely))
            values[field.name] = field.classes[best]
            probability *= float(likely[best])
        return Prediction(values, probability)

    def answer(self, question: Question) -> Answer:
        inputs = question.inputs
        if inputs is None:
            inputs = self._inputs_from(question)
        prediction = self.predict(inputs)
        text = self.text(prediction)
        return Answer(
            text=text,
            tokens=(Token(text, math.log(max(prediction.probability, 1e-12))),),
            prompt_tokens=len(input_text(inputs).split()),
            completion_tokens=1,
        )

    def close(self) -> None:
        """Nothing is held but memory."""

    def text(self, prediction: Prediction) -> str:
        """Write a prediction as the model's answer."""
        if self._outputs.shape == "plain":
            return str(prediction.values[self._outputs.fields[0].name])
        shown: dict[str, Any] = dict(prediction.values)
        if self._outputs.confidence is not None:
            shown[self._outputs.confidence] = round(prediction.probability, 4)
        return json.dumps({name: shown[name] for name in self._outputs.order}, ensure_ascii=False)

    def _inputs_from(self, question: Question) -> Mapping[str, Any]:
        """On a plain route the only input is the newest user message."""
        if self._outputs.shape != "plain":
            raise BadInputs(
                "metadata.limbeck_inputs is missing: this student belongs to a program and reads "
                f"the inputs {list(self._outputs.inputs)}"
            )
        text = last_user_text(question.messages)
        if not text.strip():
            raise BadInputs("messages hold no text of the user")
        return dict.fromkeys(self._outputs.inputs, text)


def save(
    folder: Path, *, vocabulary: Vocabulary, outputs: Outputs, models: Sequence[Weights]
) -> None:
    """Write the model's files. Equal models give equal bytes."""
    (folder / VOCABULARY_FILE).write_bytes(msgspec.json.encode(vocabulary))
    (folder / OUTPUTS_FILE).write_bytes(encode(outputs))
    arrays: dict[str, NDArray[np.float32]] = {}
    for i, model in enumerate(models):
        arrays[f"weights_{i}"] = model.weights
        arrays[f"bias_{i}"] = model.bias
    with (folder / MODEL_FILE).open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities along the last axis."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def _read_weights(path: Path, fields: int) -> list[Weights]:
    with np.load(path, allow_pickle=False) as arrays:
        return [Weights(arrays[f"weights_{i}"], arrays[f"bias_{i}"]) for i in range(fields)]


def _decode(path: Path, type_: type[T]) -> T:
    return msgspec.json.decode(path.read_bytes(), type=type_)
