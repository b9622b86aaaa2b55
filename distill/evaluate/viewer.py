"""A local, read-only page over the rows of a dataset or an evaluation: filters, and siblings side by side.

Rows stay in their Parquet files: Arrow reads the columns that a filter needs, a batch at a time. The page has
no script, every text in it is escaped, and the server answers to names of this machine only.
"""

import typing
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow.compute as pc
import pyarrow.dataset as ds
from markupsafe import Markup, escape

from distill.evaluate import formulas
from distill.text import inert

if typing.TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

TEMPLATE = Path(__file__).with_name("viewer.html.jinja")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
LOCAL_NAMES = ["127.0.0.1", "localhost", "[::1]"]
"""Host names that the server answers to: a page elsewhere cannot reach it under a name of its own."""
PAGE_ROWS = 50
MOST_SIBLINGS = 64
LABELS = ("source", "kind", "outcome", "dropped", "teacher", "finish_reason")
"""Columns with few values: they are chosen from a list."""
RANGES = ("pass_rate", "thinking_tokens", "answer_tokens")
TEXTS = ("question", "thinking", "answer")
LISTED = ("id", "problem_id", "source", "outcome", "dropped", "pass_rate", "thinking_tokens", "question")
KEPT = "(kept)"
"""Instead of no reason in the list of `dropped`."""
READING: dict[str, Any] = {
    "batch_size": 8192,
    "batch_readahead": 2,
    "fragment_readahead": 1,
    "fragment_scan_options": ds.ParquetFragmentScanOptions(pre_buffer=False),
}
"""Arrow reads 16 batches of 131,072 rows ahead where nothing is said."""


class Rows:
    """The rows of Parquet files with the columns of candidates; whichever columns are there are used."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._files = ds.dataset(list(paths), format="parquet")
        self.columns = frozenset(self._files.schema.names)

    @cached_property
    def labels(self) -> dict[str, list[tuple[str, int]]]:
        """The values of the label columns with their counts, the most frequent first."""
        names = [name for name in LABELS if name in self.columns]
        counts: dict[str, dict[str, int]] = {name: {} for name in names}
        for batch in self._files.scanner(columns=names, **READING).to_batches():
            for name in names:
                for one in pc.value_counts(batch.column(name)).to_pylist():
                    value = KEPT if name == "dropped" and one["values"] is None else str(one["values"])
                    counts[name][value] = counts[name].get(value, 0) + one["counts"]
        return {
            name: sorted(found.items(), key=lambda one: (-one[1], one[0])) for name, found in counts.items()
        }

    def matching(self, asked: Mapping[str, str]) -> ds.Expression | None:
        """The filter of a page's fields; raises ValueError for a bound that is no number."""
        wanted = []
        for name in self.columns & set(LABELS):
            if value := asked.get(name):
                field = ds.field(name)
                wanted.append(field.is_null() if name == "dropped" and value == KEPT else field == value)
        for name in self.columns & set(RANGES):
            if low := asked.get(f"{name}_from"):
                wanted.append(ds.field(name) >= _number(name, low))
            if high := asked.get(f"{name}_to"):
                wanted.append(ds.field(name) <= _number(name, high))
        if text := asked.get("text"):
            found = [
                pc.match_substring(ds.field(name), text, ignore_case=asked.get("case") != "on")
                for name in TEXTS
                if name in self.columns
            ]
            if found:
                either = found[0]
                for one in found[1:]:
                    either = either | one
                wanted.append(either)
        whole = None
        for one in wanted:
            whole = one if whole is None else whole & one
        return whole

    def count(self, matching: ds.Expression | None) -> int:
        """How many rows a filter matches."""
        return int(self._files.count_rows(filter=matching, **READING))

    def page(self, matching: ds.Expression | None, start: int, rows: int) -> list[dict[str, Any]]:
        """Some matching rows from `start` on in stored order, without their long texts."""
        names = [name for name in LISTED if name in self.columns]
        batches = self._files.scanner(columns=names, filter=matching, **READING).to_batches()
        return list(islice((row for batch in batches for row in batch.to_pylist()), start, start + rows))

    def siblings(self, problem_id: str) -> list[dict[str, Any]]:
        """All columns of a problem's rows, 64 at most: only the row groups that hold one are read whole."""
        names, same = sorted(self.columns - {"minhash"}), ds.field("problem_id") == problem_id
        groups = (group for file in self._files.get_fragments() for group in file.split_by_row_group())
        holding = (group for group in groups if group.count_rows(filter=same, **READING))
        found = (row for group in holding for row in group.to_table(columns=names, filter=same).to_pylist())
        return list(islice(found, MOST_SIBLINGS))


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{name}: {text!r} is no number") from error


def marked(text: str, spans: Sequence[Mapping[str, Any]]) -> Markup:
    """A text with its passages in other languages marked; without such passages its formulas are shown."""
    if not spans:
        return formulas.shown(text)
    parts, end = list[Markup](), 0
    for span in sorted(spans, key=lambda one: int(one["start"])):
        start, stop = max(end, span["start"]), max(end, span["end"])
        parts += [
            escape(inert(text[end:start], keep="\n\t")),
            Markup('<mark title="{}">{}</mark>').format(
                span["language"], inert(text[start:stop], keep="\n\t")
            ),
        ]
        end = stop
    return Markup("").join([*parts, escape(inert(text[end:], keep="\n\t"))])


def application(title: str, rows: Rows) -> "Starlette":
    """The ASGI application: `/` lists rows, `/problem/ID` shows a problem's rows side by side."""
    from jinja2 import Environment, StrictUndefined
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "inert": lambda text: inert(str(text), keep="\n\t"),
        "formulas": lambda text: formulas.shown(str(text)),
        "marked": marked,
    }
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))

    def answer(status: int = 200, **values: Any) -> "Response":
        empty = dict[str, Any](
            asked={}, found=[], siblings=[], problem="", fault="", total=None, start=0, more=""
        )
        page = dict[str, Any](title=title, labels=rows.labels, columns=rows.columns, ranges=RANGES)
        headers = {
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return HTMLResponse(template.render(page | empty | values), status, headers)

    def listed(request: "Request") -> "Response":
        asked = {name: value for name, value in request.query_params.items() if value and name != "start"}
        start = request.query_params.get("start", "0")
        first = int(start) if start.isascii() and start.isdecimal() and len(start) < 12 else 0
        try:
            matching = rows.matching(asked)
        except ValueError as error:
            return answer(400, asked=asked, fault=str(error))
        found = rows.page(matching, first, PAGE_ROWS + 1)
        more = urlencode(asked | {"start": str(first + PAGE_ROWS)}) if len(found) > PAGE_ROWS else ""
        total = (
            None if asked.get("text") else rows.count(matching)
        )  # to count texts, all of them would be read
        return answer(asked=asked, found=found[:PAGE_ROWS], total=total, start=first, more=more)

    def problem(request: "Request") -> "Response":
        identifier = request.path_params["identifier"]
        siblings = rows.siblings(identifier)
        fault = "" if siblings else f"no row has the problem_id {identifier}"
        return answer(200 if siblings else 404, problem=identifier, siblings=siblings, fault=fault)

    return Starlette(
        routes=[Route("/", listed), Route("/problem/{identifier:path}", problem)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES)],
    )


def serve(title: str, paths: Sequence[str], port: int) -> None:
    """Serves the page on this machine's loopback until Ctrl-C; raises OSError when the port is taken."""
    import uvicorn

    uvicorn.run(application(title, Rows(paths)), host="127.0.0.1", port=port, log_level="warning")
