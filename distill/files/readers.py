"""Reads files of rows (JSON Lines, JSON, CSV, Parquet), folders and Hugging Face datasets, as plain rows.

A line that is no row (torn, not an object, not UTF-8) comes out as `{BAD_ROW: "line 7: why"}` in its place,
so that a source of a million good lines is not lost to one bad one. A *file* that cannot be read (missing, no
permission, damaged archive, a schema without the columns that the recipe names) is a `RecipeError`. A hub
dataset without a pinned revision is identified by its name only: when its owner changes it, nothing here
notices.
"""

import codecs
import csv
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from distill.files import columns, guess
from distill.recipe import ProblemSource, RecipeError, names_in

BAD_ROW = "distill:bad_row"
"""Key of a row that could not be read; its value says where and why."""
PROJECT = Path(__file__).parents[2]
MAX_LINE_BYTES = 64 << 20
PARQUET_BATCH_ROWS = 256
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
ARRAYS = (".json", ".json.gz")
TABLES = (".csv", ".csv.gz")
KNOWN = (*LINES, *ARRAYS, *TABLES, ".parquet")
"""Ends of the names of files that are read."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UNREADABLE = (EOFError, OSError, zlib.error, pa.ArrowException)
"""What reading a missing or damaged file raises."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")

Row = dict[str, Any]


def read_rows(source: ProblemSource) -> Iterator[Row]:
    """The first `limit` rows of a source, bad ones marked with `BAD_ROW`; raises RecipeError when it cannot
    be read."""
    return islice(_with_columns(source), source.limit)


def peeked(rows: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    """The first rows that are not bad, for a look at their columns, and all rows."""
    first = list(islice(rows, guess.LOOKED_AT))
    return [row for row in first if BAD_ROW not in row], chain(first, rows)


def file_rows(place: str, chosen_of: Callable[[list[str]], list[str]] | None = None) -> Iterator[Row]:
    """The rows of a file, bad ones marked with `BAD_ROW`; raises one of UNREADABLE.

    `chosen_of` chooses among the columns of a Parquet file; without it all are read.
    """
    with _opened(place) as file:
        if not place.endswith(".parquet"):
            read = _json if place.endswith(ARRAYS) else _csv if place.endswith(TABLES) else json_lines
            yield from read(file)
            return
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        chosen = chosen_of(parquet.schema_arrow.names) if chosen_of else None
        number = 1
        for batch in parquet.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=chosen):
            yield from _batch(batch, number)
            number += batch.num_rows


def identity(source: ProblemSource) -> dict[str, Any]:
    """What decides the rows of a source: its settings and its content, wherever it lies."""
    kept = {name: value for name, value in source.identity().items() if name not in ("path", "share")}
    return kept | {"content": content_identity(source)}


def content_identity(source: ProblemSource) -> dict[str, Any]:
    """What identifies a source's content: SHA-256 of a file or of a folder's files, or hub id, revision and
    subset."""
    place = locate(source)
    if place is None:
        return {"hub": source.path, "revision": source.revision, "subset": source.subset}
    if "://" not in place and Path(place).is_dir():
        files = sorted(one for one in Path(place).rglob("*") if one.is_file() and one.name[0] != ".")
        named = [[one.relative_to(place).as_posix(), _digest(str(one))] for one in files]
        return {"sha256": hashlib.sha256(json.dumps(named).encode()).hexdigest()}
    return {"sha256": _digest(place)}


def locate(source: ProblemSource) -> str | None:
    """The local path or URL of a source (the current folder goes before the project's root), or None for a
    hub id."""
    if "://" in source.path:
        return source.path
    path = Path(source.path).expanduser()
    for candidate in (path, PROJECT / path):
        if candidate.exists():
            return str(candidate)
    if HUB_ID.fullmatch(source.path) and not source.path.endswith(KNOWN):
        return None
    raise RecipeError(
        f"problem source {source.name!r}: there is no {source.path} in {Path.cwd()} or {PROJECT}; correct "
        "its `path`"
    )


def _rows(source: ProblemSource) -> Iterator[Row]:
    place = locate(source)
    if place is None or ("://" not in place and Path(place).is_dir()):
        yield from _dataset_rows(source, place)
        return
    try:
        yield from _source_rows(source, place)
    except UNREADABLE as error:
        cause = f"{place} cannot be read to its end ({_first_line(error)})"
        raise RecipeError(
            f"problem source {source.name!r}: {cause}; correct `path` or fetch it again"
        ) from error


def _source_rows(source: ProblemSource, place: str) -> Iterator[Row]:
    if not place.endswith(KNOWN):
        raise RecipeError(
            f"problem source {source.name!r}: cannot tell the format of {place}; its name must end in one of "
            f"{', '.join(KNOWN)}"
        )
    yield from file_rows(place, partial(_columns, source))


def _opened(place: str) -> IO[bytes]:
    file: IO[bytes] = fsspec.open(place, "rb", compression="gzip" if place.endswith(".gz") else None).open()
    return file


