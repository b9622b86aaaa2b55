"""Anybody's rows: traces in JSON Lines or Parquet files, for `verify` and `curate` outside a recipe.

Columns that are used: `id`, `problem_id`, `kind`, `question`, `reference`, `tests`, and `response` (the raw
completion, with or without think tags) or `thinking` and `answer`; `finish_reason`, `outcome` and the other
fields of a candidate when they are there. Where a file lacks some of them, columns are read by the names of
public sets, and this is told (`reading.py`). Unknown columns are kept. A number that is negative, not finite
or beyond 64 bits counts as absent. A row that cannot be used (torn line, missing or mistyped field, NUL, lone
surrogate, bytes that are not UTF-8, a date that no calendar has) never ends a run: it is a row with the
outcome `error` and the cause. A file that cannot be opened is an OSError, a damaged one an
UnknownFormatError. JSON Lines are read twice, the first time for their columns; values of mixed types become
JSON text.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast, get_args

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from distill.files import guess, reading
from distill.files.readers import BAD_ROW, KNOWN, UNREADABLE, Row, file_rows
from distill.files.reading import Reading
from distill.progress import say
from distill.records import Candidate, Kind, Opinions, Outcome, Problem, Trace, Verdict
from distill.store import digest, schema
from distill.text import endings, language, thinking

DEFAULT_KIND = "math"
OURS = frozenset({"response", "model", "license", BAD_ROW, *schema.schema(Candidate).names})
LARGEST = 2**63 - 1
"""Of an integer that a column holds."""
KINDS, OUTCOMES = get_args(Kind), get_args(Outcome)
OPINIONS = tuple(name for name in Opinions.__annotations__ if name != "majority_share")
NO_OPINIONS = Opinions()


class UnusableRowError(ValueError):
    """A row that is no trace; the message says why."""


class UnknownFormatError(ValueError):
    """A file whose name does not say what it is, or that is not what its name says; the message tells
    which."""


def candidates_from_all(path: str) -> Iterator[Candidate]:
    """The candidates of a file, of all files of a folder in order of their names, or of a dataset folder."""
    filesystem, name = fsspec.core.url_to_fs(path)
    if not filesystem.isdir(name):
        require_question(path)
        yield from candidates_from(path)
        return
    inside = f"{path}/candidates" if filesystem.isdir(f"{name}/candidates") else path
    found = sorted(
        one.rsplit("/", 1)[1] for one in filesystem.ls(fsspec.core.url_to_fs(inside)[1], detail=False)
    )
    known = [f"{inside}/{one}" for one in found if one.endswith(KNOWN)]
    if not known:
        raise UnknownFormatError(f"no file in {path} ends in {', '.join(KNOWN)}")
    for one in known:  # before the first row is worked on
        require_question(one)
    siblings: Counter[str] = Counter()
    for one in known:
        yield from candidates_from(one, siblings)


def require_question(path: str) -> None:
    """Raises UnknownFormatError for a file without a column that holds the question: all its rows would count
    as one problem, and their prompts would be empty."""
    found = reading_of(path)
    if found.names and not found.guess.question:
        columns = guess.listed(found.names)
        raise UnknownFormatError(
            f"{path} has no column question: rename the one that holds it (the columns are {columns}); "
            f"distill inspect {path} shows what they hold"
        )


def reading_of(path: str) -> Reading:
    """How the rows of a file are read; raises UnknownFormatError where no column holds a completion."""
    found = reading.of(_rows(path))
    if found.names and not found.complete:
        raise UnknownFormatError(
            f"{path} has no completion: no column response, none of another known name, and no answer; "
            f"rename the one that holds it (the columns are {guess.listed(found.names)}); distill inspect "
            f"{path} shows what they hold"
        )
    return found


def candidates_from(path: str, siblings: Counter[str] | None = None) -> Iterator[Candidate]:
    """Each row of a file as a candidate with the outcome that it carries, or `unverified`; unusable rows are
    `error`.

    `siblings` counts the traces of each problem; it carries them over from one file to the next.
    """
    file, found_in = path.rsplit("/", 1)[-1], reading_of(path)
    rows = traces_from(path, siblings, endings.Untold(f"{path} has the"), found_in)
    for number, (row, found) in enumerate(rows):
        if isinstance(found, Trace) and found_in.guess.question and not found.problem.question.strip():
            found = "the row has no question"
        if isinstance(found, Trace):
            yield Candidate(found, _verdict(row), _opinions(row), extra=_extra(row, found_in.used))
        else:
            yield _unusable(row, found, digest(f"{file}\n{number}\n{found}")[:16])


def _unusable(row: Row, cause: str, own_id: str) -> Candidate:
    """What is left of a row that is no trace; it is a problem of its own unless it names another."""
    try:
        source = _text(row, "source")
    except UnusableRowError:
        source = None
    problem = Problem(_identifier(row, "problem_id") or own_id, source or "file", "open", "", None)
    trace = Trace(problem, _identifier(row, "id") or own_id, 0, None, "", True, "error", failure=cause)
    return Candidate(trace, Verdict("error", None, cause), extra=_extra(row))


def traces_from(
    path: str,
    siblings: Counter[str] | None = None,
    untold: endings.Untold | None = None,
    found_in: Reading | None = None,
) -> Iterator[tuple[Row, Trace | str]]:
    """Each completion of a file's rows with its row and its trace, or with the cause why it is none; `untold`
    tells the endings that are not known."""
    siblings = Counter() if siblings is None else siblings
    found_in = found_in or reading_of(path)
    if told := found_in.told():
        say(f"{path} is read with {told}", once=f"reading/{path}")
    for given in _rows(path):
        for row, ours in found_in.rows(given):
            if untold is not None and (word := ours.get("finish_reason")) is not None:
                untold.see(word)
            try:
                yield row, _trace(ours, siblings)
            except UnusableRowError as unusable:
                yield row, str(unusable)


def outline(path: str) -> tuple[pa.Schema, int]:
    """The columns and the number of rows of a file; for JSON Lines all of it is read, and what has mixed
    types becomes text."""
    if path.endswith(".parquet"):
        with _told(path), fsspec.open(path, "rb") as file:
            parquet = pq.ParquetFile(file)
            columns, rows = parquet.schema_arrow.remove_metadata(), int(parquet.metadata.num_rows)
        several = reading_of(path).several  # each completion has a row of its own
        kept = [pa.field(one.name, pa.large_string()) if one.name in several else one for one in columns]
        return pa.schema(kept), rows
    kinds: dict[str, set[type]] = {}
    count = 0
    for row in _rows(path):
        count += 1
        for name, value in row.items():
            if name != BAD_ROW:
                kinds.setdefault(_storable(name), set()).add(_kind(value))
    return pa.schema(
        [pa.field(name, _arrow_type(found - {type(None)})) for name, found in kinds.items()]
    ), count


def _rows(path: str) -> Iterator[Row]:
    if not path.endswith(KNOWN):
        raise UnknownFormatError(
            f"cannot tell the format of {path}: its name must end in one of {', '.join(KNOWN)}"
        )
    with _told(path):
        yield from file_rows(path)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Names the file when it turns out to be damaged."""
    try:
        yield
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:  # of the system; a decoder's has no number
            raise
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnknownFormatError(f"{path} cannot be read to its end: {cause[:300]}") from error


