"""Request to inputs. Pure; the first rule that matches wins, and nothing is guessed.

1. ``inputs`` in the body. 2. The last user message is a JSON object whose keys are all inputs.
3. Exactly one required free input gets the last user message's text; earlier turns go to the
history input. 4. Otherwise `BadInputs`, which names the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from programs.description import InputField
from programs.errors import BadInputs, LoadError
from programs.json_values import json_object

Fields = Mapping[str, InputField]


def inputs_of(
    body: Mapping[str, Any],
    fields: Fields,
    *,
    system: str = "reject",
    answer_field: str = "answer",
) -> dict[str, Any]:
    """Return the inputs of the program for one chat request, as JSON values.

    ``system`` says what to do with system messages: ``reject``, ``ignore`` or ``field:NAME``.
    ``answer_field`` is the name that earlier answers get in the history input. Raises `BadInputs`.
    """
    _refuse_unsupported(body)
    given = body.get("inputs")
    if given is not None:
        if not isinstance(given, dict):
            raise BadInputs('"inputs" must be a JSON object of the program\'s inputs')
        return _checked(given, fields)
    system_texts, turns = _conversation(body.get("messages"))
    into = _system_field(system)
    if system_texts and system == "reject":
        raise BadInputs(
            "this program has its own instructions: leave the system message out, or let the "
            'route say system = "ignore"'
        )
    inputs, key = _from_text(turns[-1][1], fields, reserved=into)
    if into is not None and system_texts:
        inputs.setdefault(into, "\n".join(system_texts))
    if len(turns) > 1:
        name = _history_name(fields)
        inputs[name] = {"messages": _history(turns[:-1], key, answer_field)}
    return _checked(inputs, fields)


def check_system(system: str, fields: Fields) -> None:
    """Raise `LoadError` where ``system`` names an input that the program does not have."""
    into = _system_field(system)
    if into is not None and into not in fields:
        raise LoadError(
            f'system = "{system}": the program has no input `{into}`; it has {_names(fields)}'
        )


def _system_field(system: str) -> str | None:
    return system.removeprefix("field:") if system.startswith("field:") else None


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    for name in ("tools", "functions"):
        if body.get(name):
            raise BadInputs(f'"{name}" is not for programs: the program brings its own tools')
    if body.get("n") not in (None, 1):
        raise BadInputs('"n" must be 1: a program gives one answer')


def _conversation(messages: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """System texts, and the turns as (role, text); the last turn is the user's."""
    if not isinstance(messages, list) or not messages:
        raise BadInputs('"messages" must be a list with at least one message')
    system: list[str] = []
    turns: list[tuple[str, str]] = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadInputs(f"messages[{place}] must be an object")
        role = message.get("role")
        text = _text(message.get("content"), place)
        if role in ("system", "developer"):
            system.append(text)
        elif role in ("user", "assistant"):
            turns.append((role, text))
        else:
            raise BadInputs(f"messages[{place}]: role {role!r} is not for programs")
    if not turns or turns[-1][0] != "user":
        raise BadInputs("the last message must be a user message")
    return system, turns


def _text(content: Any, place: int) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadInputs(f"messages[{place}]: content must be text")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise BadInputs(f"messages[{place}]: programs take text only")
        texts.append(str(part.get("text", "")))
    return "".join(texts)


def _from_text(text: str, fields: Fields, *, reserved: str | None) -> tuple[dict[str, Any], str]:
    """Rules 2 and 3: the inputs, and the name under which earlier user turns are known."""
    free = [name for name, field in fields.items() if not field.history and name != reserved]
    required = [name for name in free if fields[name].required]
    candidates = required or free
    decoded = json_object(text)
    if decoded and set(decoded) <= set(fields):
        return decoded, candidates[0] if candidates else "text"
    if len(candidates) == 1:
        return {candidates[0]: text}, candidates[0]
    raise BadInputs(
        f"this program has the inputs {_names(free)}: send a JSON object of them as the last user "
        f"message, or as `inputs` in the body"
    )


def _history_name(fields: Fields) -> str:
    for name, field in fields.items():
        if field.history:
            return name
    raise BadInputs(
        "this program takes one user message: it has no dspy.History input for earlier turns"
    )


def _history(turns: Sequence[tuple[str, str]], key: str, answer: str) -> list[dict[str, str]]:
    roles = [role for role, _ in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise BadInputs("earlier turns must alternate: user, assistant, user, assistant, ...")
    texts = [text for _, text in turns]
    return [
        {key: question, answer: reply}
        for question, reply in zip(texts[::2], texts[1::2], strict=True)
    ]


def _checked(inputs: dict[str, Any], fields: Fields) -> dict[str, Any]:
    unknown = [name for name in inputs if name not in fields]
    missing = [name for name, field in fields.items() if field.required and name not in inputs]
    problems = []
    if unknown:
        problems.append(f"unknown inputs {_names(unknown)}")
    if missing:
        problems.append(f"missing inputs {_names(missing)}")
    if problems:
        raise BadInputs(f"{', '.join(problems)}; this program has the inputs {_names(fields)}")
    return inputs


def _names(names: Sequence[str] | Fields) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
