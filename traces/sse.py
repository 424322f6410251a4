"""A recorded stream put together: server-sent events in, one chat completion out. Pure.

What arrived is kept, whole or not: an event that was cut off, a missing ``[DONE]`` and an error in
the middle of the stream are all normal here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

_DONE = b"[DONE]"


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, frozen=True):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, frozen=True):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _ChunkChoice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    # Of any type: an odd id must not cost the content.
    id: Any = None
    created: Any = None
    model: Any = None
    choices: list[_ChunkChoice] | None = None
    usage: Any = None
    error: Any = None


class _Call(msgspec.Struct, frozen=True):
    id: str | None
    type: str
    function: _Function


class _Message(msgspec.Struct, omit_defaults=True, frozen=True):
    role: str
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] = []


class _Choice(msgspec.Struct, frozen=True):
    index: int
    message: _Message
    finish_reason: str | None


class Assembled(msgspec.Struct):
    """A chat completion, as it would have come without streaming; ``error`` if one interrupted."""

    object: str = "chat.completion"
    id: Any = None
    created: Any = None
    model: Any = None
    choices: list[_Choice] = []
    usage: Any = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode


def events(raw: bytes) -> Iterator[bytes]:
    """Yield the data of each server-sent event; one that was cut off at the end comes too."""
    data: list[bytes] = []
    for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if not line:
            if data:
                yield b"\n".join(data)
                data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    if data:
        yield b"\n".join(data)


def assemble(raw: bytes) -> Assembled:
    """Put a recorded stream together. Events that can't be read are left out."""
    whole = Assembled()
    choices: defaultdict[int, _Building] = defaultdict(_Building)
    for data in events(raw):
        if data == _DONE:
            break
        try:
            chunk = _chunk(data)
        except (ValueError, RecursionError):
            continue
        whole.id = whole.id or chunk.id
        whole.created = whole.created or chunk.created
        whole.model = whole.model or chunk.model
        whole.usage = chunk.usage or whole.usage
        whole.error = chunk.error or whole.error
        for choice in chunk.choices or ():
            choices[choice.index].add(choice)
    whole.choices = [choices[index].finish(index) for index in sorted(choices)]
    return whole


class _Building:
    """One choice while its pieces arrive; lists, as adding strings up costs the square."""

    def __init__(self) -> None:
        self.role: str | None = None
        self.finish_reason: str | None = None
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.calls: defaultdict[int, _BuildingCall] = defaultdict(_BuildingCall)

    def add(self, choice: _ChunkChoice) -> None:
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta
        if delta is None:
            return
        self.role = self.role or delta.role
        if delta.content is not None:
            self.content.append(delta.content)
        if delta.refusal is not None:
            self.refusal.append(delta.refusal)
        if delta.reasoning_content is not None:
            self.reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            self.calls[call.index].add(call)

    def finish(self, index: int) -> _Choice:
        message = _Message(
            role=self.role or "assistant",
            content="".join(self.content) if self.content else None,
            refusal="".join(self.refusal) if self.refusal else None,
            reasoning_content="".join(self.reasoning) if self.reasoning else None,
            tool_calls=[self.calls[at].finish() for at in sorted(self.calls)],
        )
        return _Choice(index=index, message=message, finish_reason=self.finish_reason)


class _BuildingCall:
    def __init__(self) -> None:
        self.id: str | None = None
        self.type: str | None = None
        self.name: list[str] = []
        self.arguments: list[str] = []

    def add(self, call: _ToolCall) -> None:
        self.id = self.id or call.id
        self.type = self.type or call.type
        if call.function is not None:
            self.name.append(call.function.name or "")
            self.arguments.append(call.function.arguments or "")

    def finish(self) -> _Call:
        function = _Function(name="".join(self.name), arguments="".join(self.arguments))
        return _Call(id=self.id, type=self.type or "function", function=function)