def _trace(row: Row, siblings: Counter[str]) -> Trace:
    """The trace of a row; raises UnusableRowError."""
    if BAD_ROW in row:
        raise UnusableRowError(str(row[BAD_ROW]))
    problem = _problem(row)
    parts = _parts(row)
    ending = endings.ending(row.get("finish_reason")) or endings.UNKNOWN
    index = siblings[problem.problem_id]
    siblings[problem.problem_id] += 1
    return Trace(
        problem=problem,
        id=_identifier(row, "id")
        or digest(f"{problem.problem_id}\n{index}\n{parts.thinking}\n{parts.answer}")[:16],
        sample_index=_number(row, "sample_index", int, index),
        thinking=parts.thinking,
        answer=parts.answer,
        think_closed=parts.think_closed,
        finish_reason=ending.reason,
        prompt_tokens=_number(row, "prompt_tokens", int, None),
        thinking_tokens=_number(row, "thinking_tokens", int, None),
        answer_tokens=_number(row, "answer_tokens", int, None),
        teacher=_text(row, "teacher") or _text(row, "model") or "unknown",
        seed=_number(row, "seed", int, None),
        cost_usd=_number(row, "cost_usd", float, None),
        failure=_text(row, "failure") or ending.failure,
    )


def _problem(row: Row) -> Problem:
    kind = _text(row, "kind") or DEFAULT_KIND
    if kind not in KINDS:
        raise UnusableRowError(f"kind is {kind!r}: write one of {', '.join(KINDS)}")
    question, reference, tests = _text(row, "question") or "", _plain(row, "reference"), _plain(row, "tests")
    return Problem(
        problem_id=_identifier(row, "problem_id")
        or digest(json.dumps([kind, question, reference, tests], ensure_ascii=False))[:16],
        source=_text(row, "source") or "file",
        kind=cast(Kind, kind),
        question=question,
        reference=reference,
        tests=tests,
        language=_text(row, "language") or _language(question),
        licence=_text(row, "licence") or _text(row, "license") or "unknown",
    )


@lru_cache(64)
def _language(question: str) -> str:
    """The language of a question, which siblings share."""
    return language.detect(question)


