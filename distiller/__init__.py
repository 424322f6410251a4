"""Who learns: datasets, the trainer service and its workers, students, the student server, exams."""

from __future__ import annotations
