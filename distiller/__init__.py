"""Who learns: datasets, trainer service and workers, students, student server, exams."""

from __future__ import annotations
