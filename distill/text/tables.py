"""Tables for people: aligned text for the terminal, Markdown for cards, artifacts and reports.

Names, notes and other outside text are shown inert: control, bidirectional and invisible characters as
escapes, and in Markdown the characters that would start a link, HTML, a cell or emphasis as entities.
"""

import re
import unicodedata
from collections.abc import Callable, Container, Sequence

LONGEST_CELL = 300
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that are shown as escapes."""
MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]<>&|~#$]|(?<![^\W_])_|_(?![^\W_])")

Rows = Sequence[Sequence[str]]
"""A heading and rows of as many cells."""


def cell(text: object) -> str:
    """Text as one inert Markdown table cell of at most 300 characters."""
    shown = inert(str(text))
    if len(shown) > LONGEST_CELL:
        shown = shown[:LONGEST_CELL] + "..."
    shown = MARKDOWN_SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shown)
    return shown.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def inert(text: str, keep: str = "") -> str:
    """Text with control, bidirectional, invisible and unassigned characters as escapes, except those in
    `keep`."""
    return "".join(
        c
        if c in keep or unicodedata.category(c) not in HIDDEN
        else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


def aligned(rows: Rows, numbers: Container[int], rule: bool = True) -> str:
    """Rows as aligned plain text; `numbers` are the columns that are right-aligned, `rule` puts dashes under
    the heading."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        [
            " " * (width - _width(text)) + text if column in numbers else text + " " * (width - _width(text))
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    if rule:
        lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(line).rstrip() for line in lines)


def grid(rows: Rows, numbers: Container[int] = (), shown: Callable[[str], str] = cell) -> list[str]:
    """The lines of a Markdown table; `numbers` are the columns that are right-aligned, `shown` makes a text a
    cell."""
    marks = ["---:" if column in numbers else "---" for column in range(len(rows[0]))]
    head, *body = [f"| {' | '.join(map(shown, row))} |" for row in rows]
    return [head, f"| {' | '.join(marks)} |", *body]


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
