"""Reads what a row holds under a name, in the shapes that public sets have.

- A name is a column, or a path into one: `answer.value`, `reward_model.ground_truth`, `messages.0.info.x`. A
  column with dots in its own name comes first. Objects and lists that come as JSON text are opened.
- Conversations are lists of turns: `role` and `content` (text or parts), or ShareGPT's `from` and `value`.
- Completions are a text, a conversation, or a list of either; thinking may stand in a column of its own.

What does not fit raises ValueError. A conversation of several questions is not read; a system turn is left
out.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from distill.text import inert
from distill.text import thinking as think

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""What public sets call those who speak."""
SPEAKERS, SAYINGS = ("role", "from"), ("content", "value")
REASONING = (
    "thinking",
    "reasoning",
    "reasoning_content",
    "think",
    "thoughts",
    "deepseek_reasoning",
    "thinking_trajectories",
    "thinking_trajectory",
    "deepseek_thinking_trajectory",
    "gemini_thinking_trajectory",
    "reasoning_trace",
    "chain_of_thought",
)
"""Names under which public sets and servers keep the thinking apart from the answer."""
TEXT_KEYS = ("text", "content", "response", "completion", "generation", "value", "output")
"""Keys of the text of a completion that is an object."""
FINISH_REASONS = ("finish_reason", "finish_reasons")
ENDED = ("is_reasoning_complete", "think_closed")
"""Columns that say of each completion whether it came to its end."""
JSON_TURNS = re.compile(r"\s*\[\s*\{")

Row = Mapping[str, Any]


class Exchange(NamedTuple):
    """One question and, where there is one, its completion."""

    question: str
    completion: str | None


class Ready(NamedTuple):
    """One completion with the word that its row has for its ending."""

    text: str
    finish_reason: str | None = None


def value(row: Row, name: str) -> Any:
    """What a row holds under a column's name, or under a path; None where it holds nothing."""
    if name in row or "." not in name:
        return row.get(name)
    found: Any = row
    steps = name.split(".")
    while steps:
        found = _opened(found)
        if isinstance(found, Mapping):
            whole = ".".join(steps)
            step, steps = (whole, []) if whole in found else (steps[0], steps[1:])
            found = found.get(step)
        elif isinstance(found, (list, tuple)) and steps[0].isdecimal() and int(steps[0]) < len(found):
            found, steps = found[int(steps[0])], steps[1:]
        else:
            return None
    return found


def holder(name: str, columns: Iterable[str]) -> str | None:
    """The column that holds what a name or a path names; None where there is none."""
    columns = list(columns)
    if name in columns:
        return name
    parts = name.split(".")
    return next(
        (one for end in range(len(parts) - 1, 0, -1) if (one := ".".join(parts[:end])) in columns), None
    )


def is_turns(found: Any) -> bool:
    """Whether a value is a conversation."""
    found = _turns(found)
    return (
        isinstance(found, list)
        and bool(found)
        and all(
            isinstance(turn, Mapping) and _key(turn, SPEAKERS) and set(SAYINGS) & set(turn) for turn in found
        )
    )


def exchange(found: Any) -> Exchange:
    """The question and the completion of a conversation; raises ValueError where it is not a single
    exchange."""
    if not is_turns(found):
        raise ValueError(f"is {shown(found)}, not a conversation")
    turns = [turn for turn in _turns(found) if _role(turn) != "system"]
    roles = [_role(turn) for turn in turns]
    if roles not in (["user"], ["user", "assistant"]):
        spoken = inert(", ".join(roles))[:200] or "nobody"
        raise ValueError(f"has turns of {spoken}, not of user, assistant")
    said = [_said(turn) for turn in turns]
    return Exchange(said[0], said[1] if len(said) == 2 else None)


def replies(found: Any) -> bool:
    """Whether a value is a conversation in which the model speaks."""
    return is_turns(found) and any(_role(turn) == "assistant" for turn in _turns(found))


def question(found: Any) -> str:
    """The question in a text or a conversation; raises ValueError."""
    if is_turns(found):
        return exchange(found).question
    if not isinstance(found, str):
        raise ValueError(f"is {type(found).__name__}, not text")
    return found


def completions(row: Row, names: Sequence[str], thinking: Sequence[str] = ()) -> list[Ready]:
    """The completions that a row holds under some names, with the thinking of each; raises ValueError.

    Thinking is matched with completions by the order of names, and in lists by place.
    """
    found: list[Ready] = []
    for number, name in enumerate(names):
        held = value(row, name)
        several = isinstance(held, (list, tuple)) and not is_turns(held)
        ones = held if several else [held]
        texts = [_completion(one, name) for one in ones]
        apart = _parallel(value(row, thinking[number]) if number < len(thinking) else None, len(texts))
        if number < len(thinking) and apart is None:
            raise ValueError(
                f"column {thinking[number]!r} has no thinking for each of {len(texts)} completions"
            )
        endings = _endings(row, len(texts), alone=not several and len(names) == 1)
        endings = [_own_ending(one) or ending for one, ending in zip(ones, endings, strict=True)]
        for text, thought, ending in zip(texts, apart or [None] * len(texts), endings, strict=True):
            if text is not None or thought:
                found.append(Ready(joined(text or "", thought), ending))
    return found


