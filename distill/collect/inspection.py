"""Shows anybody's rows as they would be read, and writes a recipe to start from.

Nothing is stored and no teacher is asked. What a column holds is guessed from names and from the first rows:
correct it in the recipe.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.collect.rows import collect, question_key
from distill.files import columns, guess, readers, ready, traces
from distill.recipe import ProblemSource, Verification, names_in
from distill.records import Problem
from distill.text import inert, thinking
from distill.verifiers import choice_options

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

SHOWN_ROWS = 3
LONGEST = 400
"""Characters of a cell, before it is cut to the terminal."""
WIDEST = 24
"""Columns of the terminal that a column takes, except the last, which is cut to what is left."""
NARROWEST, GAP = 12, 3
Cells = tuple[object, ...]


class Origin(NamedTuple):
    """Where rows lie: a file, or what `datasets.load_dataset` takes."""

    path: str
    hub: bool = False
    split: str = "train"
    subset: str | None = None


class Inspection(NamedTuple):
    """The first rows of an origin, and the problems that they become."""

    origin: Origin
    source: ProblemSource
    held: dict[str, Any]
    """The first value of each column."""
    problems: list[Problem]

    @property
    def usable(self) -> list[Problem]:
        """The problems that a teacher may be asked."""
        return [problem for problem in self.problems if not problem.unusable]

    def unusable(self) -> list[tuple[str, int, str]]:
        """Each reason with its rows and an example, the most frequent first."""
        examples = {one.unusable: one.detail_unusable or "" for one in reversed(self.problems)}
        counts = Counter(one.unusable for one in self.problems if one.unusable)
        return [(reason, rows, examples[reason]) for reason, rows in counts.most_common()]

    def require_usable(self) -> None:
        """Raises UnknownFormatError with the main cause where no row can be used."""
        if self.usable:
            return
        (reason, rows, example), *_ = self.unusable()
        raise traces.UnknownFormatError(
            f"{self.origin.path}: none of the first {len(self.problems):,} rows can be used; {rows:,} are "
            f"{reason} (for example {_line(example)})"
        )


def inspect(origin: Origin, count: int) -> Inspection:
    """The first rows of an origin; raises UnknownFormatError where they cannot be read or there are none."""
    try:
        rows = list(islice(_rows(origin), count))
    except readers.UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise traces.UnknownFormatError(f"{origin.path} cannot be read: {_line(str(error))}") from error
    if not rows:
        raise traces.UnknownFormatError(f"{origin.path} has no rows")
    return of(rows, origin)


def of(rows: list[dict[str, Any]], origin: Origin) -> Inspection:
    """How some rows are read."""
    good = [row for row in rows if readers.BAD_ROW not in row]
    found = guess.guess(good[: guess.LOOKED_AT])
    source = ProblemSource(
        name=thinking.well_formed(Path(origin.path).name.split(".")[0]) or "rows",
        path=origin.path if origin.hub or "://" in origin.path else str(Path(origin.path).absolute()),
        split=origin.split,
        subset=origin.subset,
        kind=found.kind,
        question=found.question or "question",
        reference=found.reference,
        tests=found.tests or None,
        options=_one_or_several(found.options),
        response=_one_or_several(found.response),
        thinking=_one_or_several(found.thinking),
    )
    present = dict.fromkeys(name for row in good for name in row)
    held = {name: next((row[name] for row in good if row.get(name) is not None), None) for name in present}
    return Inspection(origin, source, held, list(collect(rows, source, Verification(workers=1))))


def _rows(origin: Origin) -> Iterator[dict[str, Any]]:
    if not origin.hub:
        if Path(origin.path).is_dir():
            raise traces.UnknownFormatError(
                f"{origin.path} is a folder: name one of its files, or write --hub {origin.path} for one "
                "that `datasets` reads"
            )
        if not origin.path.endswith(readers.KNOWN):
            raise traces.UnknownFormatError(
                f"{origin.path}: its name must end in one of {', '.join(readers.KNOWN)}"
            )
        yield from readers.file_rows(origin.path)
        return
    import datasets

    try:
        yield from datasets.load_dataset(origin.path, name=origin.subset, split=origin.split, streaming=True)
    except Exception as error:  # datasets raises a dozen unrelated types
        cause = _line(f"{type(error).__name__}: {error}")
        raise traces.UnknownFormatError(
            f"{origin.path} cannot be loaded ({cause}); correct the id, --split or --subset (HF_TOKEN if it "
            "is gated)"
        ) from error


def shown(found: Inspection, width: int) -> "Group":
    """What people read, at most `width` wide: the columns, three problems, what cannot be used and why."""
    from rich.console import Group
    from rich.text import Text

    usable, total = len(found.usable), len(found.problems)
    lost = found.unusable()
    title = Text(f"{Path(found.origin.path).name}: {usable:,} of the first {total:,} rows can be used")
    title.stylize("bold green" if usable == total else "bold yellow" if usable else "bold red")
    roles, paths = _roles(found)
    parts: list[Text | Table] = [title, Text(_line("; ".join([f"kind {found.source.kind}", *paths])), "dim")]
    if found.held:
        rows = list[Cells]()
        for name, value in found.held.items():
            kind = "conversation" if columns.is_turns(value) else columns.shown(value)
            rows.append((name, kind, ", ".join(roles.get(name, ())), value))
        parts += [Text(""), _table(("column", "type", "read as", "example"), rows, width)]
    if found.usable:
        read = [pair for problem in found.usable[:SHOWN_ROWS] for pair in (("", ""), *_read(problem))]
        parts += [Text(""), _table(("part", "first rows"), read[1:], width)]
    if lost:
        reasons = [(reason, f"{rows:,}", example) for reason, rows, example in lost]
        parts += [Text(""), _table(("not usable", "rows", "for example"), reasons, width)]
    return Group(*parts)


def _table(heading: Sequence[str], rows: Sequence[Cells], width: int) -> "Table":
    """A table as wide as the terminal at most: the last column is cut, the others beyond `WIDEST` only."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    lines = [[_line(cell) for cell in row] for row in rows]
    *widths, last = [max(map(cell_len, column)) for column in zip(heading, *lines, strict=True)]
    widths = [min(WIDEST, one) for one in widths]
    widths.append(min(last, max(NARROWEST, width - sum(widths) - GAP * len(widths))))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name, most in zip(heading, widths, strict=True):
        style = "cyan" if name in ("read as", "part", "not usable") else ""
        table.add_column(name, style=style, no_wrap=True, overflow="ellipsis", width=most)
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def _roles(found: Inspection) -> tuple[dict[str, list[str]], list[str]]:
    """What each column is read as, and which parts stand at a path inside of a column."""
    source, roles, paths = found.source, dict[str, list[str]](), list[str]()
    for role, named in {
        "question": source.question,
        "reference": source.reference,
        "tests": source.tests,
        "options": source.options,
        "completion": source.response,
        "thinking": source.thinking,
    }.items():
        for name in names_in(named):
            if (column := columns.holder(name, found.held)) is not None:
                roles.setdefault(column, []).append(role)
                paths += [f"{role} from {name}"] if name != column else []
    return roles, paths


