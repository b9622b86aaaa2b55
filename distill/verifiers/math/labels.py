r"""Labels of the parts of an answer: `\text{Ann: } 3, \text{Ben: } 5`, `(a) 3, (b) 5`, and what says that a
list is in order.

A label is found only where every part has one and no two are the same.
"""

import re
from collections.abc import Sequence

from distill.verifiers.math.normalise import split_at

_NAMED = re.compile(
    r"\\text\{([^{}]*)\}\s*([:：=]?)\s*(\S.*)|([A-Za-z ]{3,40})\s?([:：=])\s*(\S.*)", re.DOTALL
)
_LEADS = re.compile(r"[:：]$|(?<=\s)(?:is|are)$")
_PART = re.compile(
    r"(?:\\text\{\s*)?(?:[Pp]art\s*)?\(([a-h]|i{1,3}|iv|v|[1-9])\)\s*:?\s*(?:\}\s*|(?<=[\s:}]))(\S.*)",
    re.DOTALL,
)
_SERIES = ("abcdefgh", "123456789", ("i", "ii", "iii", "iv", "v"))
_IN_ORDER = re.compile(
    r"(?:\\text\{[\s,(]{0,9}|\()?(?:respectively|in (?:that|this|the given) order)[\s.)]{0,9}\}?$"
)


def labelled(parts: Sequence[str]) -> list[tuple[str, str]] | None:
    """(label, value) of each part, or None."""
    if len(parts) < 2:
        return None
    for find in (_part, _named):
        found = [pair for part in parts if (pair := find(part.strip()))]
        labels = [label for label, _ in found]
        if len(set(labels)) < len(parts):
            continue
        if find is _named or any(labels == list(series[: len(labels)]) for series in _SERIES):
            return [(rf"\text{{{label}}}", value) for label, value in found]
    return None


def _part(text: str) -> tuple[str, str] | None:
    match = _PART.fullmatch(text)
    return (match[1], match[2]) if match else None


def _named(text: str) -> tuple[str, str] | None:
    match = _NAMED.fullmatch(text)
    if match is None:
        return None
    written, sign, value = (match[group] or match[group + 3] for group in (1, 2, 3))
    label = _LEADS.sub("", (written or "").strip())
    if not (sign or label != (written or "").strip()) or not re.search(r"[^\W\d_]", label):
        return None
    if match[4] and not re.search(r"[a-z]{2}", label):
        return None  # AB = 3 and AB:CD are no words
    return " ".join(label.casefold().removeprefix("the ").split()), value


def in_order(text: str) -> str:
    """`3, 5 respectively` as a tuple; another text as it is."""
    ending = _IN_ORDER.search(text) if "respectively" in text or " order" in text else None
    head = text[: ending.start()] if ending else ""
    if not ending or head.count("{") != head.count("}"):
        return text
    parts = split_at(head.rstrip(" ,"), ",", r"\text{and}")
    return f"({','.join(part.strip() for part in parts)})" if len(parts) > 1 else head
