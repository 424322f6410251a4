"""One predictor as a student sees it: its own signature and adapter, and no demos.

Training rows, live prompts and the skeleton that binds a student to its prompt all come from here,
so they cannot differ. Knows adapters by their shape only; dspy stays in `programs.dspy_compat`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from programs.description import OutputField
from programs.fields import converter
from programs.student_files import Skeleton
from programs.versions import Signature, predictor_fields, sha256

_INPUT = "\u27e6input\u27e7"
#: shorter lines say nothing about a prompt
_SHORTEST_LINE = 12


class PromptSignature(Signature, Protocol):
    """A signature that fields can be taken out of."""

    def delete(self, name: str) -> PromptSignature: ...


class PromptAdapter(Protocol):
    """Renders prompts and answers."""

    def format(self, signature: Any, demos: list[Any], inputs: dict[str, Any]) -> list[Any]: ...
    def format_assistant_message_content(self, signature: Any, outputs: dict[str, Any]) -> str: ...


class StudentPrompt:
    """How a student is asked, and how it answers.

    ``drop`` names outputs that the student does not give; ``history`` the inputs that become turns
    of their own.
    """

    def __init__(
        self,
        signature: PromptSignature,
        adapter: PromptAdapter,
        *,
        drop: Collection[str],
        history: Collection[str],
    ) -> None:
        for name in drop:
            if name in signature.output_fields:
                signature = signature.delete(name)
        self.signature = signature
        self.adapter = adapter
        self._history = history
        fields = signature.input_fields.items()
        self._converters = {name: converter(name, field.annotation) for name, field in fields}

    @property
    def output_fields(self) -> dict[str, OutputField]:
        return predictor_fields(self.signature).outputs

    @property
    def skeleton(self) -> Skeleton:
        """Return what of the prompt does not depend on the inputs."""
        signature = self.signature
        for name in self._history:
            signature = signature.delete(name)
        blank = {name: _INPUT for name in signature.input_fields}
        messages = self.adapter.format(signature, [], dict(blank))
        texts: dict[bool, list[str]] = {True: [], False: []}
        for message in messages:
            texts[message["role"] == "system"].append(message["content"])
        lines = {line for text in texts[False] for line in text.splitlines()}
        return Skeleton(
            system_sha256=sha256("\n".join(texts[True]).encode()),
            lines=tuple(sorted(x for x in lines if len(x) > _SHORTEST_LINE and _INPUT not in x)),
        )

    def messages(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[Any]:
        """Render one training row: the prompt and the assistant's answer. Raises `BadInputs`."""
        values = {k: self._converters[k](v) for k, v in inputs.items() if k in self._converters}
        answer = self.adapter.format_assistant_message_content(self.signature, dict(outputs))
        prompt = self.adapter.format(self.signature, [], values)
        return [*prompt, {"role": "assistant", "content": answer}]
