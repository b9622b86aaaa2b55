"""How a completion ended, from the word that a server or a file has for it.

The words are those of OpenAI, vLLM, SGLang, llama.cpp, TGI, Ollama, Anthropic, Bedrock, Gemini, Mistral,
Cohere, DeepSeek and Together. Case and punctuation do not count. A word that is not in the table is
`unknown`: the completion counts as whole, and the word is told once.
"""

import re
from typing import Any, NamedTuple

from distill.progress import say
from distill.records import FinishReason


class Ending(NamedTuple):
    """A finish reason, and the failure of a completion that a server broke off."""

    reason: FinishReason
    failure: str | None = None


def _table(words: dict[Ending, str]) -> dict[str, Ending]:
    return {_letters(word): ending for ending, line in words.items() for word in line.split()}


def _letters(word: str) -> str:
    """`max_tokens` of `MAX_TOKENS`, `max-tokens`, `maxTokens` and `FinishReason.MAX_TOKENS`, without what is
    no letter."""
    return re.sub(r"[^a-z]", "", word.casefold()).removeprefix("finishreason")


STOP, CUT, UNKNOWN = Ending("stop"), Ending("length"), Ending("unknown")
FILTERED, BROKEN_OFF = Ending("error", "content_filter"), Ending("error", "interrupted")
WORDS = _table(
    {
        STOP: "stop stopped eos eos_token eot end_of_text end_of_turn end_turn stop_sequence stop_token "
        "stop_word stop_string complete "
        "completed finish finished done end normal",
        CUT: "length limit max_tokens max_tokens_reached max_length max_new_tokens max_output_tokens "
        "max_completion_tokens model_length "
        "token_limit token_limit_reached length_limit context_length context_length_exceeded "
        "model_context_window_exceeded error_limit "
        "incomplete truncated",
        FILTERED: "content_filter content_filtered safety recitation blocklist prohibited_content spii "
        "guardrail_intervened refusal "
        "error_toxic",
        BROKEN_OFF: "abort aborted error insufficient_system_resource cancelled user_cancel",
        UNKNOWN: "unknown",
    }
)


def ending(word: Any) -> Ending | None:
    """The ending that a word means (or an object with a word as its `type`, as SGLang's own format has it);
    None for what is not known."""
    word = word.get("type") if isinstance(word, dict) else word
    return WORDS.get(_letters(word)) if isinstance(word, str) else None


def reaches(completion_tokens: int | None, limit: int | None) -> bool:
    """Whether a completion took all the tokens that it was allowed: then it was cut, whatever its server
    says."""
    return limit is not None and completion_tokens is not None and completion_tokens >= limit


class Untold:
    """The words that were not known, each told once."""

    def __init__(self, whose: str) -> None:
        """`whose` opens the line that tells a word."""
        self._whose = whose
        self._told: set[str] = set()

    def see(self, word: Any) -> None:
        """Tells a word that is not known, the first time."""
        shown = "null" if word is None else repr(word)[:60]
        if ending(word) is None and shown not in self._told:
            self._told.add(shown)
            say(
                f"{self._whose} finish_reason {shown}, which is not known: such completions count as whole "
                "(further ones are not told)"
            )
