"""A student on disk: an immutable folder ``ROUTE@ID`` with one trained model a predictor.

Control publishes students, the program host and the student server read them. Nobody changes one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from distiller.artefact import (
    MANIFEST,
    Adapter,
    ArtefactError,
    encode,
    publish,
    verify,
)

STUDENT_FILE = "student.json"
SCHEMA = 1
#: longer names can't be a folder's on every file system
LONGEST_NAME = 200


class ServedPredictor(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor of a student, as the student server knows it."""

    #: ``ROUTE.PREDICTOR@ID``
    served_model: str
    adapter: Adapter
    #: output fields that the teacher has and the student does not write
    drop: tuple[str, ...] = ()
    #: output fields that the student server fills in with the calibrated probability
    filled: tuple[str, ...] = ()


class Student(msgspec.Struct, frozen=True, kw_only=True):
    """A map predictor -> served model, with its lineage."""

    schema: int = SCHEMA
    route: str
    #: such as ``s7-3fa2``
    student: str
    #: Unix seconds
    created: float
    program_version: str
    metric_hash: str
    dataset_id: str
    dataset_sha256: str
    #: Unix seconds; no newer trace was used for training, calibration or choice
    cutoff: float
    trainer: str
    predictors: dict[str, ServedPredictor]
    artefact_sha256: str


class Served(NamedTuple):
    """Where one served model lies."""

    student: Student
    predictor: str
    folder: Path


def artefact_sha256(models: Mapping[str, Path]) -> str:
    """Hash the manifests of a student's models (predictor -> folder), and so all their files."""
    digest = hashlib.sha256()
    for predictor in sorted(models):
        manifest = models[predictor] / MANIFEST
        digest.update(f"{predictor}\x1f".encode())
        digest.update(hashlib.sha256(manifest.read_bytes()).digest())
    return digest.hexdigest()


def student_id(sequence: int, sha256: str) -> str:
    """Return the id of the ``sequence``-th student of a route, such as ``s7-3fa2``."""
    return f"s{sequence}-{sha256[:4]}"


def served_model(route: str, predictor: str, student: str) -> str:
    return f"{route}.{predictor}@{student}"


def student_folder(students: Path, route: str, student: str) -> Path:
    """Return the folder of a student; unusual characters of the route are percent-encoded."""
    return students / quote(f"{route}@{student}", safe="@")


def predictor_folder(folder: Path, predictor: str) -> Path:
    """Return the folder of one predictor inside a student's folder."""
    name = quote(predictor, safe="")
    if name in ("", ".", "..", STUDENT_FILE):
        raise ArtefactError(f"{predictor!r} can't be the name of a predictor")
    return folder / name


def publish_student(students: Path, student: Student, models: Mapping[str, Path]) -> Student:
    """Copy the trained ``models`` (predictor -> folder) into a new student and publish it.

    One publication of a route at a time: what an earlier one left that was killed is removed.
    Returns the student with its ``artefact_sha256``. Publishing the same student again is a no-op;
    another one under the same id raises `ArtefactError`, as do damaged models.
    """
    if models.keys() != student.predictors.keys():
        raise ArtefactError(
            f"student {student.route}@{student.student} names the predictors "
            f"{sorted(student.predictors)}, the models are for {sorted(models)}"
        )
    prefix = f".publishing-{quote(student.route, safe='')}@"
    for leftover in students.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in models.values():
        verify(folder)
    student = msgspec.structs.replace(student, artefact_sha256=artefact_sha256(models))
    final = student_folder(students, student.route, student.student)
    if final.exists():
        return _same_student(final, student)
    students.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=students))
    try:
        for predictor, folder in models.items():
            shutil.copytree(folder, predictor_folder(temporary, predictor))
        (temporary / STUDENT_FILE).write_bytes(encode(student))
        temporary.chmod(0o755)
        publish(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return student


def read_student(folder: Path) -> Student:
    """Read ``student.json`` of a student's folder. Raises `ArtefactError`."""
    path = folder / STUDENT_FILE
    try:
        student = msgspec.json.decode(path.read_bytes(), type=Student)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtefactError(f"{folder} has no {STUDENT_FILE}: it is no student") from None
    except OSError as error:
        raise ArtefactError(f"{path} can't be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ArtefactError(f"{path}: {error}") from error
    if student.schema != SCHEMA:
        raise ArtefactError(
            f"{path} has schema {student.schema}, this version reads {SCHEMA}: upgrade limbeck"
        )
    return student


def verify_student(folder: Path) -> Student:
    """Read a student and compare all its files with their hashes. Raises `ArtefactError`."""
    student = read_student(folder)
    models = {name: predictor_folder(folder, name) for name in student.predictors}
    for model in models.values():
        verify(model)
    if artefact_sha256(models) != student.artefact_sha256:
        raise ArtefactError(f"{folder}: its manifests are not those that were published")
    return student


def list_students(students: Path) -> Iterator[Student]:
    """Yield the readable students of a folder, sorted by folder name."""
    if not students.is_dir():
        return
    for folder in sorted(students.iterdir()):
        if folder.name.startswith("."):
            continue
        try:
            yield read_student(folder)
        except ArtefactError:
            continue  # not ours, or of a newer version: nothing that can be served


def find_served(students: Path, name: str) -> Served | None:
    """Find the served model ``ROUTE.PREDICTOR@ID``; None if no student has it.

    Routes and predictors may hold dots, so each split is tried. The name is only ever compared
    with what ``student.json`` says: it never becomes a path by itself.
    """
    left, at, student_name = name.rpartition("@")
    if not at or len(name) > LONGEST_NAME:
        return None
    for position, character in enumerate(left):
        if character != ".":
            continue
        route, predictor = left[:position], left[position + 1 :]
        folder = student_folder(students, route, student_name)
        try:
            student = read_student(folder)
        except ArtefactError:
            continue
        served = student.predictors.get(predictor)
        if served is not None and served.served_model == name:
            return Served(student, predictor, predictor_folder(folder, predictor))
    return None


def _same_student(folder: Path, student: Student) -> Student:
    present = read_student(folder)
    if present.artefact_sha256 != student.artefact_sha256:
        raise ArtefactError(f"{folder} exists already with other models; ids are never reused")
    return present
