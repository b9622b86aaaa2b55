"""The wire format of OpenAI-compatible chat completions: a request's body, a reply's completion, a header's wait.

Servers differ in where they put thinking (`reasoning`, `reasoning_content`, or in the text) and in the words for a broken-off
completion; those differences end here. Nothing is sent from here, and streamed replies are not read.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from distill.engines import Completion, Request
from distill.recipe import Sampling, Teacher

LONGEST_RETRY_AFTER_SECONDS = 600.0


def body(request: Request, teacher: Teacher, sampling: Sampling) -> dict[str, Any]:
    """What is posted for one completion; with a prefill the last message is gone on with and not answered (vLLM, SGLang)."""
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    asked: dict[str, Any] = {
        "model": teacher.model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed,
        "n": 1,
        "stream": False,
    }
    if request.prefill:
        messages.append({"role": "assistant", "content": request.prefill})
        asked |= {"continue_final_message": True, "add_generation_prompt": False}
    return asked


def completion(key: str, reply: Any, model: str) -> Completion:
    """The first choice of a reply, `model` where the reply names none; raises ValueError when it has no such form."""
    choice = _mapping(_first(_mapping(reply).get("choices")))
    message = _mapping(choice.get("message"))
    content = _text(message.get("content"))
    reasoning = _text(message.get("reasoning")) or _text(message.get("reasoning_content"))
    usage = _mapping(reply.get("usage") or {})
    finish_reason, failure = _ending(choice.get("finish_reason"))
    if failure is None and finish_reason != "length" and not content and not reasoning:
        failure = "null_content" if content is None else "empty"
    return Completion(
        key=key,
        content=content,
        reasoning=reasoning or None,
        finish_reason=finish_reason,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        reasoning_tokens=_count(_mapping(usage.get("completion_tokens_details") or {}).get("reasoning_tokens")),
        model=_text(reply.get("model")) or model,
        failure=failure,
    )


def retry_after_seconds(header: str) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date; ten minutes at most, None when it holds neither."""
    if header.strip().isdecimal():
        seconds = float(header)
    else:
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _ending(said: Any) -> tuple[str, str | None]:
    """(finish reason, failure) from a server's word; vLLM and DeepSeek name completions that the server broke off."""
    match said:
        case "stop" | "length":
            return said, None
        case "content_filter":
            return "error", "content_filter"
        case "abort" | "error" | "insufficient_system_resource":
            return "error", "interrupted"
        case _:
            return "unknown", None


def _first(value: Any) -> Any:
    if isinstance(value, list) and value:
        return value[0]
    raise ValueError("the reply has no choices")


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{type(value).__name__} where an object was expected")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{type(value).__name__} where text was expected")


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
