from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from distiller.artefact import ArtefactError, Manifest, publish, read_manifest, seal, verify
from distiller.skeleton import Skeleton
from distiller.student import (
    ServedPredictor,
    Student,
    artefact_sha256,
    find_served,
    list_students,
    predictor_folder,
    publish_student,
    read_student,
    served_model,
    student_folder,
    student_id,
    verify_student,
)

MANIFEST = Manifest(
    kind="classifier",
    files={},
    adapter="plain",
    skeleton=Skeleton(system_sha256=None, lines=()),
    trained_rows=100,
    dev_score=0.9,
    temperature=1.0,
    versions={},
    seed=0,
    time_limited=False,
)


def model(folder: Path, content: str = "weights") -> Path:
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "model.bin").write_text(content)
    seal(folder, MANIFEST)
    return folder


def student(route: str, predictors: list[str], name: str = "s1-abcd") -> Student:
    return Student(
        route=route,
        student=name,
        created=1.5,
        program_version="p",
        metric_hash="m",
        dataset_id="d",
        dataset_sha256="0",
        cutoff=1.0,
        trainer="classifier",
        predictors={
            p: ServedPredictor(served_model=served_model(route, p, name), adapter="plain")
            for p in predictors
        },
        artefact_sha256="",
    )


#: publishes as the test does, until the kernel ends the process at the first large file
PUBLISH_AND_DIE = """
import resource, signal, sys
from pathlib import Path
import msgspec
from distiller.student import Student, publish_student

students, model = map(Path, sys.argv[1:3])
student = msgspec.json.decode(sys.argv[3], type=Student)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
publish_student(students, student, {"answer": model})
"""


def publish_and_die(students: Path, student: Student, model: Path) -> None:
    command = [sys.executable, "-c", PUBLISH_AND_DIE, str(students), str(model)]
    ended = subprocess.run([*command, msgspec.json.encode(student).decode()])
    assert ended.returncode == -signal.SIGXFSZ


class TestArtefact:
    def test_a_sealed_folder_verifies(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "m")
        assert verify(folder).files == read_manifest(folder).files
        assert list(read_manifest(folder).files) == ["part/model.bin"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: (f / "part/model.bin").write_text("other"), "model.bin is damaged"),
            (lambda f: (f / "part/model.bin").unlink(), "model.bin is missing"),
            (lambda f: (f / "extra").write_text(""), "extra is not in the manifest"),
            (lambda f: (f / "manifest.json").unlink(), "has no manifest.json"),
            (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: "),
        ],
    )
    def test_every_damage_is_named(self, tmp_path: Path, change: object, message: str) -> None:
        folder = model(tmp_path / "m")
        change(folder)  # type: ignore[operator]
        with pytest.raises(ArtefactError, match=message):
            verify(folder)

    def test_an_artefact_is_never_replaced(self, tmp_path: Path) -> None:
        final = model(tmp_path / "final")
        with pytest.raises(ArtefactError, match="never replaced"):
            publish(model(tmp_path / "draft", "new"), final)
        assert (final / "part" / "model.bin").read_text() == "weights"


