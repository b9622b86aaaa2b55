r"""The tags that models put around their thinking, beside `<think>`: known families by name, and pairs of a
recipe.

Texts are rewritten to `<think>` and `</think>` and to nothing else: a tag too many stays and shows as a stray
one. Tags in full-width characters are not known, because no model is known to write them.
"""

import re
from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"


class Family(NamedTuple):
    """How one kind of model marks its thinking."""

    open: re.Pattern[str]
    close: re.Pattern[str]
    """What ends the thinking, with what opens the answer behind it."""
    joins: re.Pattern[str] | None = None
    """What stands between two blocks of thinking."""
    alone: re.Pattern[str] | None = None
    """What opens an answer that has no thinking before it, at the start of the text."""
    ends: re.Pattern[str] | None = None
    """What closes the answer, at the end of the text."""


def _family(opened: str, closed: str, joins: str = "", alone: str = "", ends: str = "") -> Family:
    others = (re.compile(pattern, re.DOTALL) if pattern else None for pattern in (joins, alone, ends))
    return Family(re.compile(opened, re.DOTALL), re.compile(closed), *others)


def _element(name: str) -> Family:
    """An XML element, in any case and with attributes."""
    return _family(rf"(?i:<{name}(?:\s[^<>]{{0,200}})?>)", rf"(?i:</{name}\s*>)")


_ASSISTANT = r"(?:<\|start\|>assistant)?\s*"
_ANALYSIS = rf"{_ASSISTANT}<\|channel\|>\s*(?:analysis|commentary)\b[^<]{{0,80}}<\|message\|>"
_FINAL = rf"{_ASSISTANT}<\|channel\|>\s*final\b[^<]{{0,80}}<\|message\|>"
FAMILIES = {
    "think": _element("think"),
    "thinking": _element("thinking"),
    "reasoning": _element("reasoning"),
    "thought": _element("thoughts?"),
    "scratchpad": _element("scratchpad"),
    "reflection": _element("reflection"),
    "mistral": _family(r"\[THINK\]", r"\[/THINK\]"),
    "kimi": _family("◁think▷", "◁/think▷"),
    "seed": _family("<seed:think>", "</seed:think>"),
    "longcat": _family("<longcat_think>", "</longcat_think>"),
    # where a server leaves the special tokens out, `analysis` and `assistantfinal` are left of them
    "harmony": _family(
        rf"{_ANALYSIS}|\Aanalysis(?=.*assistantfinal)",
        rf"(?:<\|end\|>)?\s*{_FINAL}|assistantfinal",
        joins=rf"<\|end\|>\s*{_ANALYSIS}",
        alone=rf"\A\s*{_FINAL}",
        ends=r"<\|(?:return|end)\|>\s*\Z",
    ),
    "gemma": _family(r"<\|channel>(?:thought\b)?", r"<channel\|>", ends=r"<turn\|>\s*\Z"),
    "medgemma": _family(r"<unused94>(?:thought\b)?", "<unused95>"),
    "cohere": _family(
        r"<\|START_THINKING\|>",
        r"<\|END_THINKING\|>\s*(?:<\|START_RESPONSE\|>)?",
        alone=r"\A\s*<\|START_RESPONSE\|>",
        ends=r"<\|END_RESPONSE\|>\s*\Z",
    ),
    "begin_of_thought": _family(
        r"<\|begin_of_thought\|>",
        r"<\|end_of_thought\|>\s*(?:<\|begin_of_solution\|>)?",
        ends=r"<\|end_of_solution\|>\s*\Z",
    ),
}
"""By the name that `teacher.think_tags` has for them."""
STRAY = (
    r"</?(?:think(?:ing)?|reasoning|thoughts?|scratchpad|reflection|seed:think|longcat_think)(?:\s[^<>]{0,200})?>"
    r"|\[/?THINK\]|◁/?think▷|<\|channel>|<channel\|>|<unused9[45]>|<\|[a-z0-9_]{2,40}\|>"
)
"""A tag of any family, in any case."""

Tags = str | tuple[str, str] | None
"""A family's name, an opening and a closing tag, or None for `<think>` alone."""


def family(tags: str | tuple[str, str]) -> Family:
    """The family of a name or of a pair of tags."""
    return FAMILIES[tags] if isinstance(tags, str) else Family(*(re.compile(re.escape(tag)) for tag in tags))


def rewritten(text: str, tags: Tags) -> str:
    """The text with our own tags in the place of others."""
    if tags is None or not text:
        return text
    known = family(tags)
    if known.ends is not None:
        text = known.ends.sub("", text)
    if known.alone is not None:
        text = known.alone.sub("", text)
    if known.joins is not None:
        text = known.joins.sub("\n\n", text)
    return known.close.sub(CLOSE, known.open.sub(OPEN, text))


def detected(text: str | None) -> str | None:
    """The family of a text that is one whole block of thinking at its start, and an answer; None for any
    other text.

    A text in our own tags is of no other family.
    """
    if text is None or (start := text.lstrip())[:1] not in ("<", "[", "◁", "a") or start.startswith(OPEN):
        return None
    for name, known in FAMILIES.items():
        if known.open.match(start):
            block = rewritten(start, name)
            whole = block.count(OPEN) == block.count(CLOSE) == 1 and not block.endswith(CLOSE)
            return name if whole and block.startswith(OPEN) else None
    return None


def suspected(text: str) -> str | None:
    """The family whose tags a text without `<think>` seems to have: one at its start, or one that closes what
    none opens."""
    start = text.strip()
    for name, known in FAMILIES.items():
        if known.open.match(start):
            return name
        closed = known.close.search(start)
        if closed and closed.start() and closed.end() < len(start) and not known.open.search(start):
            return name
    return None