def _read(problem: Problem) -> Iterator[tuple[str, str]]:
    """The parts of a problem as a stage sees them, each with its label."""
    yield "question", problem.question.split("\nA) ")[0]
    if problem.kind == "choice":
        listed = choice_options.options(problem.question)
        yield "options", "  ".join(f"{label}) {text}" for label, text in listed.items())
    yield ("tests", problem.tests) if problem.tests else ("reference", problem.reference or "none")
    if problem.response is not None:
        (text, ending), *others = ready.unpack(problem.response)
        parts = thinking.split_any(text)
        yield "thinking", parts.thinking or "none"
        yield "answer", parts.answer or "none"
        if others or ending:
            several = f"1 of {len(others) + 1}" if others else "1"
            yield "completion", f"{several}{f', ended by {ending}' if ending else ''}"


def recipe(found: Inspection) -> str:
    """A dataset recipe that runs as it is: completions are used where the rows have them, and a teacher is
    asked where they have none."""
    source = found.source
    given: dict[str, Any] = {"name": source.name, "path": source.path}
    if found.origin.hub:
        given |= {"split": source.split} | ({"subset": source.subset} if source.subset else {})
    given |= {"kind": source.kind, "question": source.question, "reference": source.reference or ""}
    given |= {key: value for key in ("tests", "options") if (value := getattr(source, key)) is not None}
    completed = {
        key: value for key in ("response", "thinking") if (value := getattr(source, key)) is not None
    }
    drawn = Counter[bytes]()
    for one in found.problems:
        if one.response is not None:
            drawn[question_key(one.question)] += len(ready.unpack(one.response))
    rows_of_one = max(
        Counter(question_key(one.question) for one in found.problems if one.response).values(), default=1
    )
    teacher: dict[str, Any] = {"engine": "replay", "model": source.path}
    if found.origin.hub:
        teacher |= {"split": source.split} | ({"subset": source.subset} if source.subset else {})
    lines = [f"description = {_escaped(f'Rows of {source.name}; say where they are from.')}"]
    if not completed:
        lines += ['teacher = "deepseek-r1" # the rows hold no completions; `distill teachers` lists others']
    lines += ["", "[[problems]]", *_keys(given), 'licence = "unknown" # name it before you publish']
    if completed and rows_of_one == 1:
        lines += ["# the rows hold completions: no teacher is asked", *_keys(completed)]
        lines += ["", "[teacher]", *_keys(teacher)]
    elif completed:
        lines += ["", "[teacher] # the rows hold completions, a question in several rows: they are replayed"]
        lines += [*_keys(teacher | completed), "", "[sampling]", f"n = {max(drawn.values())}"]
    if source.kind == "open" and completed:
        lines += ["", "[curation.selection]", 'keep_unverified = ["open"] # there is nothing to compare with']
    if completed and not any(_thinks(one) for one in found.usable):
        lines += ["", "[curation.screens]", f'thinking_optional = ["{source.kind}"] # no completion thinks']
    return "\n".join([*lines, ""])


def _thinks(problem: Problem) -> bool:
    return any(thinking.split_any(text).thinking for text, _ in ready.unpack(problem.response or ""))


def _keys(given: dict[str, Any]) -> list[str]:
    listed = {key: [value] if isinstance(value, str) else value for key, value in given.items()}
    written = {key: ", ".join(map(_escaped, values)) for key, values in listed.items()}
    return [
        f"{key} = {text if isinstance(given[key], str) else f'[{text}]'}" for key, text in written.items()
    ]


def _escaped(text: str) -> str:
    """A text as TOML."""
    return json.dumps(thinking.well_formed(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_or_several(found: tuple[str, ...]) -> str | tuple[str, ...] | None:
    return found[0] if len(found) == 1 else found or None


def _line(value: object) -> str:
    """A value as one inert line."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    return inert(" ".join(text[: 4 * LONGEST].split())[:LONGEST])
