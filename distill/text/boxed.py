r"""Finding the final answer in a completion: the last `\boxed{...}` (or `\fbox{...}`) with balanced braces.

Boxes that are joined by "and", "or" or a comma make a list. Nothing is guessed from prose: no box is no
answer.
"""

import re

OPENING = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_JOINT = re.compile(
    r"[\s$]*(?:\\\)|\\\])?(?:,|，|、|(?:,\s*)?(?:and|or|\\text\{\s*(?:and|or)\s*\})|和|或)(?:\\\(|\\\[)?[\s$]*(?:[A-Za-z](?:_\{?\d\}?)?\s*=\s*)?"
)
_BLANK = re.compile(r"(?:\s|~|\\(?:[,;:! ]|q?quad(?![a-z])))*")


def last_boxed(text: str) -> str | None:
    """The content of the last box, or of the last joined boxes as a comma list; None when there is no box.

    Raises ValueError when the last box is never closed.
    """
    found: list[str] = []
    following: int | None = None
    last = {name: text.rfind(name) for name in (r"\boxed", r"\fbox")}
    while (start := max(last.values())) >= 0:
        opening = OPENING.match(text, start)
        last = {name: place if place < start else text.rfind(name, 0, start) for name, place in last.items()}
        if opening is None:
            continue
        content, close = _content(text, opening.end())
        if following is not None and not _JOINT.fullmatch(text, close, following):
            break
        found.append(content)
        following = start
    return ", ".join(reversed(found)) if found else None


def any_boxed(text: str) -> str | None:
    """What `last_boxed` finds, or None where it raises: for rows whose answer counts for nothing."""
    try:
        return last_boxed(text)
    except ValueError:
        return None


def _content(text: str, start: int) -> tuple[str, int]:
    """What a box that opens at `start` holds, and where it ends."""
    if text[start : start + 1] != "{":
        token = re.compile(r"\\?[^\s\\${}]+").match(text, start)
        return (token.group(), token.end()) if token else ("", start)
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            content = text[start + 1 : brace.start()].strip()
            return "" if _BLANK.fullmatch(content) else content, brace.end()
    raise ValueError("the box is never closed")
