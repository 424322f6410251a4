"""The hash of a metric: its name, and the source that it comes from.

Control needs it and must not run the user's code, so the files are found and read, not imported.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from programs.errors import LoadError
from programs.exact_match import exact_match_field
from programs.user_code import split_spec

#: rises when `exact_match` changes its mind about anything
_EXACT_MATCH_VERSION = 1


def metric_hash(spec: str, folder: Path) -> str:
    """Return 16 hex digits that change with the metric.

    The sources are the metric's module and the modules of ``folder`` that it imports, directly or
    not. A metric of an installed package counts by its name alone. Raises `LoadError`.
    """
    if exact_match_field(spec) is not None:
        return _digest([f"{spec}/{_EXACT_MATCH_VERSION}".encode()])
    module, _ = split_spec(spec, what="metric")
    parts = [spec.encode()]
    for path, source in sorted(_sources(module, folder).items()):
        parts += [str(path.relative_to(folder)).encode(), source]
    return _digest(parts)


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _sources(module: str, folder: Path) -> dict[Path, bytes]:
    found: dict[Path, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for path in _files(name, folder):
            if path not in found:
                found[path] = _read(path)
                waiting += _imports(path, found[path], name)
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path} can't be read: {error.strerror}") from error


def _files(module: str, folder: Path) -> list[Path]:
    """Return the file of a module and the ``__init__.py`` of the packages around it."""
    names = module.split(".")
    places = [folder.joinpath(*names[: n + 1]) for n in range(len(names))]
    candidates = [places[-1].with_suffix(".py"), *(place / "__init__.py" for place in places)]
    return [path for path in candidates if path.is_file()]


def _imports(path: Path, source: bytes, module: str) -> list[str]:
    try:
        tree = ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise LoadError(f"{path}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:  # a NUL byte
        raise LoadError(f"{path}: {error}") from error
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=path.name == "__init__.py")
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in found if name]


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    around = module.split(".")
    around = around[: len(around) - node.level + is_package]
    return ".".join([*around, *([node.module] if node.module else [])])
