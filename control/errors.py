"""What control's own code raises.

ControlError
├── ConfigErrors       (control.config.problems)  every problem of limbeck.toml at once
├── FileProblem        a file of the data folder is missing, damaged or can't be written
├── BadInput           an argument or a request that can't be right
│   └── UnknownRoute   the named route does not exist
├── StartRefused       a precondition of a start does not hold (port, user folder)
├── Refused            control refused a request because a precondition does not hold
│   └── Held           (control.lock)  another process has this data folder
└── ControlUnreachable the admin API does not answer

Each has the exit code that the command line ends with.
"""

from __future__ import annotations


class ControlError(Exception):
    """Base of all errors of this package. The message says what, where, and what to do."""

    exit_code = 1


class FileProblem(ControlError):
    """A file of the data folder is missing, damaged or can't be written."""


class BadInput(ControlError):
    """An argument or a request that can't be right."""

    exit_code = 2


class UnknownRoute(BadInput):
    """The named route does not exist."""


class StartRefused(ControlError):
    """A precondition of a start does not hold."""


class Refused(ControlError):
    """Control understood, and refused: a precondition does not hold."""

    exit_code = 4


class ControlUnreachable(ControlError):
    """The admin API does not answer."""

    exit_code = 3
