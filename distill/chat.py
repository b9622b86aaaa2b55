"""Conversations as token ids: one rendering for training and for sampling, with the student's own chat template.

Special tokens come from the template only. Text that merely *says* `<|im_end|>` (in a problem, or in a trace) is encoded
as text: it is hidden from the template's output while that is parsed, and encoded piece by piece. This module needs a
tokenizer and nothing else; it imports no library.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST_SENTINEL = 0xF0000  # a private-use plane: no tokenizer knows these characters, no problem contains them
THINK_TAGS = ("<think>", "</think>")


class TemplateError(ValueError):
    """A chat template that would train a student wrongly; the message says what it loses."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a conversation's prompt, and of what the student has to say after it, EOS included."""

    prompt: list[int]
    completion: list[int]


def encode_prompt(tokenizer: Any, messages: Sequence[Mapping[str, str]], prefill: str = "") -> list[int]:
    """Token ids of a conversation up to where the assistant speaks, with `prefill` unless the template opens with it."""
    hidden = special_texts(tokenizer)
    text = _render(tokenizer, [_hide(message, hidden) for message in messages], generation=True)
    if not _ends_with(text, prefill):
        text += prefill
    return _encode(tokenizer, text, hidden)


def encode_pair(tokenizer: Any, prompt: Sequence[Mapping[str, str]], completion: Sequence[Mapping[str, str]]) -> Encoded:
    """Token ids of a training row; raises TemplateError when the template drops thinking, or the end of the turn.

    The prompt is what `encode_prompt` gives at inference, so what is trained is what is served. The completion starts
    where the generation prompt ends (behind `<think>` where the template opens it) and ends with the EOS token.
    """
    hidden = special_texts(tokenizer)
    before = [_hide(message, hidden) for message in prompt]
    said = [_hide(message, hidden) for message in completion]
    opened = _render(tokenizer, before, generation=True)
    whole = _render(tokenizer, [*before, *said], generation=False)
    if not whole.startswith(opened):
        raise TemplateError("the chat template does not continue its own generation prompt: it strips or moves the thinking")
    rest = whole[len(opened) :]
    end = rest.rfind(tokenizer.eos_token)
    if end < 0:
        raise TemplateError(f"the chat template does not end the assistant's turn with {tokenizer.eos_token}: the student would never stop")
    if said[-1]["content"].strip()[-20:] not in rest:
        raise TemplateError("the chat template loses the end of the assistant's turn")
    return Encoded(_encode(tokenizer, opened, hidden), _encode(tokenizer, rest[: end + len(tokenizer.eos_token)], hidden))


def special_texts(tokenizer: Any) -> list[str]:
    """Texts that the tokenizer would turn into one added token, longest first."""
    return sorted(tokenizer.get_added_vocab(), key=len, reverse=True)


def _ends_with(text: str, prefill: str) -> bool:
    """Whether the rendered prompt already ends with the prefill, apart from white space at the end."""
    return text.endswith(prefill) if not prefill.strip() else text.rstrip().endswith(prefill.strip())


def _hide(message: Mapping[str, str], hidden: Iterable[str]) -> dict[str, str]:
    """A message whose content holds no text of an added token; an assistant's own think tags stay."""
    content = message["content"]
    for number, text in enumerate(hidden):
        if not (message["role"] == "assistant" and text in THINK_TAGS):
            content = content.replace(text, chr(FIRST_SENTINEL + number))
    return {**message, "content": content}


def _render(tokenizer: Any, messages: list[dict[str, str]], *, generation: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))


def _encode(tokenizer: Any, text: str, hidden: Sequence[str]) -> list[int]:
    """Ids of rendered text: special tokens parsed, hidden texts encoded as the characters that they are."""
    ids: list[int] = []
    for piece in re.split(f"([{chr(FIRST_SENTINEL)}-{chr(FIRST_SENTINEL + max(len(hidden), 1) - 1)}])", text):
        if len(piece) == 1 and FIRST_SENTINEL <= ord(piece) < FIRST_SENTINEL + len(hidden):
            ids += tokenizer.encode(hidden[ord(piece) - FIRST_SENTINEL], add_special_tokens=False, split_special_tokens=True)
        elif piece:
            ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids
