r"""SQL queries: the answer's rows against those of the reference query, both run by SQLite in the sandbox.

Rows are a multiset unless the problem says `ordered`. NULL equals NULL only, 2 equals 2.0, reals agree to
1e-9, text and blobs are exact; column names do not count and column order does. Two queries that agree on the
problem's rows are not thereby equivalent. Other dialects than SQLite's are not understood.
"""

import json
import math
import re
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from distill.recipe import Verification
from distill.records import Outcome, Problem, Verdict
from distill.sandbox import Boxes, InfraError, Job, boxes
from distill.text import boxed as answer_boxes
from distill.verifiers.code import blocks

VERSION = "sql/1"
MEMO_REFERENCES = 256
LABELS = frozenset(("sql", "sqlite", "sqlite3", "mysql", "postgres", "postgresql", "tsql", "plsql"))
_START = re.compile(
    r"(?:[\s(]|--[^\n]*\n|/\*(?:(?!\*/).)*+\*/)*+(?:select|with|values)", re.IGNORECASE | re.DOTALL
)
INSIDE_SHARE = 0.9
"""Share of the sandbox's time limit at which SQLite stops by itself and says so."""


@dataclass(frozen=True, slots=True)
class Database:
    """What a query is run on."""

    schema: str
    rows: str
    ordered: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Rows, or why there are none: `outcome` is `"correct"`, `"wrong"`, `"timeout"` or
    `"unparsed_reference"`."""

    outcome: Outcome
    detail: str
    seconds: float
    rows: tuple[tuple[Any, ...], ...] = ()


def judge(problem: Problem, answer: str, section: Verification) -> Verdict | Future[Verdict]:
    """The verdict on the query in an answer, or a future of it."""
    try:
        database = parse(problem.tests or "")
    except ValueError as error:
        return Verdict("unparsed_reference", None, str(error), 0.0, VERSION)
    if not bare(problem.reference):
        return Verdict("unparsed_reference", None, "no reference query", 0.0, VERSION)
    query = extract(answer)
    if query is None:
        return Verdict("no_answer", None, "no SQL block, no box, and no query to begin with", 0.0, VERSION)
    opened = boxes(section.sandbox, section.workers)
    return opened.submit(_verdict, opened, database, bare(problem.reference), query)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """Correct when the database can be filled and the reference query gives rows that equal themselves."""
    verdict = judge(problem, f"```sql\n{bare(problem.reference)}\n```", section)
    return verdict if isinstance(verdict, Verdict) else verdict.result()


def parse(text: str) -> Database:
    """The database of a problem's tests; raises ValueError with the cause."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the tests are no JSON") from None
    texts = (data.get("schema"), data.get("rows", "")) if isinstance(data, dict) else (None,)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("the tests are no object with the SQL texts schema and rows")
    if not isinstance(data.get("ordered", False), bool):
        raise ValueError("ordered is neither true nor false")
    return Database(data["schema"], data.get("rows", ""), data.get("ordered", False))


def extract(answer: str) -> str | None:
    """The query of an answer: its last SQL block, else its last box, else an answer that is a query from its
    start."""
    codes = [
        block.text
        for block in blocks.blocks(answer)
        if block.label in LABELS or (not block.label and _starts(block.text))
    ]
    query = codes[-1] if codes else answer_boxes.any_boxed(answer) or (answer if _starts(answer) else "")
    return query.strip() or None


def bare(reference: str | None) -> str:
    """The reference query without a fence around it."""
    text = (reference or "").strip()
    return (extract(text) or "") if "```" in text else text


def _starts(text: str) -> bool:
    return _START.match(text) is not None


def _verdict(opened: Boxes, database: Database, reference: str, query: str) -> Verdict:
    """Runs both queries; in a thread of the boxes."""
    try:
        wanted = _wanted(opened, database, reference)
        if wanted.outcome != "correct":
            cause = f"the reference query: {wanted.detail}"
            return Verdict("unparsed_reference", query, cause, wanted.seconds, VERSION)
        given = wanted if query == reference else _run(opened, database, query)
    except InfraError as error:
        return Verdict("error", query, f"infra_error: {error}", 0.0, VERSION)
    if given.outcome != "correct":
        return Verdict(given.outcome, query, given.detail, given.seconds, VERSION)
    detail = difference(wanted.rows, given.rows, database.ordered)
    return Verdict("wrong" if detail else "correct", query, detail, given.seconds, VERSION)


@lru_cache(MEMO_REFERENCES)
def _wanted(opened: Boxes, database: Database, reference: str) -> Found:
    """The reference's rows, remembered: the traces of a problem come one after the other."""
    return _run(opened, database, reference)


def _run(opened: Boxes, database: Database, query: str) -> Found:
    """The rows of one query; raises InfraError."""
    data: dict[str, Any] = {"schema": database.schema, "rows": database.rows, "query": query}
    data["seconds"] = opened.limits.timeout_seconds * INSIDE_SHARE
    ran = opened.run(Job("query", data))
    if ran.ending == "timeout":
        return Found("timeout", "stopped at the time limit", ran.seconds)
    if ran.ending in ("memory", "output"):
        return Found("wrong", f"more {ran.ending} than verification.sandbox.{ran.ending}_mb", ran.seconds)
    if ran.ending != "exit" or ran.code:
        said = ran.stderr[-200:].decode(errors="replace")
        raise InfraError(f"the query's process ended by {ran.ending} {ran.code}: {said}")
    report = json.loads(ran.result)
    if "rows" in report:
        rows = [
            tuple(bytes.fromhex(cell["blob"]) if isinstance(cell, dict) else cell for cell in row)
            for row in report["rows"]
        ]
        return Found("correct", "", ran.seconds, tuple(rows))
    if "timeout" in report:
        return Found("timeout", "stopped at the time limit", ran.seconds)
    if "schema_error" in report:
        return Found("unparsed_reference", f"the schema or the rows: {report['schema_error']}", ran.seconds)
    return Found("wrong", report["error"], ran.seconds)


def difference(wanted: tuple[tuple[Any, ...], ...], given: tuple[tuple[Any, ...], ...], ordered: bool) -> str:
    """How two results differ, or nothing when they are the same."""
    if len(wanted) != len(given):
        return f"{len(given)} rows, expected {len(wanted)}"
    results = (wanted, given) if ordered else (sorted(wanted, key=_key), sorted(given, key=_key))
    for one, other in zip(*results, strict=True):
        if len(one) != len(other):
            return f"{len(other)} columns, expected {len(one)}"
        if not all(map(same, one, other)):
            return f"row {other!r:.300}, expected {one!r:.300}"
    return ""


def same(one: Any, other: Any) -> bool:
    """Equality of two values of SQLite."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        exact = isinstance(one, int) and isinstance(other, int)
        return one == other if exact else math.isclose(one, other, rel_tol=1e-9)
    return type(one) is type(other) and bool(one == other)


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A place in an order in which equal rows meet: first what is exact, then numbers, rounded, since 0.1 +
    0.2 must meet 0.3."""
    numbers = tuple(value for value in row if isinstance(value, (int, float)))
    exact = (f"{type(value).__name__}:{value!r}" * (not isinstance(value, (int, float))) for value in row)
    return tuple(exact), tuple(float(f"{value:.8g}") for value in numbers), numbers
