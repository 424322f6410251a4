"""Students on disk for the tests, as the distiller publishes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from programs import dspy_compat
from programs.user_code import open_user_folder
from tests.programs.hosts import APP


def skeleton_of(factory: str, predictor: str, *, adapter: str, drop: list[str]) -> dict[str, Any]:
    """Return the skeleton of the student's prompt, as it is now."""
    open_user_folder(APP)
    found = dspy_compat.load_predictor(factory, APP, predictor)
    skeleton = dspy_compat.student_prompt(found, adapter=adapter, drop=drop).skeleton
    return {"system_sha256": skeleton.system_sha256, "lines": list(skeleton.lines)}


def publish(
    students: Path,
    factory: str,
    predictor: str,
    *,
    student: str = "s1-aaaa",
    adapter: str = "json",
    skeleton: dict[str, Any] | None = None,
) -> str:
    """Write a student that answers one predictor, and return its model name."""
    drop = ["reasoning"]
    folder = students / f"triage@{student}"
    (folder / predictor).mkdir(parents=True)
    bound = skeleton or skeleton_of(factory, predictor, adapter=adapter, drop=drop)
    (folder / predictor / "manifest.json").write_text(json.dumps({"skeleton": bound}))
    served = {
        "served_model": f"triage.{predictor}@{student}",
        "adapter": adapter,
        "drop": drop,
        "filled": ["confidence"],
    }
    values = {
        "schema": 1,
        "route": "triage",
        "student": student,
        "program_version": "v-of-the-training",
        "predictors": {predictor: served},
    }
    (folder / "student.json").write_text(json.dumps(values))
    return f"triage@{student}"
