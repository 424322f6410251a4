"""The command `limbeck`: finds the command's module, parses, runs, and turns errors to exit codes.

At the top only the standard library: the start-up check comes before any package of ours, and a
command imports only what its process needs. A command's module has ``arguments(parser)`` and
``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from control.startup import PACKAGES, hidden_packages

OK, FAILURE, BAD_INPUT, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class Command(NamedTuple):
    """One command: where it is, and one line about it."""

    module: str
    summary: str


_ORDER = "control.commands.order"
COMMANDS: Mapping[str, Command] = {
    "init": Command("control.commands.init", "write a commented limbeck.toml to start from"),
    "up": Command("control.commands.up", "start everything that the configuration needs"),
    "demo": Command("control.demo.command", "watch the whole loop, without a key or a network"),
    "status": Command("control.commands.status", "what runs, who serves, and why"),
    "traces": Command("control.commands.traces", "the latest requests"),
    "report": Command("control.commands.report", "the evidence for and against a student"),
    "approve": Command("control.commands.approve", "let a student that passed its gate serve"),
    "distill": Command("control.commands.distill", "train a student now"),
    "rollback": Command("control.commands.rollback", "all traffic of a route to the teacher, now"),
    "kill": Command("control.commands.rollback", "as rollback, and no shadow evaluation either"),
    "pause": Command(_ORDER, "no step up until resume"),
    "resume": Command(_ORDER, "end a pause or another hold"),
    "retry": Command(_ORDER, "give a rolled-back student another try, with fresh evidence"),
    "extend": Command(_ORDER, "collect more evidence for an inconclusive student"),
    "reject": Command(_ORDER, "give an inconclusive student up"),
    "unkill": Command(_ORDER, "end a kill; the student stays at weight 0 until resume"),
    "config": Command("control.commands.config", "check or show the configuration"),
}
#: what `limbeck up` starts; each is a command of its own for containers
PROCESSES: Mapping[str, Command] = {
    "gateway": Command("control.commands.gateway", "one gateway worker"),
    "control": Command("control.commands.control", "the control process"),
    "program-host": Command("control.commands.program_host", "one side of a route's program"),
    "student-server": Command("control.commands.student_server", "serves trained students"),
    "trainer": Command("control.commands.trainer", "the fine-tuning service"),
    "metric-runner": Command("control.commands.metric_runner", "a route's metric (by control)"),
    "rows": Command("control.commands.rows", "training rows of a program (by control)"),
    "stand-in": Command("control.demo.stand_in_command", "the demo's provider (by the demo)"),
    "training-worker": Command("control.commands.training_worker", "one job (by the trainer)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        try:
            return _command(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has enough. What is left must not fail at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return OK
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"limbeck {version('limbeck')}")
        return OK
    name, *rest = words
    command = COMMANDS.get(name) or PROCESSES.get(name)
    if command is None:
        return _complain(_unknown(name), BAD_INPUT)
    hidden = hidden_packages()
    if hidden:
        return _complain("\n".join(hidden), FAILURE)
    return _run(name, command, rest)


def _run(name: str, command: Command, words: list[str]) -> int:
    if name in PROCESSES:
        _become_process()
    module = importlib.import_module(command.module)
    parser = argparse.ArgumentParser(prog=f"limbeck {name}", description=module.__doc__)
    module.arguments(parser)
    parser.set_defaults(command=name)
    args = parser.parse_args(words)
    try:
        code: int = module.run(args)
    except (KeyboardInterrupt, EOFError):  # Ctrl-C; Ctrl-D at a question
        return INTERRUPTED
    except OSError as error:
        if error.filename is None:
            raise  # no file or folder that somebody named, and so nothing to tell them
        return _complain(f"{os.fsdecode(error.filename)}: {error.strerror}", FAILURE)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in PACKAGES:
            raise
        # Our own errors are written for the reader; anything else is a bug and shows where.
        return _complain(str(error), getattr(error, "exit_code", FAILURE))
    return code


def _become_process() -> None:
    import logging

    from control.supervisor.parent import follow_parent

    follow_parent()
    logging.basicConfig(
        level=logging.INFO,
        # stdout belongs to the protocol of some processes.
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def _complain(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"limbeck: {line}", file=sys.stderr)
    return code


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, [*COMMANDS, *PROCESSES], n=1)
    hint = f'did you mean "{near[0]}"?' if near else "`limbeck --help` lists the commands"
    return f'unknown command "{name}"; {hint}'


def _overview() -> str:
    lines = ["usage: limbeck COMMAND [...]", "", "An expensive model teaches a cheap one.", ""]
    for title, commands in (("commands", COMMANDS), ("single processes", PROCESSES)):
        lines += [f"{title}:", *(f"  {n:<16} {c.summary}" for n, c in commands.items()), ""]
    lines.append("`limbeck COMMAND --help` shows a command's options.")
    return "\n".join(lines)
