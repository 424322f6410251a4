"""The evidence after every consumed pair, computed again from the pairs: what the plots show."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from control.evidence_feed import add
from control.report.model import RECENT, Point
from control.report.thinning import thinned
from control.stored_pair import StoredPair
from router.evidence import Evidence

#: more points than a plot can show are no use in the JSON form either
_MOST = 1_000


def history(evidence: Evidence, pairs: Sequence[StoredPair]) -> list[Point]:
    """Feed the pairs to ``evidence``, and say where it stood on the way."""
    points: list[Point] = []
    teacher: deque[float] = deque(maxlen=RECENT)
    student: deque[float] = deque(maxlen=RECENT)
    for pair in pairs:
        add(evidence, pair)
        if pair.outcome != "scored" or pair.teacher_score is None or pair.student_score is None:
            continue
        teacher.append(pair.teacher_score)
        student.append(pair.student_score)
        reading = evidence.reading
        if reading.teacher is None or reading.student is None:
            continue
        points.append(
            Point(
                seq=pair.seq or 0,
                ts=pair.ts,
                log_e=reading.log_e,
                log_futility=reading.log_futility,
                log_guard=reading.log_guard,
                teacher=reading.teacher,
                student=reading.student,
                recent_teacher=sum(teacher) / len(teacher),
                recent_student=sum(student) / len(student),
            )
        )
    return list(thinned(points, _MOST))
