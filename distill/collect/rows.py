"""Collect: rows of a source become problems that a teacher may be asked, each checked before it costs
anything.

Every row becomes one problem. One that no teacher should be asked has `unusable` set to a reason and
`detail_unusable` to what exactly is wrong: `bad_row`, `empty`, `too_long`, `needs_image`, `no_reference`,
`exact_duplicate`, `reference_fails`. The last one means that the verifier does not accept the reference as an
answer to itself: no completion could ever be found correct. Whether a reference is *true* is not checked.
Lone surrogates and NUL, which neither Parquet nor a tokenizer takes, become U+FFFD.

What stands apart because of other texts is found when all problems are there: `contaminated` questions are a
benchmark's or close to one, and a `near_duplicate` repeats an earlier problem of any source with the same
numbers in nearly the same words.
"""

import json
import math
import os
import re
import sys
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from distill import duplicates, verifiers
from distill.collect import options
from distill.contamination import Match
from distill.files import columns, readers, ready
from distill.recipe import Duplicates, ProblemSource, RecipeError, Verification, names_in
from distill.records import Problem, Verdict
from distill.store import digest
from distill.text import language

VERSION = 4
MAX_QUESTION_CHARACTERS = 100_000
"""About 25,000 tokens: with a longer question a 32k context has no room to think."""
LOOK_AHEAD_ROWS = 256
# fmt: off
PLACEHOLDERS = frozenset((
    "", "proof", "see proof", "qed", "q.e.d", "notfound", "not found", "answer not found", "no answer",
    "no answer found", "not available", "not provided", "not given", "none given", "n/a", "nan", "null",
    "tbd", "todo", "omitted", "see solution", "see the solution", "see solution below",
    "see the solution below", "see above", "see below", "see explanation", "see the explanation",
    "see answer", "see attached", "refer to solution", "refer to the solution", "as shown",
    "as shown above", "shown above", "-", "--", "---", "?", "??", "???", "…", "略", "证明略", "答案略",
    "见解析", "见答案", "无答案",
))
# fmt: on
"""What NuminaMath and others write where a problem has no short answer, without the signs around it."""
SIGNS = " \t\r\n$*_()[]{}.!:;\u3002"
WRAPPERS = ("\\boxed{", "\\text{", "\\textbf{", "\\mathrm{")
CHECKERS = ("generated_checker", "checker")
"""Columns of programs that judge outputs of their problem (Codeforces): such problems have no one right
output."""
IMAGE = re.compile(r"!\[[^\]\n]*\]\(|\\includegraphics|<image|<img\b", re.IGNORECASE)
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

ALIKE = Duplicates()
"""Problems are near-duplicates by the default settings: another threshold for traces asks no teacher
again."""

Row = dict[str, Any]
Seen = dict[bytes, str]
Mark = tuple[str, str]
"""Reason and detail."""


