"""The wire format of OpenAI-compatible chat completions: a request's body, a reply's completion, a header's
wait.

Servers differ in where they put thinking, in the words for a broken-off completion, and in where they count
tokens; those differences end here. A completion in pieces is put together in `stream`.

- The text is `content`: text, or a list of parts of which those of type `text` and `output_text` count.
- The thinking is the first of these that says something: the fields of `FIELDS` in their order, then the
  parts of `content` that are thinking. They repeat each other, so they are not joined.
- Parts of one block are joined as they are; an empty line parts blocks of thinking.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from distill.engines.protocol import Completion, EngineError, Request
from distill.engines.server.errors import Way
from distill.recipe import Sampling, Teacher
from distill.text import endings

LONGEST_RETRY_AFTER_SECONDS = 600.0
OURS = ("messages", "model", "seed", "n", "stream", "stream_options")
"""What `teacher.extra_body` may not set: what is asked, and that one completion comes back."""
WAYS: dict[Way, dict[str, Any]] = {
    "whole": {"stream": False},
    "stream": {"stream": True, "stream_options": {"include_usage": True}},
    "bare_stream": {"stream": True},
}


def body(
    request: Request, teacher: Teacher, sampling: Sampling, limited: bool = True, way: Way = "whole"
) -> dict[str, Any]:
    """What is posted for one completion; a prefill is a last message to go on with (vLLM, SGLang)."""
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    asked: dict[str, Any] = {
        "model": teacher.model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        teacher.max_tokens_field: request.max_tokens if limited else None,
        "seed": request.seed,
        "n": 1,
        **WAYS[way],
    }
    if request.prefill:
        messages.append({"role": "assistant", "content": request.prefill})
        asked |= {"continue_final_message": True, "add_generation_prompt": False}
    sent = {name: value for name, value in asked.items() if value is not None and name not in teacher.ignores}
    return sent | teacher.extra_body


def check_extra_body(teacher: Teacher) -> None:
    """Raises EngineError when `teacher.extra_body` sets what the recipe sets elsewhere."""
    taken = sorted({*OURS, teacher.max_tokens_field} & teacher.extra_body.keys())
    if taken:
        raise EngineError(
            f"teacher.extra_body may not set {', '.join(taken)}: leave it out; the recipe has its own place "
            "for it"
        )


def completion(key: str, reply: Any, model: str, limit: int | None = None) -> Completion:
    """The first choice of a reply, `model` where the reply names none; raises ValueError when it has no such
    form.

    `limit` is how many tokens were allowed, where that was asked for: a completion that took them all was
    cut, whatever the reply says.
    """
    choice = _mapping(_first(_mapping(reply).get("choices")))
    message = _mapping(choice.get("message"))
    content, reasoning = said(message)
    counts = usage(reply)
    word = choice.get("finish_reason")
    finish_reason, failure = endings.ending(word) or endings.UNKNOWN
    if word is None and (choice.get("error") or reply.get("error")):
        finish_reason, failure = endings.BROKEN_OFF
    if failure is None and finish_reason != "length" and not content and not reasoning:
        failure = "null_content" if content is None else "empty"
    elif failure is None and endings.reaches(counts["completion_tokens"], limit):
        finish_reason = "length"
    fingerprint = reply.get("system_fingerprint")
    return Completion(
        key=key,
        content=content,
        reasoning=reasoning or None,
        finish_reason=finish_reason,
        model=_text(reply.get("model")) or model,
        system_fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        failure=failure,
        **counts,
    )


def finish_word(reply: Any) -> Any:
    """The server's word for how the first choice of a reply ended."""
    return reply["choices"][0].get("finish_reason")


