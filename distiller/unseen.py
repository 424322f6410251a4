"""Exam rows that are new to an earlier student: it may have learnt from rows near today's exam."""

from __future__ import annotations

from distiller.dataset import stored
from distiller.dataset.clean import near_inputs
from distiller.dataset.values import Dataset, Row, Split
from distiller.publishing import students_of_route
from traces.store import Store


def unseen_rows(store: Store, dataset: Dataset, student: str) -> tuple[Row, ...]:
    """The exam rows of ``dataset`` that are not near what ``student`` has learnt from.

    All of them for a candidate that nobody trained. Takes seconds for a large dataset.
    """
    exam = dataset.split(Split.EXAM)
    students = students_of_route(store, dataset.spec.route)
    learnt_from = next((one.dataset_id for one in students if one.student == student), None)
    if learnt_from is None:
        return exam
    learnt = [row for row in stored.rows_left(store, learnt_from) if row.split is not Split.EXAM]
    near = near_inputs(exam, learnt, program=dataset.spec.program)
    return tuple(row for row, close in zip(exam, near, strict=True) if not close)
