"""The classifier trainer: TF-IDF, one logistic regression an output field, one temperature.

No torch, no pickle, one thread; equal rows and seed give equal bytes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from distiller.artefact import Manifest, seal
from distiller.features import Vectoriser, input_text, learn_vocabulary
from distiller.skeleton import skeleton_of
from distiller.student_server.classifier import (
    ClassifierModel,
    OutputField,
    Outputs,
    Value,
    Weights,
    save,
)
from distiller.trainer.calibration import Labelled, fit_temperature
from distiller.trainer.outputs import ClosedField, LearnableOutputs, learnable_outputs
from distiller.trainer.refusal import Refused
from distiller.trainer.rows import Row
from distiller.trainer.run import Draft, Run, check_row_count, versions

LEAST_ROWS = 100
_C = 20.0
_MOST_ITERATIONS = 400
#: iterations that a fit takes, roughly, for the estimate of the time left
_USUAL_ITERATIONS = 60
_SELF_TEST_ROWS = 200


class _Data(NamedTuple):
    """Texts as a sparse matrix."""

    matrix: csr_matrix
    rows: Sequence[Row]


def train_classifier(run: Run) -> Draft:
    """Train, calibrate, self-test. Raises `Refused` for open outputs or too few rows."""
    check_row_count(run, default=LEAST_ROWS)
    rows = run.rows
    learnable = learnable_outputs([row.outputs for row in rows.train])
    _check_shape(run, learnable)
    inputs = _common_inputs(rows.train)
    run.events.add("progress", f"Reading {len(rows.train)} rows", stage="features")
    vocabulary = learn_vocabulary([_text(row, inputs) for row in rows.train])
    if not vocabulary.size:
        raise Refused("the inputs of the training rows hold no text that repeats")
    vectoriser = Vectoriser(vocabulary)
    train = _vectorise(vectoriser, rows.train, inputs)
    models = _fit_all(run, learnable, train)
    run.events.add("progress", "Calibrating", stage="calibrate", eta_s=1.0)
    dev = _vectorise(vectoriser, rows.dev, inputs)
    held_out = _vectorise(vectoriser, rows.calibration, inputs) if rows.calibration else dev
    temperature = fit_temperature(
        [
            _labelled(field, model, held_out)
            for field, model in zip(learnable.closed, models, strict=True)
        ]
    )
    dev_values = _choose(learnable, models, dev)
    dev_score = _score(learnable, dev.rows, dev_values)
    folder = run.fresh_draft()
    save(folder, vocabulary=vocabulary, outputs=_outputs(run, learnable, inputs), models=models)
    seal(
        folder,
        Manifest(
            kind="classifier",
            files={},
            adapter=_shape(run),
            skeleton=skeleton_of(row.prompt for row in rows.train),
            trained_rows=len(rows.train),
            dev_score=dev_score,
            temperature=temperature,
            filled=() if learnable.confidence is None else (learnable.confidence,),
            versions=versions("scikit-learn", "numpy", "scipy"),
            seed=run.job.seed,
            time_limited=False,
        ),
    )
    _self_test(ClassifierModel.load(folder), dev, dev_values)
    return Draft(folder=folder, dev_score=dev_score, trained_tokens=0)


def _shape(run: Run) -> Any:
    return "plain" if run.job.adapter == "plain" else "json"


def _check_shape(run: Run, learnable: LearnableOutputs) -> None:
    if run.job.adapter == "plain" and len(learnable.order) != 1:
        raise Refused(
            f"a plain route has one output, the rows have {list(learnable.order)}: "
            "set metadata.adapter to 'json' for a program"
        )


def _outputs(run: Run, learnable: LearnableOutputs, inputs: tuple[str, ...]) -> Outputs:
    return Outputs(
        fields=tuple(OutputField(name=f.name, classes=f.values) for f in learnable.closed),
        confidence=learnable.confidence,
        order=learnable.order,
        shape=_shape(run),
        inputs=inputs,
    )


def _common_inputs(rows: Sequence[Row]) -> tuple[str, ...]:
    common = set(rows[0].inputs).intersection(*(row.inputs for row in rows))
    if not common:
        raise Refused("the training rows have no input field in common")
    return tuple(sorted(common))


def _text(row: Row, inputs: tuple[str, ...]) -> str:
    return input_text({name: row.inputs.get(name, "") for name in inputs})


def _vectorise(vectoriser: Vectoriser, rows: Sequence[Row], inputs: tuple[str, ...]) -> _Data:
    vectors = [vectoriser.vector(_text(row, inputs)) for row in rows]
    starts = np.cumsum([0, *(len(vector.columns) for vector in vectors)])
    columns = np.concatenate([v.columns for v in vectors]) if vectors else np.zeros(0, np.int32)
    values = np.concatenate([v.values for v in vectors]) if vectors else np.zeros(0, np.float32)
    shape = (len(rows), vectoriser.size)
    return _Data(csr_matrix((values.astype(np.float64), columns, starts), shape=shape), rows)


def _fit_all(run: Run, learnable: LearnableOutputs, train: _Data) -> list[Weights]:
    estimates = [_estimate_s(train.matrix, len(field.values)) for field in learnable.closed]
    models = []
    for number, field in enumerate(learnable.closed):
        run.events.add(
            "progress",
            f"Fitting {field.name}: {len(field.values)} values, {train.matrix.shape[1]} terms",
            stage="fit",
            step=number,
            total=len(learnable.closed),
            eta_s=sum(estimates[number:]) + 1.0,
        )
        models.append(_fit(field, train, seed=run.job.seed))
    return models


def _fit(field: ClosedField, train: _Data, *, seed: int) -> Weights:
    truth = _classes(field, train.rows)
    terms = train.matrix.shape[1]
    if len(field.values) == 1:
        return Weights(np.zeros((terms, 1), np.float32), np.zeros(1, np.float32))
    regression = LogisticRegression(C=_C, max_iter=_MOST_ITERATIONS, random_state=seed)
    weight = np.array([row.weight for row in train.rows])
    regression.fit(train.matrix, truth, sample_weight=weight / weight.mean())
    weights, bias = regression.coef_, regression.intercept_
    if len(field.values) == 2:  # scikit-learn keeps the second class only
        weights, bias = np.vstack([-weights, weights]) / 2, np.array([-bias[0], bias[0]]) / 2
    return Weights(np.ascontiguousarray(weights.T, dtype=np.float32), bias.astype(np.float32))


def _classes(field: ClosedField, rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return the class of each row; -1 for a value that training did not see."""
    index = {_key(value): i for i, value in enumerate(field.values)}
    return np.array([index.get(_key(row.outputs.get(field.name)), -1) for row in rows], np.int64)