class TestStudent:
    def test_a_published_student_is_read_back_and_found(self, tmp_path: Path) -> None:
        models = {"a": model(tmp_path / "a", "1"), "b.c": model(tmp_path / "b", "2")}
        made = publish_student(tmp_path / "s", student("shop-4.1", list(models)), models)
        folder = student_folder(tmp_path / "s", "shop-4.1", "s1-abcd")
        assert made.artefact_sha256 == artefact_sha256(models)
        assert read_student(folder) == verify_student(folder) == made
        assert list(list_students(tmp_path / "s")) == [made]
        served = find_served(tmp_path / "s", "shop-4.1.b.c@s1-abcd")
        assert served is not None and served.predictor == "b.c"
        assert served.folder == predictor_folder(folder, "b.c")
        assert find_served(tmp_path / "s", "shop-4.1.b@s1-abcd") is None
        assert [p.name for p in (tmp_path / "s").iterdir()] == ["shop-4.1@s1-abcd"]

    def test_publishing_again_is_a_no_op_and_another_student_an_error(self, tmp_path: Path) -> None:
        models = {"answer": model(tmp_path / "a", "1")}
        made = publish_student(tmp_path / "s", student("r", ["answer"]), models)
        later = msgspec.structs.replace(student("r", ["answer"]), created=9.0)
        assert publish_student(tmp_path / "s", later, models) == made
        with pytest.raises(ArtefactError, match="ids are never reused"):
            publish_student(tmp_path / "s", later, {"answer": model(tmp_path / "b", "2")})

    def test_what_a_killed_publication_left_goes_with_the_routes_next_one(
        self, tmp_path: Path
    ) -> None:
        students, made = tmp_path / "s", student("r", ["answer"])
        folder = model(tmp_path / "a", "weights " * 1_000)
        publish_and_die(students, made, folder)
        (left,) = students.iterdir()
        publish_student(students, student("r.2", ["answer"]), {"answer": folder})
        assert left.exists(), "another route may be publishing"
        publish_student(students, made, {"answer": folder})
        assert sorted(p.name for p in students.iterdir()) == ["r.2@s1-abcd", "r@s1-abcd"]

    def test_models_and_predictors_must_agree(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match=r"the models are for \['b'\]"):
            publish_student(tmp_path / "s", student("r", ["a"]), {"b": model(tmp_path / "b")})

    def test_a_damaged_model_is_not_published(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "a")
        (folder / "part" / "model.bin").write_text("x")
        with pytest.raises(ArtefactError, match="damaged"):
            publish_student(tmp_path / "s", student("r", ["answer"]), {"answer": folder})
        assert not (tmp_path / "s").exists()

    def test_a_swapped_manifest_is_noticed(self, tmp_path: Path) -> None:
        models = {"answer": model(tmp_path / "a", "1")}
        publish_student(tmp_path / "s", student("r", ["answer"]), models)
        folder = student_folder(tmp_path / "s", "r", "s1-abcd")
        seal(predictor_folder(folder, "answer"), msgspec.structs.replace(MANIFEST, seed=5))
        with pytest.raises(ArtefactError, match="not those that were published"):
            verify_student(folder)

    def test_routes_with_slashes_stay_inside_the_folder(self, tmp_path: Path) -> None:
        assert student_folder(tmp_path, "../../etc", "s1-a").parent == tmp_path
        models = {"answer": model(tmp_path / "a")}
        made = publish_student(tmp_path / "s", student("meta/llama", ["answer"]), models)
        assert find_served(tmp_path / "s", "meta/llama.answer@s1-abcd") is not None
        assert list(list_students(tmp_path / "s")) == [made]

    def test_a_name_too_long_for_a_folder_is_no_student(self, tmp_path: Path) -> None:
        name = "/" * 90
        assert find_served(tmp_path, f"{name}.answer@s1-aaaa") is None
        with pytest.raises(ArtefactError, match="can't be read"):
            read_student(student_folder(tmp_path, name, "s1-aaaa"))

    @pytest.mark.parametrize("name", ["", ".", ".."])
    def test_a_predictor_must_have_a_usable_name(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ArtefactError, match="can't be the name of a predictor"):
            predictor_folder(tmp_path, name)

    def test_what_is_no_student_is_skipped(self, tmp_path: Path) -> None:
        (tmp_path / "note.txt").write_text("")
        (tmp_path / "r@s1-a").mkdir()
        (tmp_path / "r@s1-a" / "student.json").write_text('{"schema": 1}')
        assert list(list_students(tmp_path)) == []
        assert list(list_students(tmp_path / "none")) == []
        assert find_served(tmp_path, "r.answer@s1-a") is None

    def test_a_newer_schema_asks_for_an_upgrade(self, tmp_path: Path) -> None:
        newer = msgspec.structs.replace(student("r", []), schema=2)
        (tmp_path / "student.json").write_bytes(msgspec.json.encode(newer))
        with pytest.raises(ArtefactError, match="schema 2, this version reads 1: upgrade"):
            read_student(tmp_path)

    def test_an_id_is_the_sequence_and_the_content(self) -> None:
        assert student_id(7, "3fa2" + "0" * 60) == "s7-3fa2"
