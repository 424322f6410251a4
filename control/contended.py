"""Small files that several processes write at once: what ranks higher stays, and no lock is taken.

A writer never takes the place of what it has not seen. A link is refused where a file is, and what
ranks lower is moved aside first, to be looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from control.files import sync_folder, temporary_file

#: end of the name of a file that was moved aside
_ASIDE = ".aside"


@dataclass(frozen=True, kw_only=True)
class Contended:
    """Files with contents of one kind. ``rank`` of a content; ``top``: none is higher."""

    rank: Callable[[bytes], int]
    top: int

    def put(self, path: Path, content: bytes) -> bytes:
        """Write ``content``, unless as much is there; return what is there in the end."""
        with temporary_file(path, content) as file:
            return self._place(path, file, content)

    def take(self, path: Path, seen: bytes) -> bool:
        """Remove the content that was ``seen``; False if it was gone, or another came meanwhile.

        Between a look and a removal one may come all the same. Then it goes back, unless what
        ranks higher is there by now; for that moment readers find no file.
        """
        aside = path.with_name(f".{path.name}.{os.urandom(6).hex()}{_ASIDE}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        moved = aside.read_bytes()
        if moved != seen:
            self._place(path, aside, moved)
        aside.unlink(missing_ok=True)
        return moved == seen

    def restore(self, folder: Path) -> None:
        """Put back what a crash has left aside."""
        for aside in folder.glob(f".*{_ASIDE}"):
            name, _, _ = aside.name.removeprefix(".").rsplit(".", 2)
            try:
                moved = aside.read_bytes()
            except OSError:
                continue  # gone meanwhile, or unreadable: it holds up no other
            self._place(folder / name, aside, moved)
            aside.unlink(missing_ok=True)

    def _place(self, path: Path, file: Path, content: bytes) -> bytes:
        """Make ``file``, which holds ``content``, appear at ``path``."""
        while not _link(file, path):
            try:
                found = _content(path)
            except OSError:
                # Nobody can read what is ordered there, though workers obey it: it is written anew.
                os.replace(file, path)
                break
            if found is None:
                continue
            if self.rank(found) >= self.rank(content):
                return found
            if self.rank(content) == self.top:
                # Whatever has come meanwhile is no more than this; and readers always find a file.
                os.replace(file, path)
                break
            self.take(path, found)
        sync_folder(path.parent)
        return content


def _link(file: Path, path: Path) -> bool:
    try:
        os.link(file, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: of two that come in the same moment the later stays.
        if path.exists():
            return False
        os.replace(file, path)
    return True


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise  # it is there, and leads nowhere
        return None
