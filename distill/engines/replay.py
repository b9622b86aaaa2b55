"""Existing traces as the teacher: published sets, our own shards, files of a custom sampler.

`teacher.model` is a JSON Lines or Parquet file, a folder of Parquet shards, or whatever
`datasets.load_dataset` takes. A row has a `question` (or `prompt`, `problem`, a conversation) and the raw
completion in the column `teacher.response` (a conversation counts as its answer, a list as several), with
its thinking in `teacher.thinking` where that is apart, or `thinking` and `answer`; `finish_reason`, `model`
or `teacher`, and token counts are used when there. Questions are matched by their text with
whitespace folded. Sample i is the i-th completion of a question in the file's order; when there are fewer,
the completion has the failure `no_more_traces`. The rows are copied once into a temporary SQLite file, so
memory does not grow with them but the temporary folder must hold them.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill.engines.protocol import Completion, EngineError, Request, failed, waited_for
from distill.files import columns, guess, readers
from distill.recipe import ProblemSource, RecipeError, Sampling, Teacher, names_in
from distill.store import digest, list_shards
from distill.text import endings

QUESTIONS = tuple(dict.fromkeys(("question", "prompt", "problem", *guess.QUESTIONS, *guess.CONVERSATIONS)))
NO_MORE_TRACES = "no_more_traces"
MOST_COLUMNS = 1_000
"""Names that are remembered for a message."""


class ReplayEngine:
    """Answers requests from rows of existing traces; a context manager, usable from several threads."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._lock = threading.Lock()

    def __enter__(self) -> "ReplayEngine":
        """Reads the traces; raises EngineError when they cannot be read or hold no completion."""
        # "": a private file on disk, gone when closed
        self._index = sqlite3.connect("", check_same_thread=False)
        try:
            self._fill()
        except BaseException:
            self._index.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """The stored completion of each request, in order; the sampling settings have no effect on it."""
        for request in waited_for(requests):
            asked = (_question_key(request.problem.question), request.sample_index)
            with self._lock:
                found = self._index.execute(
                    "SELECT completion FROM traces WHERE question = ? AND position = ?", asked
                ).fetchone()
            if found is None:
                yield failed(request.key, NO_MORE_TRACES, self._teacher.model)
            else:
                yield Completion(request.key, **json.loads(found[0]))

    def drain(self) -> None:
        """Nothing is ever tried again here."""

    def _fill(self) -> None:
        self._index.execute("PRAGMA synchronous = OFF")
        self._index.execute(
            "CREATE TABLE traces (question, position, completion, PRIMARY KEY (question, position))"
        )
        positions: dict[str, int] = {}
        untold, read = endings.Untold(f"{self._teacher.model} has the"), _Read()
        for question, completion in read.completions(self._teacher):
            if (word := completion["finish_reason"]) is not None:
                untold.see(word)
            completion["finish_reason"] = (endings.ending(word) or endings.UNKNOWN).reason
            key = _question_key(question)
            position = positions[key] = positions.get(key, -1) + 1
            self._index.execute(
                "INSERT INTO traces VALUES (?, ?, ?)", (key, position, json.dumps(completion))
            )
        self._index.commit()
        if not positions:
            raise EngineError(read.nothing(self._teacher))


class _Read:
    """The rows of existing traces, and what they lack where nothing can be used."""

    def __init__(self) -> None:
        self._present: dict[str, None] = {}
        self._asked = False

    def completions(self, teacher: Teacher) -> Iterator[tuple[str, dict[str, Any]]]:
        """(question, fields of a Completion, its ending as the row says it) of every row that has both; rows
        that have not are passed over."""
        try:
            for row in _rows(teacher):
                if len(self._present) < MOST_COLUMNS:
                    self._present |= dict.fromkeys(row)
                if (question := _question(row)) is not None:
                    self._asked = True
                    for completion in _of_row(row, teacher):
                        yield question, completion
        except (*readers.UNREADABLE, RecipeError) as error:
            raise EngineError(f"the traces to replay cannot be read: {error}") from error

    def nothing(self, teacher: Teacher) -> str:
        """Why there is no completion, and what to write."""
        present = f"the columns are {guess.listed(self._present)}" if self._present else "it has no rows"
        if not self._asked and self._present:
            return f"{teacher.model} has no question in any of {', '.join(QUESTIONS)}; {present}"
        wanted = ", ".join(names_in(teacher.response))
        return (
            f"{teacher.model} holds no completion in {wanted!r}; set teacher.response to the column that "
            f"does; {present}"
        )


def _question_key(question: str) -> str:
    return digest(" ".join(question.split()))[:24]


def _question(row: Mapping[str, Any]) -> str | None:
    try:
        return columns.question(_first(row, QUESTIONS))
    except ValueError:
        return None


def _rows(teacher: Teacher) -> Iterator[Mapping[str, Any]]:
    source = ProblemSource(name="replay", path=teacher.model, revision=teacher.revision, reference=None)
    place = readers.locate(source)
    if place is not None and (place.endswith(readers.KNOWN) or "://" in place):
        yield from readers.file_rows(place)
    elif place is not None and (found := list_shards(place)):
        for path in found:
            yield from readers.file_rows(path)
    elif place is not None and Path(place).is_file():
        raise RecipeError(f"the name of {place} must end in one of {', '.join(readers.KNOWN)}")
    else:
        import datasets

        yield from datasets.load_dataset(
            place or teacher.model,
            name=teacher.subset,
            split=teacher.split or "train",
            revision=None if place else teacher.revision,
        )


def _of_row(row: Mapping[str, Any], teacher: Teacher) -> Iterator[dict[str, Any]]:
    """The completions of a row: one, or those of a list (OpenR1-Math keeps `generations` so)."""
    try:
        found = columns.completions(row, names_in(teacher.response), names_in(teacher.thinking))
    except ValueError:
        found = []
    for one in found:
        yield _fields(row, teacher, one.text, None, one.finish_reason)
    if not found and isinstance(row.get("answer"), str) and "thinking" in row:
        closed = row.get("think_closed") is not False
        word = _first(row, columns.FINISH_REASONS)
        yield _fields(row, teacher, row["answer"] if closed else None, row["thinking"], word)


def _fields(
    row: Mapping[str, Any], teacher: Teacher, content: str | None, reasoning: Any, word: Any
) -> dict[str, Any]:
    thinking_tokens, answer_tokens = _count(row.get("thinking_tokens")), _count(row.get("answer_tokens"))
    total = _count(row.get("completion_tokens"))
    if total is None and thinking_tokens is not None and answer_tokens is not None:
        total = thinking_tokens + answer_tokens
    failure = row.get("failure")
    return {
        "content": content,
        "reasoning": reasoning if isinstance(reasoning, str) else None,
        "finish_reason": word,
        "prompt_tokens": _count(row.get("prompt_tokens")),
        "completion_tokens": total,
        "reasoning_tokens": thinking_tokens,
        "model": str(_first(row, ("model", "teacher", "generator")) or teacher.model),
        "failure": failure if isinstance(failure, str) else None,
    }


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
