"""The served models: found in the students folder, checked and loaded at their first request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from distiller.artefact import ArtefactError, read_manifest
from distiller.extras import require
from distiller.student import Served, find_served, list_students, verify_student
from distiller.student_server.answer import ServedModel


class UnknownModel(ArtefactError):
    """No student has a served model of that name."""


class Library:
    """Loads each model once. Students are immutable, so nothing is ever reloaded."""

    def __init__(self, students: Path, *, threads: int) -> None:
        self._students = students
        self._threads = threads
        self._loaded: dict[str, ServedModel] = {}
        #: guards `_loaded`: two first requests for one model load it once
        self._lock = threading.Lock()

    def get(self, name: str) -> ServedModel:
        """Return a model, loading it if needed (slow: call it in a thread).

        Raises `UnknownModel`, `ArtefactError` for damaged files, and `MissingExtra`.
        """
        model = self._loaded.get(name)
        if model is not None:
            return model
        served = find_served(self._students, name)
        if served is None:
            raise UnknownModel(f"model {name!r} does not exist: no student here serves it")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = _load(served, threads=self._threads)
            return self._loaded[name]

    def close(self) -> None:
        """Unload everything; no request may be running."""
        for model in self._loaded.values():
            model.close()
        self._loaded.clear()

    def names(self) -> Iterator[str]:
        """Yield every served model in the students folder."""
        for student in list_students(self._students):
            for predictor in student.predictors.values():
                yield predictor.served_model

    def kinds(self) -> dict[str, int]:
        """Return how many models of each kind are loaded."""
        counts = {"classifier": 0, "embedded": 0}
        for model in tuple(self._loaded.values()):
            counts[model.manifest.kind] += 1
        return counts


def _load(served: Served, *, threads: int) -> ServedModel:
    verify_student(served.folder.parent)
    if read_manifest(served.folder).kind == "classifier":
        from distiller.student_server.classifier import ClassifierModel

        return ClassifierModel.load(served.folder)
    name = f"student {served.student.route}@{served.student.student}"
    require("serve", what=f"{name} is of the kind 'embedded', and serving it")
    from distiller.student_server.embedded import EmbeddedModel

    return EmbeddedModel.load(served.folder, threads=threads)
