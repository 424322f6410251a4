"""The story's waits, against a stand-in for control's admin API."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from control.demo.narrator import Narrator
from control.demo.observer import Observer
from control.demo.processes import Cast
from control.demo.scene import ROUTE, Scene
from control.demo.story import Story
from control.demo.traffic import Traffic
from control.demo.world import TicketWorld
from control.layout import Layout
from control.status import Ordered
from router.stages import Stage
from tests.control.answers import a_report, a_route, a_status, a_student
from tests.fakes.admin import Answer, FakeAdmin, fake_admin
from tests.router.build import summary


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(
        folder=str(tmp_path), port=1, admin_port=2, provider_port=3, data=None, seed=7, requests=20,
        rate=400.0, after_rows=900, trainer="auto", sample_rate=0.5, served=(3, 10, 40, 80),
        dwell_s=2.0, live=600, latency_s=0.45,
    )  # fmt: skip


@pytest.fixture
def admin(scene: Scene) -> Iterator[FakeAdmin]:
    layout = Layout(data=scene.path / "data")
    layout.data.mkdir()
    with fake_admin(layout) as fake:
        report = Answer(a_report(), headers=(("x-limbeck-report", "f" * 64),))
        fake.answers[f"GET /routes/{ROUTE}/report"] = report
        yield fake


class Told:
    """A story, and what it said."""

    def __init__(self, scene: Scene) -> None:
        self.said = io.StringIO()
        world = TicketWorld(seed=1)
        self.traffic = Traffic(
            base_url="http://127.0.0.1:9/v1", api_key="x", route=ROUTE, world=world,
            total=scene.requests, rate=scene.rate,
        )  # fmt: skip
        tell = Narrator(Console(file=self.said, width=200))
        self.story = Story(scene, world, self.traffic, Observer(scene, Cast(scene)), tell)


def standing(stage: Stage, gate: str, pair: int = 400) -> Answer:
    """The status of a route whose newest student stands there, with that verdict of its gate."""
    evidence = summary(gate=gate)
    evidence = msgspec.structs.replace(evidence, seq=pair)
    student = msgspec.structs.replace(a_student(), stage=stage, evidence=evidence)
    return Answer(a_status(a_route(route=ROUTE, students=(student,))))


def then(*answers: Answer) -> Iterator[Answer]:
    """One answer after the other; the last one stays."""
    return itertools.chain(answers, itertools.repeat(answers[-1]))


async def test_evidence_that_does_not_hold_at_the_moment_is_waited_for(
    scene: Scene, admin: FakeAdmin
) -> None:
    told = Told(scene)
    falls, holds = standing(Stage.READY, "collect"), standing(Stage.READY, "promote")
    admin.answers["GET /status"] = then(falls, falls, holds)
    refused = Answer({"error": {"message": "E 17.2 (needs 32.9)"}}, status=409)
    done = Ordered(
        route=ROUTE, order="approve", student="s1-00ff", changed=True, stage=Stage.R1, weight=0.01,
        reason="",
    )  # fmt: skip
    admin.answers[f"POST /routes/{ROUTE}:approve"] = then(refused, Answer(done))
    assert await told.story._approve()
    asked = [asked.path.rpartition("/")[2] for asked in admin.asked]
    once = ["status", "report", f"{ROUTE}:approve"]
    assert asked == ["status", "status", *once, *once], "nothing is approved that does not hold"
    assert told.story.proof is not None
    assert "not approved yet: E 17.2" in told.said.getvalue()
    assert "approved automatically" in told.said.getvalue()


async def test_without_requests_no_evidence_is_waited_for(scene: Scene, admin: FakeAdmin) -> None:
    told = Told(scene)
    await told.traffic.run()  # nobody answers: all of them fail
    assert told.traffic.left == 0
    admin.answers["GET /status"] = standing(Stage.READY, "collect")
    assert not await told.story._approve()
    assert told.story.ending == "ready"
    assert told.story.reason == "the requests are used up; the gate says collect"


async def test_a_refusal_without_requests_ends_the_story(scene: Scene, admin: FakeAdmin) -> None:
    told = Told(scene)
    await told.traffic.run()
    admin.answers["GET /status"] = standing(Stage.READY, "promote")
    refused = Answer({"error": {"message": "the metric has changed"}}, status=409)
    admin.answers[f"POST /routes/{ROUTE}:approve"] = refused
    assert not await told.story._approve()
    assert told.story.ending == "ready" and "the metric has changed" in told.story.reason


@pytest.mark.parametrize("stage", [Stage.ROLLED_BACK, Stage.SHADOW])
async def test_a_student_that_waits_no_more_is_not_approved(
    scene: Scene, admin: FakeAdmin, stage: Stage
) -> None:
    told = Told(scene)
    admin.answers["GET /status"] = then(
        standing(Stage.READY, "collect"), standing(stage, "promote")
    )
    assert not await told.story._approve()
    assert (told.story.ending, told.story.reason) == (stage.value.lower(), a_student().why)
    assert {asked.method for asked in admin.asked} == {"GET"}


async def test_the_last_requests_are_scored_before_the_story_ends(
    scene: Scene, admin: FakeAdmin
) -> None:
    told = Told(scene)
    await told.traffic.run()
    # Each pair comes before the quiet of the one before it is over, for longer than one quiet time.
    live = [standing(Stage.LIVE, "promote", pair) for pair in range(400, 418)]
    admin.answers["GET /status"] = then(*live, standing(Stage.ROLLED_BACK, "promote", 418))
    student = await told.story._alarm()
    assert student.stage is Stage.ROLLED_BACK
