"""The report as one HTML file: it needs no network, runs no script, and can be moved anywhere.

The caller says what stands in it, section by section; every text is escaped here. The page's own
Content-Security-Policy forbids scripts, frames, forms and anything from another host.
"""

import base64
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

from distill.evaluate import formulas
from distill.evaluate.examples import Group
from distill.text import inert

TEMPLATE = Path(__file__).with_name("page.html.jinja")
PRINTED = "\n\t"


class Interval(NamedTuple):
    """A share between 0 and 1 with its interval, drawn as a line on a scale from 0 to 100 %."""

    low: float
    value: float
    high: float


Cell = str | Interval


class Table(NamedTuple):
    """A heading and rows of as many cells."""

    title: str
    rows: Sequence[Sequence[Cell]]
    numbers: Container[int] = ()
    """The columns that are right-aligned."""


class Picture(NamedTuple):
    """A PNG and what it shows."""

    title: str
    png: bytes

    @property
    def address(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


class Section(NamedTuple):
    """One heading of the page and what stands under it, in this order."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    groups: Sequence[Group] = ()


def page(
    title: str, decision: str, passed: bool | None, summary: Sequence[str], sections: Sequence[Section]
) -> str:
    """The whole page; `decision` is its word, and `passed` its colour: None where nothing was decided."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"inert": lambda text: inert(str(text), keep=PRINTED), "formulas": formulas.shown}
    environment.tests["interval"] = lambda cell: isinstance(cell, Interval)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        decision=decision,
        tone={True: "good", False: "bad", None: "open"}[passed],
        summary=summary,
        sections=[one for one in sections if any(one[1:])],
    )
