r"""Labels of the parts of an answer: `\text{Ann: } 3, \text{Ben: } 5`, `(a) 3, (b) 5`, and what says that a
list is in order.

A label is found only where every part has one and no two are the same.
"""

import re
from collections.abc import Sequence

from distill.verifiers.math.normalise import split_at

_NAMED = re.compile(
    r"\\text\{\s*([^{}]*[^\W\d_][^{}]*?)(?:\s*[:：]|\s+(?:is|are))\s*\}\s*(\S.*)"
    r"|\\text\{\s*([^{}]*[^\W\d_][^{}]*?)\s*\}\s*[:：=]\s*(\S.*)"
    r"|([A-Za-z][A-Za-z ]*[a-z]{2}(?: [A-Z])?)\s*[:：=]\s*(\S.*)",
    re.DOTALL,
)
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
    for pattern in (_PART, _NAMED):
        found = [pattern.fullmatch(part.strip()) for part in parts]
        groups = [[group for group in match.groups() if group] for match in found if match]
        if len(groups) < len(parts) or len({label for label, _ in groups}) < len(parts) or len(parts) < 2:
            continue
        labels = [" ".join(label.casefold().removeprefix("the ").split()) for label, _ in groups]
        if pattern is _NAMED or any(labels == list(series[: len(labels)]) for series in _SERIES):
            return [(rf"\text{{{label}}}", value) for label, (_, value) in zip(labels, groups, strict=True)]
    return None


def in_order(text: str) -> str:
    """`3, 5 respectively` as a tuple; another text as it is."""
    ending = _IN_ORDER.search(text) if "respectively" in text or " order" in text else None
    head = text[: ending.start()] if ending else ""
    if not ending or head.count("{") != head.count("}"):
        return text
    parts = split_at(head.rstrip(" ,"), ",", r"\text{and}")
    return f"({','.join(part.strip() for part in parts)})" if len(parts) > 1 else head
