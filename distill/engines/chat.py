"""Conversations as token ids and token ids as text, with the chat template of the model's own tokenizer.

Text of a problem never becomes a control token: a question with `<|im_end|>` in it is encoded letter by letter.
A template that opens `<think>` itself is left alone: the completion then has a closing tag only, which `normalise`
splits. What a tokenizer without a chat template would need is not guessed: that is an error.
"""

import re
from functools import lru_cache
from typing import Any

from distill.engines.wire import BackendError, Settings, unloadable

KEPT = ("<think>", "</think>", "<answer>", "</answer>")
"""Tags that stay in the text although some tokenizers have them as special tokens."""

Turns = tuple[tuple[str, str], ...]


class UnsafePrompt(ValueError):
    """A control token in a message that the template does not leave as it is."""


class Chat:
    """Encodes prompts and decodes completions of one model."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise BackendError(
                "the model's tokenizer has no chat template: use an instruction-tuned model, or save a template with its tokenizer"
            )
        self.tokenizer = tokenizer
        special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.hidden = frozenset(number for number, text in special.items() if text not in KEPT)
        self.control = re.compile("|".join(re.escape(text) for text in special.values()) or r"(?!)")
        self.prompt = lru_cache(maxsize=1024)(self._prompt)  # the samples of one problem share their prompt

    def opens_thinking(self) -> bool:
        """Whether the template's generation prompt ends inside a think block."""
        return self._render((("user", "1"),)).rstrip().endswith("<think>")

    def text(self, tokens: list[int]) -> str:
        """The completion's text without control tokens; think tags are kept."""
        kept = [token for token in tokens if token not in self.hidden]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _prompt(self, turns: Turns, prefill: str) -> list[int]:
        """Token ids of the conversation, the opening of the assistant's turn and the prefill."""
        text = self._render(turns)
        opening = "" if ends_with(text, prefill) else prefill
        if not any(self.control.search(content) for _, content in turns):
            return self._encode(text + opening, as_text=False)
        pieces, contents = self._pieces(turns, text)
        tokens: list[int] = []
        for number, piece in enumerate(pieces[:-1]):
            tokens += self._encode(piece, as_text=False) + self._encode(contents[number], as_text=True)
        return tokens + self._encode(pieces[-1] + opening, as_text=False)

    def _pieces(self, turns: Turns, text: str) -> tuple[list[str], list[str]]:
        """The template's own text around the messages, found with stand-ins, and the messages as it prints them."""
        stand_ins = tuple((role, f"x7Qf{number}Zk9x") for number, (role, _) in enumerate(turns))
        pieces = re.split("|".join(stand_in for _, stand_in in stand_ins), self._render(stand_ins))
        for contents in ([content for _, content in turns], [content.strip() for _, content in turns]):
            joined = "".join(piece + content for piece, content in zip(pieces, [*contents, ""], strict=False))
            if len(pieces) == len(turns) + 1 and joined == text:
                return pieces, contents
        raise UnsafePrompt("the chat template changes a message that holds a control token")

    def _render(self, turns: Turns) -> str:
        from jinja2 import TemplateError

        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        except TemplateError as error:
            remedy = "unset sampling.system if it is the system turn" if turns[0][0] == "system" else "the model needs another template"
            raise BackendError(f"the model's chat template refuses the conversation ({error}): {remedy}") from error

    def _encode(self, text: str, as_text: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=as_text)["input_ids"]) if text else []


def ends_with(text: str, prefill: str) -> bool:
    """Whether the rendered prompt already ends with the prefill, apart from white space at the end."""
    return text.endswith(prefill) if not prefill.strip() else text.rstrip().endswith(prefill.strip())


def open_chat(settings: Settings) -> Chat:
    """The chat of the settings' model; BackendError says why there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model, revision=settings.revision, trust_remote_code=settings.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise unloadable(settings.model, error) from error
    return Chat(tokenizer)


def ending(key: str, failure: str, prompt_tokens: int | None = None) -> dict[str, Any]:
    """The completion of a request that the model was not asked."""
    return {
        "key": key,
        "content": None,
        "finish_reason": "error",
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 0,
        "failure": failure,
    }


def encode_request(chat: Chat, request: dict[str, Any], context_tokens: int) -> list[int] | dict[str, Any]:
    """Prompt tokens of a request, or its completion when the model cannot be asked."""
    turns = tuple((role, content) for role, content in request["messages"])
    try:
        tokens = chat.prompt(turns, request["prefill"])
    except UnsafePrompt:
        return ending(request["key"], "unsafe_prompt")
    if len(tokens) >= context_tokens:
        return ending(request["key"], "prompt_too_long", len(tokens))
    return tokens
