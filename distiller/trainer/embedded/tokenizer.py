"""The tokenizer, made from the rows: each constant line is one token, so is each closed value.

The rest is a byte-level BPE. Boilerplate dominates a program's prompts; this makes them 5 times
shorter than BPE alone, which decides how long training takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from distiller.skeleton import constant_lines
from distiller.student_server.shapes import PLACEHOLDER
from distiller.trainer.embedded.examples import Answers, Example

PAD, START, SEPARATOR, END = "<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"
#: Role, separator, text, end: no white space whose tokens could merge across a boundary. What
#: callers write can't contain the marks.
TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '<|im_sep|>' }}"
    "{% if m['role'] == 'assistant' %}{{ m['content'] }}"
    "{% else %}{{ m['content'] | replace('<|', '< |') }}{% endif %}"
    "{{ '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
VOCABULARY = 1024
_CONSTANT_SHARE = 0.9
_SHORTEST_VALUE = 3


def build_tokenizer(examples: Sequence[Example], answers: Answers) -> Tokenizer:
    """Make the tokenizer. Equal examples give an equal tokenizer: nothing depends on hashing."""
    lines = constant_lines((list(_texts(e)) for e in examples), share=_CONSTANT_SHARE)
    lines = [line for line in lines if _survives_decoding(line)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, SEPARATOR, END, PLACEHOLDER],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without(lines, examples), trainer)
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in lines])
    tokenizer.add_tokens(
        [AddedToken(v, normalized=False, single_word=True) for v in _value_tokens(answers, lines)]
    )
    return tokenizer


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """Read a saved tokenizer as transformers wants it."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path),
        eos_token=END,
        pad_token=PAD,
        chat_template=TEMPLATE,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _value_tokens(answers: Answers, lines: Sequence[str]) -> list[str]:
    values = {value for field in answers.values.values() if field for value in field}
    return sorted(
        (
            value
            for value in values.difference(lines)
            if len(value) >= _SHORTEST_VALUE and _survives_decoding(value)
        ),
        key=lambda value: (-len(value), value),
    )


def _texts(example: Example) -> Iterator[str]:
    for message in example.prompt:
        yield message.content
    yield example.completion


def _without(lines: Iterable[str], examples: Sequence[Example]) -> Iterator[str]:
    """Yield the texts that BPE has to learn."""
    constant = frozenset(lines)
    for example in examples:
        for text in _texts(example):
            yield "".join(line for line in text.splitlines(keepends=True) if line not in constant)


def _survives_decoding(text: str) -> bool:
    """The byte-level decoder takes Latin letters of an added token for bytes: é would break."""
    return text.isascii() and PLACEHOLDER not in text and "<|" not in text
