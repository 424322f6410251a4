"""Metrics of a user: good ones, and every way to be bad."""

from __future__ import annotations

import math
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

from helper import same


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return same(example.category, prediction["category"])


def strict(example: Any, prediction: Any, trace: Any) -> float:
    assert trace is None
    return 0.25


def five(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> float:
    assert trace is pred_name is pred_trace is None
    return 0.5


def two(example: Any, prediction: Any) -> int:
    return 1


def with_feedback(example: Any, prediction: Any, trace: Any = None) -> Any:
    return SimpleNamespace(score=0.0, feedback="wrong")


def raises(example: Any, prediction: Any, trace: Any = None) -> float:
    raise ZeroDivisionError("over nothing")


def hangs(example: Any, prediction: Any, trace: Any = None) -> float:
    if prediction["category"] == "hang":
        time.sleep(600)
    return 1.0


def exits(example: Any, prediction: Any, trace: Any = None) -> float:
    sys.exit(3)


def dies(example: Any, prediction: Any, trace: Any = None) -> float:
    if prediction["category"] == "die":
        os._exit(7)
    return 1.0


def hungry(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(len(bytearray(4 << 30)) > 0)


def prints(example: Any, prediction: Any, trace: Any = None) -> float:
    print('{"value": 0.0}')
    sys.stdout.flush()
    os.write(1, b'{"value": 0.0}\n')
    return 1.0 if sys.stdin.read() == "" else 0.0


def nan(example: Any, prediction: Any, trace: Any = None) -> float:
    return math.nan


def nothing(example: Any, prediction: Any, trace: Any = None) -> None:
    return None


def percent(example: Any, prediction: Any, trace: Any = None) -> float:
    return 85.0


def text(example: Any, prediction: Any, trace: Any = None) -> str:
    return "good"


def one(example: Any) -> bool:
    return True


def keyword(example: Any, prediction: Any, *, strictness: float) -> bool:
    return True


class Judge:
    """A class, and no function: to call it makes a judge, and no score."""

    def __init__(self, example: Any, prediction: Any) -> None:
        pass


not_callable = 0.5