def joined(answer: str, thought: str | None) -> str:
    """A completion of thinking and answer; without an answer its think block is not closed."""
    if not thought or not thought.strip():
        return answer
    parts = think.split(answer, thought)
    if not parts.think_closed:
        return f"{think.OPEN}\n{parts.thinking}"
    return think.join(parts.thinking, parts.answer)


def _completion(held: Any, name: str) -> str | None:
    """The text of one completion; a conversation may be the model's turn alone, as TRL's `completion` is."""
    try:
        if is_turns(held):
            (first, *others) = _turns(held)
            alone = not others and _role(first) == "assistant"
            return _said(first) if alone else exchange(held).completion
        if isinstance(held, Mapping) and (key := _key(held, TEXT_KEYS)):
            return joined(_text(held[key]), _reasoning(held))
    except ValueError as error:
        raise ValueError(f"column {name!r} {error}") from error
    if not isinstance(held, (str, type(None))):
        raise ValueError(f"column {name!r} is {shown(held)}, not text")
    return held


def _parallel(held: Any, length: int) -> list[str | None] | None:
    """The thinking of each completion: a text for one, or as many texts as completions."""
    held = held if isinstance(held, (list, tuple)) else [held]
    texts = [one if isinstance(one, str) else None for one in held]
    if texts in ([], [None]):
        return [None] * length
    return texts if len(texts) == length else None


def _endings(row: Row, length: int, alone: bool) -> list[str | None]:
    """The word for the ending of each completion, from the columns that public sets keep it in."""
    words: list[str | None] = [None] * length
    for name in FINISH_REASONS:
        held = row.get(name)
        if isinstance(held, (list, tuple)):
            words = [_word(one) for one in held] if len(held) == length else words
        elif held is not None and (alone or length == 1):
            words = [_word(held)] * length
    for name in ENDED:
        held = row.get(name)
        held = held if isinstance(held, (list, tuple)) else [held]
        if len(held) == length:
            words = ["length" if ended is False else word for ended, word in zip(held, words, strict=True)]
    return words


def _own_ending(held: Any) -> str | None:
    """The word for its ending that a completion has inside when it is an object."""
    return _word(held.get(_key(held, FINISH_REASONS) or "")) if isinstance(held, Mapping) else None


def _word(held: Any) -> str | None:
    """A finish reason as a word: SGLang's own format has an object with a word as its `type`."""
    held = held.get("type") if isinstance(held, Mapping) else held
    return None if held is None else str(held)


def _turns(found: Any) -> Any:
    """A conversation as a list of turns: also one that comes as JSON text, or as lists side by side."""
    if isinstance(found, str) and not JSON_TURNS.match(found):
        return None
    found = _opened(found)
    if isinstance(found, Mapping) and (speaker := _key(found, SPEAKERS)) and (saying := _key(found, SAYINGS)):
        roles, texts = found[speaker], found[saying]
        if isinstance(roles, list) and isinstance(texts, list) and len(roles) == len(texts):
            return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return found


def _opened(found: Any) -> Any:
    """The object or list in a JSON text; anything else as it is."""
    if isinstance(found, str) and found.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(found)
        except (ValueError, RecursionError):
            return found
    return found


def _role(turn: Row) -> str:
    said = str(turn[_key(turn, SPEAKERS) or ""])
    return ROLES.get(said.casefold(), said)


def _said(turn: Row) -> str:
    """The text of a turn, with the thinking that it keeps in a field of its own."""
    return joined(_text(turn.get(_key(turn, SAYINGS) or "")), _reasoning(turn))


def _reasoning(held: Row) -> str | None:
    found = held.get(_key(held, REASONING) or "")
    return found if isinstance(found, str) else None


def _text(content: Any) -> str:
    """A turn's content: a text, or parts of which the texts count; raises ValueError for anything else."""
    if isinstance(content, str) or content is None:
        return content or ""
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        if other := [part for part in content if not isinstance(part.get("text"), str)]:
            raise ValueError(f"has a part of type {str(other[0].get('type'))[:40]!r} in a turn, not text")
        return "".join(part["text"] for part in content)
    raise ValueError(f"has a turn of {shown(content)}, not text")


def _key(held: Row, names: Sequence[str]) -> str | None:
    return next((name for name in names if held.get(name) is not None), None)


def shown(held: Any) -> str:
    """The type of a value, in words."""
    return f"a list of {len(held)}" if isinstance(held, list) else type(held).__name__
