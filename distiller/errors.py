"""The error tree of this package. Every message says what was wrong, where, and what to do.

DistillerError
├── ApiError          an OpenAI-shaped HTTP answer           (distiller.http)
├── ArtefactError     a student's files are missing or wrong (distiller.artefact)
├── DatasetError      a frozen dataset can't be made again   (distiller.dataset.stored)
├── RenderError       a program can't render its rows        (distiller.dataset.rows)
├── TrainerRefused    the service does not take a request    (distiller.fine_tuning)
├── TrainerUnavailable  it can't be asked just now           (distiller.fine_tuning)
├── CannotServe       no key, or the address is taken        (distiller.http)
├── Declined          a student gives no answer              (distiller.student_server.answer)
├── MissingExtra      an optional dependency is not installed (distiller.extras)
├── BadHyperparameter an unknown name, a value out of range  (distiller.trainer.hyperparameters)
├── RowError          a training row is malformed            (distiller.trainer.rows)
└── Refused           a job can't be trained as asked        (distiller.trainer.refusal)
"""

from __future__ import annotations


class DistillerError(Exception):
    """Whatever the distiller reports by itself."""
