"""How the rows of one file of traces are read: with our names, or with those that its first rows suggest.

A row with a list of completions becomes one row for each, with the list's column holding that completion.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from distill.files import columns, guess
from distill.files.guess import Guess
from distill.files.readers import BAD_ROW, Row

BESIDE = (*columns.FINISH_REASONS, *columns.ENDED)
"""Lists that stand beside a list of completions; those whose names begin with `correctness` do, too."""
ELSEWHERE = {"finish_reasons", "is_reasoning_complete"}
"""Columns that say how a completion ended, under other names than ours."""


RESPONSES: tuple[tuple[str, ...], ...] = ((), ("response",), ("answer",))
THINKING: tuple[tuple[str, ...], ...] = ((), ("thinking",))
"""Our own columns of completions and of their thinking."""


class Reading(NamedTuple):
    """What the columns of a file are, and which of them are not read under our own names."""

    names: tuple[str, ...]
    guess: Guess
    several: frozenset[str]
    """Columns with lists of completions."""
    complete: bool
    """Whether any column holds completions."""

    @property
    def ours(self) -> bool:
        """Whether rows are read under our names, as they are."""
        return self.guess.response in RESPONSES and self.guess.thinking in THINKING and not self.several

    @property
    def used(self) -> frozenset[str]:
        """Columns of other names whose content a trace holds."""
        found = (*self.guess.response, *self.guess.thinking, self.guess.question, self.guess.reference)
        return frozenset(found)

    def told(self) -> str:
        """The columns that are not named as ours are, in a line; empty where all are."""
        given = {"question": self.guess.question, "reference": self.guess.reference}
        found = [f"{ours} from {name}" for ours, name in given.items() if name not in ("", ours)]
        if self.guess.response not in RESPONSES:
            found.append(f"response from {', '.join(self.guess.response)}")
        if self.guess.thinking not in THINKING:
            found.append(f"thinking from {', '.join(self.guess.thinking)}")
        return "; ".join(found)

    def rows(self, given: Row) -> Iterator[tuple[Row, Row]]:
        """The rows that a row stands for, each as its file has it and with our names."""
        if BAD_ROW in given:
            yield given, given
            return
        named = self._named(given)
        held = given.get(self.guess.response[0]) if self.guess.response else None
        plain = isinstance(held, (str, type(None))) and not isinstance(given.get("finish_reason"), list)
        if not self.guess.response or (self.ours and plain and not ELSEWHERE & given.keys()):
            yield given, named
            return
        try:
            found = columns.completions(given, self.guess.response, self.guess.thinking)
        except ValueError as error:
            yield given, {BAD_ROW: str(error)}
            return
        if not found:
            yield given, {BAD_ROW: f"no completion in {', '.join(self.guess.response)}"}
        for number, one in enumerate(found):
            row = _alone(given, self.guess, one.text, number, len(found)) if len(found) > 1 else given
            mine = {name: value for name, value in named.items() if name not in ("thinking", "answer")}
            mine |= {"response": one.text, "finish_reason": one.finish_reason or given.get("finish_reason")}
            if len(found) == 1 and isinstance(named.get("id"), (str, int)):
                mine["id"] = named["id"]
            elif len(found) > 1:
                mine["id"] = row.get("id")
            yield row, mine

    def _named(self, given: Row) -> Row:
        """A row with question and reference under our names."""
        found = given
        if self.guess.question not in ("", "question") or isinstance(given.get("question"), list):
            try:
                found = dict(found)
                found["question"] = columns.question(columns.value(given, self.guess.question) or "")
            except ValueError as error:
                return {BAD_ROW: f"column {self.guess.question!r} {error}"}
        if self.guess.reference not in ("", "reference"):
            found = dict(found)
            found["reference"] = columns.value(given, self.guess.reference)
        return found


def of(rows: Iterator[Row]) -> Reading:
    """How the rows of a file are read, from the first of them; without a question among those, from all rows
    up to the first that has one."""
    looked = [row for row in islice(rows, guess.LOOKED_AT) if BAD_ROW not in row]
    names = dict.fromkeys(name for row in looked for name in row)
    if "question" not in names and looked and not (found := guess.guess(looked)).question:
        for row in rows:
            names |= dict.fromkeys(name for name in row if name != BAD_ROW)
            if "question" in names:
                looked.append(row)
                break
    found = _ours_first(guess.guess(looked), names, looked)
    several = frozenset(
        name
        for name in found.response
        if any(isinstance(held := row.get(name), list) and not columns.is_turns(held) for row in looked)
        or len(found.response) > 1
    )
    return Reading(tuple(names), found, several, bool(found.response) or "answer" in names)


def _ours_first(found: Guess, names: dict[str, None], rows: list[Row]) -> Guess:
    """A guess that leaves alone what a file has under our names: its own `response`, or `answer` beside
    `thinking`."""
    ours = {"thinking", "reference"}
    if "question" in names:
        found = found._replace(question="question")
    if "response" in names:
        thinking = () if "thinking" in names else found.thinking
        found = found._replace(response=("response",), thinking=thinking)
    elif "answer" in names and (ours & set(names) or not found.response):
        found = found._replace(
            response=("answer",), thinking=("thinking",) if "thinking" in names else found.thinking
        )
    if "reference" in names:
        return found._replace(reference="reference")
    if found.response == ("answer",):
        taken = {"answer", found.question, *found.thinking}
        return found._replace(reference=guess.reference_of(rows, taken))
    return found


def _alone(given: Row, found: Guess, text: str, number: int, length: int) -> Row:
    """A row of a file with one of its completions only, and with what stands beside that one."""
    row = dict(given)
    for name in found.response:
        row[name] = text
    for name in found.thinking:
        held = row.get(name)
        row[name] = held[number : number + 1] if isinstance(held, list) and len(held) == length else None
    for name, held in given.items():
        beside = name in BESIDE or name.startswith("correctness")
        if beside and isinstance(held, list) and len(held) == length:
            row[name] = held[number : number + 1]
    if "id" in row:
        row["id"] = f"{row['id']}/{number}" if isinstance(row["id"], str) else None
    return row
