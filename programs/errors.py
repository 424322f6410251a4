"""What can go wrong with a user's program or metric.

ProgramError
├── UserFolderError      a user's folder would collide with limbeck's own packages
├── LoadError            a program, a metric or a student cannot be loaded
├── ChildError           a child process of this package failed or ran out of time
└── HostError            a request that the program host answers with an error status
    ├── BadInputs        400
    ├── Unauthorized     401
    ├── UnknownModel     404
    ├── StaleStudent     412
    ├── Busy             429
    ├── ProgramFailed    500
    ├── UnusableAnswer   502
    ├── ModelUnavailable 503
    └── DeadlinePassed   504
"""

from __future__ import annotations

from typing import ClassVar


class ProgramError(Exception):
    """Base of all errors of this package."""


class UserFolderError(ProgramError):
    """One or more collisions, one line each."""


class LoadError(ProgramError):
    """The message names the object, what is wrong and what to do."""


class ChildError(ProgramError):
    """A child process ended too early, answered nonsense, or passed its deadline."""


class HostError(ProgramError):
    """An answer that is no answer; always sent before the first byte."""

    status: ClassVar[int] = 500
    #: value of the header ``x-limbeck-error``
    kind: ClassVar[str] = "error"
    #: the run goes on, and may still call a tool
    tools_may_run: bool = False


class BadInputs(HostError):
    """The request does not fit the program's inputs."""

    status = 400
    kind = "bad_inputs"


class Unauthorized(HostError):
    """The internal key is missing or wrong."""

    status = 401


class UnknownModel(HostError):
    """No such program or student here."""

    status = 404
    kind = "unknown_model"


class StaleStudent(HostError):
    """The program has changed since the student was trained; the student is not at fault."""

    status = 412
    kind = "stale"


class Busy(HostError):
    """The host, or the model behind it, takes no more requests now."""

    status = 429
    kind = "busy"


class ProgramFailed(HostError):
    """The program raised, or a student's files are damaged."""


class UnusableAnswer(HostError):
    """The model answered, and nothing can be made of it: parse, schema, empty, unseen value."""

    status = 502
    kind = "unusable"


class ModelUnavailable(HostError):
    """A model of the program is not there, is out of order, or refuses our key."""

    status = 503
    kind = "unavailable"


class DeadlinePassed(HostError):
    """The caller's deadline came first."""

    status = 504

    def __init__(self, message: str, *, tools_may_run: bool) -> None:
        super().__init__(message)
        self.tools_may_run = tools_may_run
