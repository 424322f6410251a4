"""Loads the object that ``module:attribute`` names from the user's folder."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from programs.errors import LoadError
from programs.user_folder import check_user_folders


def open_user_folder(folder: Path) -> None:
    """Make the user's modules importable, after everybody else's.

    Raises `UserFolderError` where one of them would collide with ours.
    """
    # A price table from the network at import time would be a surprise.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    check_user_folders([folder])
    entry = str(folder.resolve())
    if entry not in sys.path:
        sys.path.append(entry)


def split_spec(spec: str, *, what: str) -> tuple[str, str]:
    """Split ``package.module:attribute``; ``what`` names the setting in the error."""
    module, colon, attribute = spec.partition(":")
    if not (module and colon and attribute):
        raise LoadError(f'{what} "{spec}" is not of the form "package.module:name"')
    return module, attribute


def load_object(spec: str, *, what: str, folder: Path) -> object:
    """Import the module and return its attribute. Raises `LoadError`, whatever the code did."""
    module_name, attribute = split_spec(spec, what=what)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        problem = _import_problem(module_name, error, folder)
        raise LoadError(f'{what} "{spec}": {problem}') from error
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise LoadError(
                f'{what} "{spec}": module {module_name} ({module.__file__}) has no "{part}". '
                f"Define it there, or correct the name in limbeck.toml."
            )
        found = getattr(found, part)
    return found


def _import_problem(module: str, error: BaseException, folder: Path) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and (module == missing or module.startswith(f"{missing}.")):
        path = folder / f"{module.replace('.', '/')}.py"
        return (
            f"there is no module {module}: looked for {path} and in the installed packages. "
            f"Create it, or correct the name in limbeck.toml."
        )
    return f"importing {module} failed: {type(error).__name__}: {error}"