def _parts(row: Row) -> thinking.Parts:
    response = _text(row, "response")
    if response is not None:
        return thinking.split_any(response)
    answer, thought = _text(row, "answer"), _text(row, "thinking")
    closed = row.get("think_closed") is not False
    if answer is None and (closed or thought is None):
        raise UnusableRowError("no response, and no answer either")
    return thinking.Parts(thought, answer or "", closed)


def _text(row: Row, name: str) -> str | None:
    """A text field that may be absent; raises UnusableRowError for another type and for characters that no
    text has."""
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise UnusableRowError(f"{name} is {type(value).__name__}, not text")
    return _judgeable(name, value)


def _judgeable(name: str, text: str) -> str:
    """The text itself; raises UnusableRowError for characters that no text has."""
    place = text.find("\0")
    if place < 0 and not text.isascii():
        try:
            text.encode()  # far faster than to look for surrogates
        except UnicodeEncodeError as error:
            place = error.start
    if place >= 0:
        raise UnusableRowError(f"{name} has the character U+{ord(text[place]):04X} at {place}")
    return text


def _plain(row: Row, name: str) -> str | None:
    """A field as text: a number or an object as JSON; what is not a number counts as absent, as data frames
    mean it."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return _text(row, name)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return f"{value:f}"
    return _judgeable(name, json.dumps(value, ensure_ascii=False, default=_jsonable))


def _jsonable(value: Any) -> Any:
    """What JSON has no type for: a decimal number as a number, a date and all else as text."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _identifier(row: Row, name: str) -> str | None:
    """A name or number as text; data frames make floats of whole numbers with gaps among them."""
    value = row.get(name)
    if isinstance(value, (float, Decimal)) and math.isfinite(value):
        value = int(value) if value == int(value) else str(value)
    return _storable(str(value)) if isinstance(value, (str, int)) and value != "" else None


def _number(row: Row, name: str, kind: type, default: Any) -> Any:
    """A number as its column can hold it, or the default."""
    value = row.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return default
    held = 0 <= value <= LARGEST and (kind is not int or value == int(value))  # NaN is on no side of 0
    return kind(value) if held else default


def _verdict(row: Row) -> Verdict:
    """The verdict that a row carries."""
    outcome = row.get("outcome")
    if outcome not in OUTCOMES:
        unknown = f"unknown outcome {_storable(str(outcome))[:100]!r}"
        return Verdict("unverified", None, "the row has no outcome" if outcome is None else unknown)
    extracted, detail, verifier = (_said(row, name) for name in ("extracted", "detail", "verifier"))
    return Verdict(
        cast(Outcome, outcome),
        extracted,
        detail or "",
        _number(row, "verify_seconds", float, 0.0),
        verifier or "file",
    )


def _opinions(row: Row) -> Opinions:
    """The opinions of others that a row carries."""
    texts = {name: said for name in OPINIONS if (said := _said(row, name)) is not None}
    share = _number(row, "majority_share", float, None)
    return Opinions(**texts, majority_share=share) if texts or share is not None else NO_OPINIONS


def _said(row: Row, name: str) -> str | None:
    """A text that is worth nothing if it is anything else."""
    value = row.get(name)
    return _storable(value) if isinstance(value, str) else None


def _extra(row: Row, used: Collection[str] = ()) -> str | None:
    """The columns of a row that are not ours and not `used` for ours, as JSON, together with those that came
    along before."""
    known = {*OURS, *used}
    unknown = {name: value for name, value in row.items() if name not in known and value is not None}
    before = row.get("extra")
    if before is not None:
        earlier = _object(before)
        if earlier is not None and not unknown:
            return _said(row, "extra")
        unknown = {**unknown, "extra": before} if earlier is None else earlier | unknown
    return json.dumps(unknown, ensure_ascii=True, default=_jsonable) if unknown else None


def _object(text: Any) -> Row | None:
    """The JSON object that a text holds."""
    try:
        found = json.loads(text) if isinstance(text, str) and text.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _kind(value: Any) -> type:
    """The type of a JSON value, as far as columns care: integers beyond 64 bits are objects."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return object
    return type(value)


def _arrow_type(found: set[type]) -> pa.DataType:
    if found == {bool}:
        return pa.bool_()
    if found == {int}:
        return pa.int64()
    return pa.float64() if found in ({float}, {int, float}) else pa.large_string()


def stored(value: Any, kind: pa.DataType) -> Any:
    """A value as its column can hold it."""
    if (
        value is not None
        and not isinstance(value, str)
        and (pa.types.is_large_string(kind) or pa.types.is_string(kind))
    ):
        return _storable(json.dumps(value, ensure_ascii=False, default=_jsonable))
    if isinstance(value, int) and pa.types.is_floating(kind):
        return float(value)  # Arrow takes no integer beyond 53 bits for one
    return _storable(value)


def _storable(value: Any) -> Any:
    """Text without lone surrogates; other values as they are."""
    return thinking.well_formed(value) if isinstance(value, str) else value
