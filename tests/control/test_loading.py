from __future__ import annotations

import asyncio
from pathlib import Path

from control.loading import loading_problems
from tests.control.configs import PLAIN, PROGRAM, config_of


def test_code_that_hangs_while_it_loads_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    for name in ("support", "metrics"):
        (tmp_path / "app" / f"{name}.py").write_text("import threading\nthreading.Event().wait()\n")
    (tmp_path / "limbeck.toml").write_text(PLAIN + PROGRAM)
    config = config_of(PLAIN + PROGRAM, folder=tmp_path)
    program, metric = asyncio.run(loading_problems(config, deadline_s=0.5))
    assert str(program) == (
        'limbeck.toml: routes.support.program: program "app.support:build" did not load within '
        "0.5 s: look for work at import time"
    )
    assert (metric.key, "did not load within 0.5 s" in metric.message) == (
        "routes.support.metric",
        True,
    )