def _key(value: Any) -> tuple[str, str]:
    """True, 1 and "1" are three values."""
    return type(value).__name__, str(value)


def _logits(model: Weights, data: _Data) -> NDArray[np.float64]:
    result: NDArray[np.float64] = data.matrix @ model.weights.astype(np.float64) + model.bias
    return result


def _labelled(field: ClosedField, model: Weights, data: _Data) -> Labelled:
    truth = _classes(field, data.rows)
    known = truth >= 0
    return Labelled(_logits(model, data)[known], truth[known])


def _choose(
    learnable: LearnableOutputs, models: Sequence[Weights], data: _Data
) -> list[dict[str, Value]]:
    best = [_logits(model, data).argmax(axis=1) for model in models]
    return [
        {
            field.name: field.values[int(best[number][row])]
            for number, field in enumerate(learnable.closed)
        }
        for row in range(len(data.rows))
    ]


def _score(
    learnable: LearnableOutputs, rows: Sequence[Row], chosen: Sequence[dict[str, Value]]
) -> float | None:
    if not rows:
        return None
    right = sum(
        all(_key(values[f.name]) == _key(row.outputs.get(f.name)) for f in learnable.closed)
        for row, values in zip(rows, chosen, strict=True)
    )
    return round(right / len(rows), 4)


def _self_test(model: ClassifierModel, dev: _Data, expected: Sequence[dict[str, Value]]) -> None:
    """The files, read as the student server reads them, must answer as the fitted model did."""
    pairs = list(zip(dev.rows, expected, strict=True))[:_SELF_TEST_ROWS]
    for row, values in pairs:
        found = model.predict(row.inputs).values
        if found != values:
            raise Refused(
                f"self-test: the published model answers {found}, the trained one {values}. "
                "This is a fault of limbeck: please report it",
                code="self_test_failed",
            )


def _estimate_s(matrix: csr_matrix, classes: int) -> float:
    """Predict the seconds of a fit from one product, of which each iteration needs two."""
    sample = np.ones((matrix.shape[1], classes))
    before = time.perf_counter()
    matrix @ sample
    return (time.perf_counter() - before) * 2.5 * _USUAL_ITERATIONS
