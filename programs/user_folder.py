"""Refuses user folders whose modules would get the names of limbeck's own packages.

Standard library only, and nothing of the user's is imported: control calls this before anything
else starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from programs.errors import UserFolderError

PACKAGES = ("gateway", "router", "distiller", "traces", "programs", "control", "limbeck")
_COMPILED = (".so", ".pyd", ".pyc")


def collisions(folder: Path) -> list[str]:
    """One message per module at the top level of ``folder`` that has a name of ours."""
    found: list[str] = []
    for name in PACKAGES:
        for path in _modules_named(folder, name):
            moved = folder / "myprogram" / path.name
            found.append(
                f'program directory "{folder}" is refused: {path} has the name of limbeck\'s own '
                f'package "{name}". Rename it, or move it into a package of your own ({moved}).'
            )
    return found


def check_user_folders(folders: Iterable[Path]) -> None:
    """Raise `UserFolderError` with every collision of every folder, one line each."""
    found: list[str] = []
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            found.append(f'program directory "{folder}" does not exist')
            continue
        found.extend(collisions(folder))
    if found:
        raise UserFolderError("\n".join(found))


def _modules_named(folder: Path, name: str) -> list[Path]:
    """Return what ``import name`` could load from ``folder``: a file, a binary, any folder."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        is_source = path.name == f"{name}.py"
        is_compiled = path.name.split(".")[0] == name and path.suffix in _COMPILED
        is_folder = path.name == name and path.is_dir()
        if is_source or is_compiled or is_folder:
            found.append(path)
    return found