def usage(reply: Any) -> dict[str, Any]:
    """The tokens that a reply counts, by the fields of `Completion`; None for what it does not say."""
    counts = _inner(reply, "usage")
    if not counts and isinstance(reply, dict):  # Ollama counts beside the message
        counts = {
            "prompt_tokens": reply.get("prompt_eval_count"),
            "completion_tokens": reply.get("eval_count"),
        }
    if (
        "prompt_tokens" not in counts and "input_tokens" in counts
    ):  # Anthropic counts those of its cache apart
        read, written = (_count(counts.get(f"cache_{name}_input_tokens")) for name in ("read", "creation"))
        asked = _count(counts["input_tokens"])
        counts = counts | {
            "prompt_tokens": None if asked is None else asked + (read or 0) + (written or 0),
            "prompt_tokens_details": counts.get("input_tokens_details") or {"cached_tokens": read},
        }
    if "completion_tokens" not in counts:
        counts = counts | {
            "completion_tokens": counts.get("output_tokens"),
            "completion_tokens_details": counts.get("output_tokens_details"),
        }
    cached = _count(_inner(counts, "prompt_tokens_details").get("cached_tokens"))  # OpenAI, vLLM
    if cached is None:  # DeepSeek, Moonshot
        cached = _count(counts.get("prompt_cache_hit_tokens", counts.get("cached_tokens")))
    reasoning = _count(_inner(counts, "completion_tokens_details").get("reasoning_tokens"))
    return {
        "prompt_tokens": _count(counts.get("prompt_tokens")),
        "completion_tokens": _count(counts.get("completion_tokens")),
        "reasoning_tokens": _count(counts.get("reasoning_tokens")) if reasoning is None else reasoning,
        "cached_prompt_tokens": cached,
    }


FIELDS = (
    "reasoning",
    "reasoning_content",
    "thinking",
    "reasoning_text",
    "thinking_blocks",
    "reasoning_details",
)
"""vLLM, OpenRouter, Groq; DeepSeek, Qwen; Ollama; Copilot; LiteLLM; OpenRouter."""
INSIDE = ("text", "thinking", "reasoning", "summary", "content")
"""Where an object of thinking has its text, in this order."""
THOUGHT = re.compile(r".*thinking|reasoning|(?:thought|analysis)\Z", re.DOTALL)
"""Types of parts that are thinking."""


class Said(NamedTuple):
    """What a message says; None where it has no such field."""

    content: str | None
    reasoning: str | None


def said(message: dict[str, Any]) -> Said:
    """The text and the thinking of a message; raises ValueError for content of another form."""
    content, blank = message.get("content"), ""
    if content is not None and not isinstance(content, str):
        content, blank = _content(content)
    for name in FIELDS:
        if (value := message.get(name)) and (text := thinking(value)):
            if not text.isspace():
                return Said(content, text)
            blank = blank or text
    return Said(content, blank or None)


def thinking(value: Any, between: str = "\n\n") -> str:
    """The text of a field or part of thinking, objects and lists too; empty for what is unknown."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return between.join(text for one in value if (text := thinking(one, "")))
    if isinstance(value, dict):
        texts = (thinking(value.get(name), "\n\n" if name == "summary" else "") for name in INSIDE)
        return next(filter(None, texts), "")
    return ""


def _content(value: Any) -> tuple[str, str]:
    """The text of content that is no text, and the thinking among its parts."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"{type(value).__name__} where text was expected")
    texts, thoughts = list[str](), list[str]()
    for part in value:
        if isinstance(part, str):
            part = {"text": part}
        elif not isinstance(part, dict):
            raise ValueError(f"{type(part).__name__} where a part of a text was expected")
        if part.get("thought") is True or THOUGHT.match(str(part.get("type") or "")):
            thoughts.append(thinking(part))
        elif isinstance(text := part.get("text", part.get("refusal")), str):
            texts.append(text)
    return "".join(texts), "\n\n".join(filter(None, thoughts))


def retry_after_seconds(header: str, date: str = "") -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date; ten minutes at most, None when it
    holds neither.

    A date is told from the reply's own `date` where it has one: whose clock is right does not matter then.
    """
    if header.strip().isdecimal():
        seconds = float(header)
    else:
        moment, now = _moment(header), _moment(date) or datetime.now(UTC)
        if moment is None:
            return None
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _moment(header: str) -> datetime | None:
    """The time in a header, or None when it holds none."""
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def _first(value: Any) -> Any:
    if isinstance(value, list) and value:
        return value[0]
    raise ValueError("the reply has no choices")


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{type(value).__name__} where an object was expected")


def _inner(value: Any, name: str) -> dict[str, Any]:
    """An object inside an object; an empty one where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{type(value).__name__} where text was expected")


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