class Unusable(ValueError):
    """A row that makes no usable problem: the reason and what exactly is wrong."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def collect(
    rows: Iterable[Row], source: ProblemSource, verification: Verification, seen: Seen | None = None
) -> Iterator[Problem]:
    """One problem for each row, in order; `seen` carries the questions of one source over to the next.

    References are checked some rows ahead, in as many threads as there are verifier processes.
    """
    pattern = _pattern(source)
    seen = {} if seen is None else seen
    window: deque[tuple[Problem, Future[Verdict] | None]] = deque()
    threads = ThreadPoolExecutor(verification.workers or os.cpu_count() or 1, thread_name_prefix="collect")
    try:
        for row in rows:
            problem = _problem(row, source, pattern, verification)
            pending = (
                threads.submit(verifiers.judge_reference, problem, verification)
                if problem.unusable is None
                else None
            )
            window.append((problem, pending))
            if len(window) > LOOK_AHEAD_ROWS:
                yield _checked(*window.popleft(), seen)
        while window:
            yield _checked(*window.popleft(), seen)
    finally:
        threads.shutdown(cancel_futures=True)


def apart(problems: Iterable[Problem], contaminated: Iterable[Match], near: bool) -> dict[int, Mark]:
    """Why usable problems should not be asked because of other texts, by row; with `near` some 3 kB are held
    for each problem."""
    marks: dict[int, Mark] = {match.row: ("contaminated", str(match)) for match in contaminated}
    if near:
        found = [
            (row, _question_only(problem)) for row, problem in enumerate(problems) if problem.unusable is None
        ]
        found.sort(
            key=lambda item: item[0] not in marks
        )  # so that copies of a contaminated problem go with it
        for copy, stays in duplicates.problems([problem for _, problem in found], ALIKE).items():
            first = found[stays][1]
            marks.setdefault(
                found[copy][0],
                ("near_duplicate", f"nearly the same question as {first.problem_id} of {first.source}"),
            )
    return marks


def marked(problems: Iterable[Problem], marks: Mapping[int, Mark], first: int = 0) -> Iterator[Problem]:
    """The problems, one for one, with what stands apart marked; `first` is the row number of the first."""
    for row, problem in enumerate(problems, start=first):
        reason, detail = marks.get(row, (problem.unusable, problem.detail_unusable))
        yield replace(problem, unusable=reason, detail_unusable=detail)


def problem_id(kind: str, question: str, reference: str | None, tests: str | None) -> str:
    """The first 16 hex digits of the SHA-256 of what makes a problem that problem."""
    return digest(json.dumps([kind, question, reference, tests], ensure_ascii=False))[:16]


def _pattern(source: ProblemSource) -> re.Pattern[str] | None:
    """The compiled `reference_pattern`; no flags are set (`.` stops at a line's end), write `(?s)` or `(?m)`
    inside for others."""
    if source.reference_pattern is None:
        return None
    try:
        pattern = re.compile(source.reference_pattern)
    except re.error as error:
        raise RecipeError(
            f"problem source {source.name!r}: reference_pattern is no regular expression ({error})"
        ) from error
    if pattern.groups == 0:
        raise RecipeError(
            f"problem source {source.name!r}: reference_pattern has no group; put the reference in "
            "parentheses"
        )
    return pattern


def _problem(
    row: Row, source: ProblemSource, pattern: re.Pattern[str] | None, verification: Verification
) -> Problem:
    """The problem of a row with all that can be seen without a verifier and without the rows before it."""
    question, reference, tests, response, wrong = "", None, None, None, None
    try:
        question = _question(row, source)
        tests = _tests(row, source)
        reference = _reference(row, source, pattern)
        question, reference = _with_options(row, source, question, reference)
        _require(source.kind, question, reference, tests, verification)
        response = _response(row, source)
    except Unusable as found:
        wrong = found
    return Problem(
        problem_id=problem_id(source.kind, question, reference, tests),
        source=source.name,
        kind=source.kind,
        question=question,
        reference=reference,
        tests=tests,
        language=_language(row, source, question),
        licence=source.licence,
        response=response,
        unusable=wrong.reason if wrong else None,
        detail_unusable=_storable(wrong.detail) if wrong else None,
    )


def _question(row: Row, source: ProblemSource) -> str:
    if readers.BAD_ROW in row:
        raise Unusable("bad_row", str(row[readers.BAD_ROW]))
    texts = list[str]()
    for name in names_in(source.question):
        value = columns.value(row, name)
        if value is None:
            present = ", ".join(str(name) for name in row)[:200]
            absent = columns.holder(name, row) is None
            raise Unusable("empty", f"no {name!r} in {present}" if absent else f"column {name!r} is null")
        try:
            texts.append(_storable(columns.question(value)).strip())
        except ValueError as error:
            raise Unusable("bad_row", f"column {name!r} {error}") from error
    return "\n\n".join(filter(None, texts))


def _reference(row: Row, source: ProblemSource, pattern: re.Pattern[str] | None) -> str | None:
    value = columns.value(row, source.reference) if source.reference else None
    if isinstance(value, list) and len(value) == 1:
        (value,) = value  # OlympiadBench and others wrap a single answer in a list
    elif source.kind == "math" and isinstance(value, str):
        value = _alone(value)
    if value is None:
        return None
    if not isinstance(value, (str, int, float, Decimal)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise Unusable(
            "no_reference", f"column {source.reference!r} is {columns.shown(value)}, not text or a number"
        )
    text = _storable(str(value))
    text = (
        text.strip("\r\n") if source.kind == "code" else text.strip()
    )  # HumanEval's solutions begin with their indentation
    if pattern is None:
        return text if text.strip() else None
    match = pattern.search(text)
    if match is None or match.group(1) is None:
        raise Unusable("no_reference", f"reference_pattern does not match in {text[-80:]!r}")
    return match.group(1).strip() or None


def _with_options(
    row: Row, source: ProblemSource, question: str, reference: str | None
) -> tuple[str, str | None]:
    """The question with the options of a multiple-choice row, and the letter of its answer."""
    if not source.options or not question:
        return question, reference
    value = columns.value(row, source.reference or "")
    answer = value if isinstance(value, (int, Decimal)) else reference
    try:
        question, reference = options.put_in(row, question, source.options, answer, source.reference)
    except ValueError as error:
        raise Unusable("no_reference", str(error)) from error
    return _storable(question), reference


def _tests(row: Row, source: ProblemSource) -> str | None:
    """The tests as text; an object is written as JSON. What a text has to be, the verifier of its kind
    knows."""
    value = columns.value(row, source.tests) if source.tests else None
    if value is None or value == "":
        return None
    beside = {
        name: columns.value(row, column)
        for name, column in (("setup", source.setup), ("entry_point", source.entry_point))
        if column and columns.holder(column, row)
    }
    if source.kind == "code" and any(row.get(column) for column in CHECKERS):
        beside["checker"] = True
    if source.kind == "sql" and isinstance(value, str) and not value.lstrip().startswith("{"):
        value = {"schema": value}  # a script that makes and fills the database
    value = {"tests": value, **beside} if beside else value
    try:
        return _storable(value if isinstance(value, str) else json.dumps(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise Unusable("bad_row", f"column {source.tests!r} is no JSON: {error}") from error


def _response(row: Row, source: ProblemSource) -> str | None:
    """The ready completions of a row, packed into one text."""
    wanted = names_in(source.response)
    if not wanted:
        return None
    try:
        found = columns.completions(row, wanted, names_in(source.thinking))
    except ValueError as error:
        raise Unusable("bad_row", str(error)) from error
    said = [(_storable(one.text), one.finish_reason) for one in found if one.text.strip()]
    if not said:
        raise Unusable("empty", f"column {', '.join(wanted)!r} has no ready completion")
    return ready.pack(said)


def _alone(text: str) -> Any:
    """The one text in a list that is written as text (`['7']`); a list of numbers is an answer as it is."""
    inside = re.fullmatch(r"""\s*\[\s*(["'])([^"']*)\1\s*\]\s*""", text)
    return inside[2] if inside else text


def _is_placeholder(reference: str) -> bool:
    """Whether a reference says only that the answer stands elsewhere, or that there is none."""
    bare = reference.strip(SIGNS)
    for wrapper in WRAPPERS:
        bare = bare.removeprefix(wrapper).strip(SIGNS)
    return " ".join(bare.casefold().split()) in PLACEHOLDERS and (
        bare != "" or not set("()[]{}") & set(reference)
    )


def _require(
    kind: str, question: str, reference: str | None, tests: str | None, verification: Verification
) -> None:
    """Raises Unusable when the question cannot be asked, or an answer to it could not be judged."""
    if not question:
        raise Unusable("empty", "the question is blank")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise Unusable("too_long", f"{len(question)} characters, {MAX_QUESTION_CHARACTERS} at most")
    if kind in ("math", "choice") and IMAGE.search(question):
        raise Unusable("needs_image", "the question shows an image that no text model sees")
    by_majority = verifiers.by_majority(kind, reference, verification)
    for name in () if by_majority else verifiers.rules(kind).needs:
        if {"reference": reference, "tests": tests}[name] is None:
            raise Unusable("no_reference", f"a {kind} problem needs {name}, and the row has none")
    if kind == "math" and reference is not None and _is_placeholder(reference):
        raise Unusable("no_reference", f"{reference!r} stands where an answer should")


def _checked(problem: Problem, pending: Future[Verdict] | None, seen: Seen) -> Problem:
    """The problem after the last two checks: an earlier row asks it, or its own reference fails."""
    if pending is None:
        return problem
    key = question_key(problem.question)
    if key in seen:
        return replace(problem, unusable="exact_duplicate", detail_unusable=f"same question as {seen[key]}")
    verdict = pending.result()
    if verdict.outcome not in ("correct", "unverified"):
        detail = f"{verdict.outcome} by {verdict.verifier}: {verdict.detail}".rstrip(": ")
        return replace(problem, unusable="reference_fails", detail_unusable=_storable(detail))
    seen[key] = problem.problem_id
    return problem


def _question_only(problem: Problem) -> Problem:
    return Problem(
        problem.problem_id,
        sys.intern(problem.source),
        problem.kind,
        problem.question,
        problem.reference,
    )


def question_key(question: str) -> bytes:
    """Equal for questions that differ in white space or in how accents are composed only: case can matter (X
    and x)."""
    text = " ".join(unicodedata.normalize("NFC", question).split())
    return blake2b(text.encode(), digest_size=16).digest()


def _language(row: Row, source: ProblemSource, question: str) -> str:
    """The recipe's constant, the row's own column, or what the script of the question tells."""
    said: Any = source.language
    if said and said.startswith("@"):
        said = columns.value(row, said[1:])
    if isinstance(said, str) and re.fullmatch(r"[A-Za-z]{2,3}([-_]\w+)*", said.strip()):
        return re.split("[-_]", said.strip().lower())[0]
    return language.detect(question[:MAX_QUESTION_CHARACTERS]) if question else "en"


def _storable(text: str) -> str:
    return UNSTORABLE.sub("\ufffd", text)
