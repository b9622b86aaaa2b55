"""Finding code in an answer: fenced blocks as CommonMark has them. An unclosed last block goes on to the end of the text.

One block is the answer: a solution that is spread over several is not put together.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

PYTHON = frozenset(("python", "py", "python3", "py3"))
_FENCE = re.compile(r"([ \t]*(?:(?:[-*>]|\d{1,9}[.)])[ \t]+)*)(`{3,}(?!`)|~{3,}(?!~))([^`]*)")
"""Each character can belong to one part only: a line that is no fence after all is given up in linear time."""
_STATEMENT = re.compile(
    r"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*[(:]"
    r"|import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import[ \t]|print[ \t]*\()",
    re.MULTILINE,
)
_ASSIGNMENT = re.compile(
    r"^[ \t]*(?:return\b"
    r"|[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?(?:[ \t]*,[ \t]*[A-Za-z_]\w*)*[ \t]*(?:[-+*/%|&^]|//|\*\*)?=(?!=))",
    re.MULTILINE,
)
_DEFINITION = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_ASSIGNED = re.compile(r"^([A-Za-z_]\w*)[ \t]*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_METHOD = re.compile(r"^[ \t]+(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language in lower case (`""` for none) and its text."""

    label: str
    text: str


def python(answer: str, names: frozenset[str] = frozenset()) -> tuple[str, bool] | None:
    """The Python code of an answer and whether a fence marks it, or None.

    The last Python block counts, of those that define one of `names` if any does. A block without a label counts when no block
    is labelled, or when it has a statement that no sample of values has. Without any fence an answer that looks like Python counts.
    """
    found = list(blocks(answer))
    if not found:
        return (answer, False) if looks_like_python(answer) else None
    labelled = any(block.label in PYTHON for block in found)
    codes = [block.text for block in found if _counts(block, labelled) and block.text.strip()]
    naming = [code for code in codes if names & definitions(code)]
    return ((naming or codes)[-1], True) if codes else None


def _counts(block: Block, labelled: bool) -> bool:
    return block.label in PYTHON or (not block.label and (not labelled or bool(_STATEMENT.search(block.text))))


def looks_like_python(text: str) -> bool:
    """True when a line of the text is a definition, an import, an assignment, a return or a print."""
    return bool(_STATEMENT.search(text) or _ASSIGNMENT.search(text))


def definitions(code: str) -> frozenset[str]:
    """Names that code defines at its top level, and the methods of its `Solution`."""
    found = set(_DEFINITION.findall(code)) | set(_ASSIGNED.findall(code))
    return frozenset(found | set(_METHOD.findall(code)) if "Solution" in found else found)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text, in order."""
    fence, label, indent, lines = "", "", 0, list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _FENCE.fullmatch(line)
        if not fence and match:
            fence, indent, lines = match.group(2), len(match.group(1)), []
            label = re.split(r"[\s:,;{}]+", match.group(3).strip(" \t{}.").lower())[0]
        elif fence and match and match.group(2).startswith(fence) and not match.group(3).strip():
            yield Block(label, "\n".join(lines) + "\n")
            fence = ""
        elif fence:
            lines.append(_without_indent(line, indent))
    if fence:
        yield Block(label, "\n".join(lines) + "\n")


def _without_indent(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip(" \t"))) :]
