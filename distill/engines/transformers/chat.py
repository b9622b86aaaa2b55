"""Conversations as token ids and token ids as text, with the chat template of the model's own tokenizer.

Prompts are encoded by `distill.text.chat_template`, as the training room encodes them: what is sampled is what was trained.
A template that opens `<think>` itself is left alone: the completion then has a closing tag only, which `normalise`
splits. What a tokenizer without a chat template would need is not guessed: that is an error.
"""

from functools import lru_cache
from typing import Any

from distill.engines.transformers.wire import BackendError, Settings, unloadable
from distill.text.chat_template import THINK_TAGS, encode_prompt

KEPT = (*THINK_TAGS, "<answer>", "</answer>")
"""Tags that stay in the text although some tokenizers have them as special tokens."""

Turns = tuple[tuple[str, str], ...]


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
        self.prompt = lru_cache(maxsize=1024)(self._prompt)  # the samples of one problem share their prompt

    def opens_thinking(self) -> bool:
        """Whether the template's generation prompt ends inside a think block."""
        return self.text(self._prompt((("user", "1"),), "")).rstrip().endswith("<think>")

    def text(self, tokens: list[int]) -> str:
        """The completion's text without control tokens; think tags are kept."""
        kept = [token for token in tokens if token not in self.hidden]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _prompt(self, turns: Turns, prefill: str) -> list[int]:
        """Token ids of the conversation, the opening of the assistant's turn and the prefill."""
        from jinja2 import TemplateError

        try:
            return encode_prompt(self.tokenizer, [{"role": role, "content": content} for role, content in turns], prefill)
        except TemplateError as error:
            remedy = "unset sampling.system if it is the system turn" if turns[0][0] == "system" else "the model needs another template"
            raise BackendError(f"the model's chat template refuses the conversation ({error}): {remedy}") from error


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
    tokens = chat.prompt(turns, request["prefill"])
    if len(tokens) >= context_tokens:
        return ending(request["key"], "prompt_too_long", len(tokens))
    return tokens
