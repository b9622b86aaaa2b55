"""One shard of examples as token ids: what a student is trained on, and what cannot be.

Each row is rendered with the student's template and checked as a whole: its prompt is what serving sends, its
completion says the row's thinking and answer and ends with the EOS, and its control tokens are those that the
template writes for such a row. A row that fails is left out and counted with its cause, never cut.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distill.records import Example
from distill.text import chat_template as chat
from distill.train.encoder import Encoder

Ints = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]

PLACEHOLDER = "x"


class Failure(NamedTuple):
    """A row that is left out."""

    row: int
    cause: str
    """`id: cause`"""


class Encoded(NamedTuple):
    """Rows end to end: row i is `tokens[ends[i - 1] : ends[i]]`, its first `prompts[i]` are the prompt."""

    tokens: Ints
    ends: Ints
    prompts: Ints
    failures: list[Failure]
    encoder: str


def encode_rows(encoder: Encoder, examples: Sequence[Example]) -> Encoded:
    """The rows of a shard in order; one that cannot be rendered has no tokens.

    A text that tiktoken encodes otherwise than the tokenizer makes all rows anew without it.
    """
    controls, asked = Controls(encoder), encoder.name
    tokens, prompts, failures = list[Ints](), list[int](), list[Failure]()
    for number, example in enumerate(examples):
        try:
            pair = _pair(encoder, example)
            row = np.array(pair.prompt + pair.completion, np.int32)
            controls.check(example, row, len(pair.prompt))
        except Exception as error:  # a template may raise anything; one row never ends a training
            failures.append(Failure(number, f"{example.id}: {chat.cause(error)}"))
            row, pair = np.empty(0, np.int32), chat.Encoded([], [])
        tokens.append(row)
        prompts.append(len(pair.prompt))
    if encoder.name != asked:
        return encode_rows(encoder, examples)
    return Encoded(
        np.concatenate([np.empty(0, np.int32), *tokens]),
        np.cumsum([len(row) for row in tokens], dtype=np.int64),
        np.array(prompts, np.int32),
        failures,
        encoder.name,
    )


class Controls:
    """The control tokens of a row, compared with those of a row of the same shape that says nothing.

    A text such as `<|im_end|>` inside a problem is text: as a token it would end the turn.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        ids = sorted(encoder.get_added_vocab().values())
        self._added = np.zeros(max(ids, default=0) + 2, bool)
        """Of each id whether it is an added token's; the last is that of all larger ones."""
        self._added[ids] = True
        self._wanted: dict[tuple[Any, ...], list[int] | None] = {}

    def check(self, example: Example, row: Ints, prompt: int) -> None:
        """Raises TemplateError when a row has other control tokens than its shape has."""
        found = self._of(row, prompt)
        thinks = example.completion[0].content.startswith(chat.OPEN)
        shape = (*(message.role for message in example.prompt), thinks)
        if shape not in self._wanted:
            self._wanted[shape] = self._of_shape(example, thinks)
        wanted = self._wanted[shape]
        if wanted is not None and found != wanted:
            names = {number: text for text, number in self._encoder.get_added_vocab().items()}
            said = [[names.get(one, "|") for one in ids] for ids in (found, wanted)]
            raise chat.TemplateError(
                f"the row has the control tokens {' '.join(said[0])}, a row of its shape {' '.join(said[1])}"
            )

    def _of_shape(self, example: Example, thinks: bool) -> list[int] | None:
        block = f"{chat.OPEN}\n{PLACEHOLDER}\n{chat.CLOSE}\n\n" if thinks else ""
        prompt = [{"role": message.role, "content": PLACEHOLDER} for message in example.prompt]
        said = [{"role": "assistant", "content": block + PLACEHOLDER}]
        try:
            pair = chat.encode_pair(self._encoder, prompt, said)
        except Exception:  # a template may refuse a row that says nothing
            return None
        return self._of(np.array(pair.prompt + pair.completion, np.int32), len(pair.prompt))

    def _of(self, row: Ints, prompt: int) -> list[int]:
        """Added tokens in their order, with -1 where the completion starts."""
        added = np.take(self._added, row, mode="clip")
        return [*row[:prompt][added[:prompt]].tolist(), -1, *row[prompt:][added[prompt:]].tolist()]


def _pair(encoder: Encoder, example: Example) -> chat.Encoded:
    prompt, completion = _messages(example.prompt), _messages(example.completion)
    return chat.encode_pair(encoder, prompt, completion)


def _messages(turns: Iterable[Any]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
