"""The text and the thinking of a reply's message, wherever a server puts them.

- The text is `content`: text, or a list of parts of which those of type `text` and `output_text` count.
- The thinking is the first of these that says something: the fields of `FIELDS` in their order, then the
  parts of `content` that are thinking. They repeat each other, so they are not joined.
- Parts of one block follow each other without anything between; blocks of thinking are kept apart by an empty
  line.
"""

from typing import Any, NamedTuple

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
        if isinstance(part, dict) and _is_thinking(part):
            thoughts.append(thinking(part))
        elif isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            text = part.get("text", part.get("refusal"))
            texts.append(text if isinstance(text, str) else "")
        else:
            raise ValueError(f"{type(part).__name__} where a part of a text was expected")
    return "".join(texts), "\n\n".join(filter(None, thoughts))


def _is_thinking(part: dict[str, Any]) -> bool:
    kind = str(part.get("type") or "")
    return (
        part.get("thought") is True
        or "thinking" in kind
        or kind.startswith("reasoning")
        or kind in ("thought", "analysis")
    )
