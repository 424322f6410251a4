from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from distiller.fine_tuning import FineTuning
from tests.distiller.distil_world import World, fill
from tests.fakes.fine_tuning import FakeTrainer, fake_trainer


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "limbeck.duckdb"
    fill(path)
    return path


@pytest.fixture
def trainer() -> Iterator[FakeTrainer]:
    with fake_trainer() as fake:
        yield fake


@pytest.fixture
async def world(tmp_path: Path, filled: Path, trainer: FakeTrainer) -> AsyncIterator[World]:
    service = FineTuning.local(trainer.url, "key")
    shutil.copy(filled, tmp_path / "limbeck.duckdb")
    yield World(tmp_path, trainer, service)
    await service.close()
