from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from gateway.overrides import OverrideFolder
from router.snapshot import Override


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_override_is_read_as_soon_as_it_may_be(tmp_path: Path) -> None:
    file = tmp_path / "triage.json"
    rollback = Override(id="o", action="rollback", route="triage", actor="", reason="", time=0.0)
    file.write_bytes(msgspec.json.encode(rollback))
    file.chmod(0)
    folder = OverrideFolder(tmp_path)
    assert list(folder.read()) == ["triage"]
    assert folder.ids() == ()
    file.chmod(0o600)
    assert folder.read() == {"triage": rollback}
    assert folder.ids() == ("o",)
