"""The story: taught, examined, proved, promoted, and taken back when the world changes.

Each part drives the traffic and waits for what limbeck itself decides; nothing here decides.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Sequence

import httpx

from control.demo.narrator import Narrator
from control.demo.observer import Observer, newest
from control.demo.result import student_side, teacher_side
from control.demo.scene import ROUTE, Scene
from control.demo.traffic import Traffic
from control.demo.world import World
from control.errors import ControlError, Refused
from control.report import words
from control.report.model import Point
from control.status import RollbackStatus, RouteStatus, StudentStatus
from router.stages import Stage
from router.verdicts import EvidenceSummary

#: while models train on the same two cores, callers come more slowly
_RATE_WHILE_TRAINING = 8.0
#: callers go on for a moment after the rollback, so that the table can show it
_AFTER_S = 3.0
#: between two tries to approve
_AGAIN_S = 1.0
#: without a new pair for so long, and for two answers of the stand-in (the request and its replay),
#: all that was asked is taken as scored
_QUIET_S = 2.0
_TEACH_S, _TRAIN_S, _PROVE_S, _RAMP_S, _DRIFT_S = 600.0, 1_500.0, 900.0, 600.0, 300.0
_OVER = frozenset({Stage.REJECTED, Stage.INCONCLUSIVE, Stage.ROLLED_BACK, Stage.KILLED})
_DECIDED = _OVER | {Stage.READY}


class Story:
    """Plays the demo's parts in order and keeps what they found."""

    def __init__(
        self, scene: Scene, world: World, traffic: Traffic, observer: Observer, tell: Narrator
    ) -> None:
        self._scene = scene
        self._world = world
        self._traffic = traffic
        self._see = observer
        self._tell = tell
        self.student: StudentStatus | None = None
        self.proof: EvidenceSummary | None = None
        self.ending, self.reason = "unfinished", ""
        self.detection: tuple[int, float] | None = None
        self.rollback: RollbackStatus | None = None
        self.command_s: float | None = None
        #: the student's weight before it was taken back
        self._weight = 0.0
        #: the newest pair, and since when (`time.monotonic`); None: it is looked for afresh
        self._pair: tuple[str, int] | None = None
        self._paired = 0.0

    async def play(self) -> None:
        """All parts, with the traffic running beside them."""
        running = asyncio.create_task(self._traffic.run())
        try:
            proved = await self._teach() and await self._prove()
            if proved and await self._ramp() and await self._enjoy():
                await self._drift()
        finally:
            self._traffic.stop()
            await running

    async def _teach(self) -> bool:
        tell, rows = self._tell, self._scene.after_rows
        tell.heading("1. The teacher answers, limbeck records")
        self._traffic.phase("teacher alone")
        tell.say("callers ask with the plain openai SDK; the truth follows half a second later")

        def training(route: RouteStatus) -> RouteStatus | None:
            tell.bar("usable rows", route.usable_rows / rows, f"{route.usable_rows} of {rows}")
            return route if route.distillation is not None else self._out_of_requests(route)

        route = await self._see.until(training, seconds=_TEACH_S, what="enough traces to train on")
        tell.done("usable rows")
        tell.say(
            f"{route.traces:,} requests recorded, {route.labelled:,} with their truth; "
            f"the teacher scores {route.mean_score or 0.0:.3f}"
        )
        if route.distillation is None:
            return self._end(
                "no student", "the requests were used up before there were enough rows"
            )
        return await self._distil()

    async def _distil(self) -> bool:
        tell = self._tell
        tell.heading("2. A student is distilled from the traces")
        self._traffic.phase("while training")
        self._traffic.rate = min(self._scene.rate, _RATE_WHILE_TRAINING)
        told = 0

        def finished(route: RouteStatus) -> RouteStatus | None:
            nonlocal told
            for happening in route.happenings[told:]:
                tell.say(happening.message)
            told = len(route.happenings)
            found = route.distillation
            for job in found.jobs if found else ():
                if job.status == "running" and job.progress is not None:
                    tell.bar(f"training {job.trainer}", job.progress, f"{job.progress:.0%}")
                else:
                    tell.done(f"training {job.trainer}")
            return route if found and found.stage == "ended" else None

        route = await self._see.until(finished, seconds=_TRAIN_S, what="the end of the training")
        found = route.distillation
        if found is None or found.chosen is None:
            return self._end("no student", (found.reason if found else None) or "no candidate")
        return True

    async def _prove(self) -> bool:
        tell = self._tell
        tell.heading("3. Shadow evaluation: is it good enough? Nobody sees its answers yet")
        self._traffic.phase("shadow")
        self._traffic.rate = self._scene.rate

        def decided(route: RouteStatus) -> RouteStatus | None:
            student = newest(route)
            if student is None:
                return None
            self.student = student
            if student.evidence is not None:
                self._show(student.evidence)
            return route if student.stage in _DECIDED else self._out_of_requests(route)

        await self._see.until(decided, seconds=_PROVE_S, what="a verdict of the gate")
        tell.done("evidence")
        student = self.student
        if student is None or student.evidence is None:
            return self._end("no verdict", "the requests were used up before the first pair")
        self.proof = student.evidence
        self._tell_scores(student.evidence)
        if student.stage is not Stage.READY:
            return self._end_at(student, student.why)
        return await self._approve()

    async def _approve(self) -> bool:
        """Approve a report. Evidence goes on growing, and counts only while it holds."""
        deadline = time.monotonic() + _PROVE_S

        def look(route: RouteStatus) -> tuple[StudentStatus, bool] | None:
            student = newest(route)
            if student is None:
                return None
            last = self._out_of_requests(route) is not None or time.monotonic() > deadline
            found = last or student.stage is not Stage.READY or _promotion(student)
            return (student, last) if found else None

        while True:
            student, last = await self._see.until(
                look, seconds=_PROVE_S + _TEACH_S, what="evidence that holds"
            )
            self.student, self.proof = student, student.evidence or self.proof
            promotion = _promotion(student)
            if promotion is None:
                waits = student.evidence if student.stage is Stage.READY else None
                return self._end_at(student, waits.gate.reason if waits else student.why)
            self._tell.say(f"the gate says: {promotion}", style="green")
            refusal = await self._refusal()
            if refusal is None:
                return True
            if last:
                return self._end_at(student, refusal)
            await asyncio.sleep(_AGAIN_S)

    async def _refusal(self) -> str | None:
        """Ask for the report and approve it; why that was refused, if it was."""
        tell = self._tell
        name, body = await self._see.report()
        tell.say(f"a promotion report is made: {name[:12]}; in production a person reads it")
        try:
            await self._see.approve(name)
        except Refused as refusal:
            tell.say(f"not approved yet: {refusal}", style="yellow")
            return str(refusal)
        tell.say(f"approved automatically (this is a demonstration): {body.student}")
        return None

    async def _ramp(self) -> bool:
        self._tell.heading("4. Traffic moves, step by step")
        self._traffic.phase("ramp")

        def arrived(route: RouteStatus) -> StudentStatus | None:
            student = self._follow(route)
            if student is None:
                return None
            there = student.stage is Stage.LIVE or student.stage in _OVER
            return student if there or self._out_of_requests(route) else None

        student = await self._see.until(arrived, seconds=_RAMP_S, what="LIVE")
        if student.stage is not Stage.LIVE:
            return self._end_at(student, student.why)
        self.ending, self.reason = "live", student.why
        return True

    async def _enjoy(self) -> bool:
        tell = self._tell
        tell.heading("5. LIVE: the student answers all but the 2 % holdout")
        window = self._traffic.phase("LIVE")

        def enough(route: RouteStatus) -> StudentStatus | None:
            student = self._follow(route)
            done = window.sent >= self._scene.live or (student and student.stage in _OVER)
            return student if done or self._out_of_requests(route) else None

        student = await self._see.until(enough, seconds=_RAMP_S, what="enough LIVE traffic")
        self.proof = student.evidence or self.proof
        before, now = self._traffic.windows["teacher alone"].quantile(0.5), window.quantile(0.5)
        tell.say(f"median latency {words.duration(before)} before, {words.duration(now)} now")
        if student.stage in _OVER:
            return self._end_at(student, student.why)
        return True

    async def _drift(self) -> None:
        tell = self._tell
        if self._traffic.left < 50:
            tell.say("the requests are used up: the world keeps still")
            return
        tell.heading("6. The world changes: the labelling policy moves, the student does not know")
        await self._rest()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self._scene.provider_url}/world", json={"policy": 2})
            answer.raise_for_status()
        self._traffic.policy = 2
        self._traffic.resting = False
        self._traffic.phase("world changed")
        changed = time.time()
        tell.say("some queues are merged; the teacher follows the new policy from now on")

        student = await self._alarm()
        if student.stage is not Stage.ROLLED_BACK:
            over = student.stage in _OVER
            self._end_at(student, student.why if over else "the guard has not seen enough")
            return
        await self._tell_rollback(student, changed)

    async def _alarm(self) -> StudentStatus:
        """Wait until the guard has taken the student back, or nothing is left to learn from."""
        tell = self._tell

        def back(route: RouteStatus) -> StudentStatus | None:
            student = self._follow(route)
            if student is None:
                return None
            for guard in student.evidence.guards if student.evidence else ():
                if guard.guard == "bar" and guard.log_m is not None:
                    level = math.log(guard.arl)
                    tell.bar(
                        "guard", guard.log_m / level, f"log M {guard.log_m:.1f} of {level:.1f}"
                    )
            return student if student.stage in _OVER or self._out_of_requests(route) else None

        student = await self._see.until(back, seconds=_DRIFT_S, what="the guard's alarm")
        tell.done("guard")
        return student

    async def _rest(self) -> None:
        """Let the callers rest until no new pair comes.

        A replay of a request from before the change would be answered by the policy of after it.
        """
        self._traffic.resting = True
        self._tell.say("the callers rest for a moment, until all that they asked is scored")
        self._pair = None

        def still(route: RouteStatus) -> bool | None:
            self._follow(route)
            return self._is_quiet(route) or None

        await self._see.until(still, seconds=_DRIFT_S, what="the score of the last request")

    async def _tell_rollback(self, student: StudentStatus, changed: float) -> None:
        tell = self._tell
        self.ending, self.reason = "rolled_back", student.why
        tell.say(f"alarm: {student.why}", style="red")
        _, body = await self._see.report()
        pairs = pairs_between(body.history, changed, student.entered)
        self.detection = (pairs, student.entered - changed)
        tell.say(f"found after {words.plural(pairs, 'pair')} and {self.detection[1]:.1f} s")
        if self._weight > 0:
            route = await self._see.until(
                lambda r: r if r.last_rollback and r.last_rollback.seconds is not None else None,
                seconds=20, what="the workers' acknowledgements",
            )  # fmt: skip
            self.rollback = route.last_rollback
            seconds = self.rollback.seconds if self.rollback else None
            tell.say(
                f"all traffic is back on the teacher {words.duration(seconds)} after the alarm"
            )
        self._traffic.phase("rolled back")
        code, output, _ = await self._see.command(
            "rollback", ROUTE, "--reason", "a drill", "--json"
        )
        if code != 0:
            raise ControlError(f"`limbeck rollback {ROUTE}` ended with {code}: {output}")
        found = re.search(r'"seconds":\s*([0-9.e-]+)', output)
        self.command_s = float(found.group(1)) if found else None
        tell.say("a drill: `limbeck rollback` as a person would run it; nothing more to take back")
        await asyncio.sleep(_AFTER_S)

    def _follow(self, route: RouteStatus) -> StudentStatus | None:
        """The newest student; each change of its stage is told."""
        student = newest(route)
        if student is None:
            return None
        before, self.student = self.student, student
        if before is None or (before.stage, before.weight) != (student.stage, student.weight):
            why = f" ({student.why})" if student.stage is Stage.HELD else ""
            self._tell.say(f"{student.student}: {student.stage}, weight {student.weight:g}{why}")
            if student.stage not in _OVER:
                self._weight = student.weight
        return student

    def _out_of_requests(self, route: RouteStatus) -> RouteStatus | None:
        """Nothing more is asked, and all that was asked is taken as scored."""
        if self._traffic.left > 0:
            self._pair = None
            return None
        return route if self._is_quiet(route) else None

    def _is_quiet(self, route: RouteStatus) -> bool:
        """No new pair has come for a while. To be asked at each look: it keeps the time."""
        student = newest(route)
        seq = student.evidence.seq if student and student.evidence else 0
        pair = (student.student if student else "", seq)
        if pair != self._pair:
            self._pair, self._paired = pair, time.monotonic()
        return time.monotonic() - self._paired >= _QUIET_S + 2 * self._scene.latency_s

    def _show(self, evidence: EvidenceSummary) -> None:
        goal = math.log(evidence.threshold)
        note = f"log E {evidence.log_e:.2f} of {goal:.2f}, {evidence.n} pairs"
        self._tell.bar("evidence", max(0.0, evidence.log_e) / goal, note)

    def _tell_scores(self, evidence: EvidenceSummary) -> None:
        self._tell.say(
            f"over {words.plural(evidence.n, 'pair')}, in request order: "
            f"teacher {teacher_side(evidence)}, student {student_side(evidence)}"
        )

    def _end_at(self, student: StudentStatus, why: str) -> bool:
        """The story goes no further than the student."""
        if self._traffic.left <= 0 and student.stage not in _OVER:
            why = f"the requests are used up; {why}"
        return self._end(student.stage.value.lower(), why)

    def _end(self, ending: str, reason: str) -> bool:
        self.ending, self.reason = ending, reason
        self._tell.say(f"the story ends here: {ending}: {reason}", style="yellow")
        return False


def _promotion(student: StudentStatus) -> str | None:
    """Why the gate promotes a student that waits for its approval; None: not now."""
    gate = student.evidence.gate if student.evidence else None
    waits = student.stage is Stage.READY and gate is not None and gate.verdict == "promote"
    return gate.reason if gate is not None and waits else None


def pairs_between(history: Sequence[Point], after: float, through: float) -> int:
    """How many pairs were consumed of a span of time (Unix seconds).

    By their places: of a long history the report keeps every n-th point only.
    """
    places = [max((p.seq for p in history if p.ts <= end), default=0) for end in (after, through)]
    return places[1] - places[0]