def json_lines(file: IO[bytes]) -> Iterator[Row]:
    """The objects of a JSON Lines file; blank lines are no rows, and a line longer than 64 MiB is a bad
    one."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield _bad("line", number, f"longer than {MAX_LINE_BYTES >> 20} MiB")
            continue
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            yield _object(line, number)


def _object(line: bytes, number: int) -> Row:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _bad("line", number, f"byte {error.start + 1} is not UTF-8")
    except RecursionError:
        return _bad("line", number, "nested too deeply")
    except ValueError as error:
        return _bad("line", number, f"not JSON: {error}")
    return _row("line", number, value)


def _row(unit: str, number: int, value: Any) -> Row:
    if isinstance(value, dict):
        return value
    return _bad(unit, number, f"{type(value).__name__} where an object should be")


def _bad(unit: str, number: int, cause: str) -> Row:
    return {BAD_ROW: f"{unit} {number}: {cause}"}


def _json(file: IO[bytes]) -> Iterator[Row]:
    """A JSON array (read whole), or JSON Lines under a `.json` name as hub datasets have it."""
    start = file.read(1024).removeprefix(BYTE_ORDER_MARK).lstrip()
    file.seek(0)
    if not start.startswith(b"["):
        yield from json_lines(file)
        return
    try:
        values = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise EOFError(f"no JSON array ({error}); write it as JSON Lines") from error
    for number, value in enumerate(values, start=1):
        yield _row("item", number, value)


def _csv(file: IO[bytes]) -> Iterator[Row]:
    """The rows of a table with a heading, every value a text, an empty one null."""
    csv.field_size_limit(MAX_LINE_BYTES)
    rows = csv.reader(codecs.iterdecode(file, "utf-8-sig"), strict=True)
    try:
        heading = next(rows, [])
        for number, values in enumerate(rows, start=1):
            if len(values) != len(heading):
                yield _bad("row", number, f"{len(values)} values under {len(heading)} columns")
            else:
                yield {name: text or None for name, text in zip(heading, values, strict=True)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise EOFError(f"no CSV in UTF-8 ({error})") from error


def _batch(batch: pa.RecordBatch, first: int) -> list[Row]:
    """The rows of a batch; one with a value that Python cannot hold (no UTF-8, no date) is bad and costs only
    itself."""
    try:
        rows: list[Row] = batch.to_pylist()
    except (ValueError, OverflowError, LookupError) as error:  # LookupError: an unknown time zone
        if batch.num_rows == 1:
            if isinstance(error, UnicodeDecodeError):
                return [_bad("row", first, f"text that is not UTF-8 ({error.reason})")]
            return [_bad("row", first, f"a value out of range ({error})")]
        return [
            row for index in range(batch.num_rows) for row in _batch(batch.slice(index, 1), first + index)
        ]
    return rows


BESIDE = (*columns.FINISH_REASONS, *columns.ENDED, "generated_checker", "checker")
"""Columns that are read where they are there, whatever a recipe names."""


def _columns(source: ProblemSource, present: list[str]) -> list[str]:
    """The columns that the recipe needs, so that wide datasets are not read whole; raises RecipeError where
    one is not there."""
    language = source.language[1:] if source.language and source.language.startswith("@") else None
    needed = (
        *names_in(source.question),
        source.reference,
        source.tests,
        *names_in(source.response),
        language,
    )
    others = (*names_in(source.thinking), *names_in(source.options), source.setup, source.entry_point)
    missing = [name for name in needed if name and columns.holder(name, present) is None]
    if missing and not (missing == [source.reference] and source.kind in ("code", "open")):
        raise RecipeError(
            f"problem source {source.name!r}: no column {', '.join(missing)}; {source.path} has "
            f"{guess.listed(present)}{guess.remedy(source, missing, present)}"
        )
    wanted = (name and columns.holder(name, present) for name in (*needed, *others, *BESIDE))
    return [name for name in dict.fromkeys(wanted) if name]


def _with_columns(source: ProblemSource) -> Iterator[Row]:
    """The rows of a source; raises RecipeError where its first rows lack a column that the recipe needs."""
    first, rows = peeked(_rows(source))
    if first:
        _columns(source, list(dict.fromkeys(name for row in first for name in row)))
    yield from rows


def _dataset_rows(source: ProblemSource, folder: str | None) -> Iterator[Row]:
    """Rows of a hub dataset, of a folder that `load_dataset` understands, or of one that `save_to_disk`
    wrote."""
    try:
        dataset = _dataset(source, folder)
    except (
        Exception
    ) as error:  # datasets raises a dozen unrelated types for "not there", "no such split" and "no network"
        remedy = (
            "correct `path`, `split` and `subset`"
            if folder
            else "correct `path`, or fetch it once while online (HF_TOKEN if it is gated)"
        )
        raise RecipeError(
            f"problem source {source.name!r}: {source.path} cannot be loaded ({_first_line(error)}); {remedy}"
        ) from error
    yield from dataset.select_columns(_columns(source, dataset.column_names))


def _dataset(source: ProblemSource, folder: str | None) -> Any:
    import datasets

    if folder and any((Path(folder) / name).is_file() for name in ("state.json", "dataset_dict.json")):
        saved = datasets.load_from_disk(folder)
        return saved[source.split] if isinstance(saved, datasets.DatasetDict) else saved
    return datasets.load_dataset(
        folder or source.path,
        name=source.subset,
        split=source.split,
        revision=None if folder else source.revision,
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _digest(place: str) -> str:
    try:
        with fsspec.open(place, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecipeError(
            f"{place} cannot be read ({_first_line(error)}); correct `path` or fetch it again"
        ) from error
