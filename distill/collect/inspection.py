"""Shows a file of anybody's rows as we would read it, and writes a recipe to start from."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from distill.collect import collect
from distill.files import columns, guess, readers
from distill.recipe.problems import ProblemSource
from distill.recipe.verification import Verification
from distill.text.tables import aligned, inert

EXAMPLE_CHARACTERS = 60


def inspect(path: str, count: int) -> tuple[str, str, int]:
    """What a file holds, for people; a recipe to start from; and how many of its first rows can be used."""
    rows = list(islice(readers.file_rows(path), count))
    good = [row for row in rows if readers.BAD_ROW not in row]
    found = guess.guess(good[: guess.LOOKED_AT])
    source = ProblemSource(
        name=Path(path).name.split(".")[0] or "rows",
        path=path,
        kind=found.kind,
        question=found.question or "question",
        reference=found.reference,
        tests=found.tests or None,
        options=found.options or None,
        response=found.response or None,
        thinking=found.thinking or None,
    )
    problems = list(collect(rows, source, Verification(workers=1)))
    names = dict.fromkeys(name for row in good for name in row)
    held = {name: next((row[name] for row in good if row.get(name) is not None), None) for name in names}
    table = [["column", "type", "example"], *([n, columns.shown(v), _short(v)] for n, v in held.items())]
    reasons = Counter(problem.unusable for problem in problems if problem.unusable)
    lines = [aligned(table, ()) if held else "no columns", "", f"read as     {found.said() or 'nothing'}"]
    lines += [f"kind        {found.kind}", ""]
    for one in [problem for problem in problems if not problem.unusable][:3]:
        lines += [f"question    {_short(one.question)}", f"reference   {_short(one.reference)}"]
        lines += [f"completion  {_short(one.response)}", ""]
    lines.append(f"{len(problems) - reasons.total():,} of the first {len(problems):,} rows can be used")
    for reason, rows_of in reasons.most_common():
        example = next(one.detail_unusable for one in problems if one.unusable == reason)
        lines.append(f"{rows_of:,} {reason} (for example {_short(example)})")
    return "\n".join(lines), _recipe(source), len(problems) - reasons.total()


def _recipe(source: ProblemSource) -> str:
    """A dataset recipe of a source, with what has to be chosen by hand said beside it."""
    given: dict[str, Any] = {
        "name": source.name,
        "path": str(Path(source.path).absolute()),
        "kind": source.kind,
    }
    if "://" in source.path:
        given["path"] = source.path
    given |= {"question": source.question, "reference": source.reference or "", "licence": "unknown"}
    for key in ("tests", "options", "response", "thinking"):
        if (value := getattr(source, key)) is not None:
            given[key] = value
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
    about = f'description = "Rows of {source.name}; say where they are from."\nteacher = "deepseek-r1"\n'
    return "\n".join([about, "[[problems]]", *lines, ""])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value, default=str)
    return inert(" ".join(text[: 4 * EXAMPLE_CHARACTERS].split())[:EXAMPLE_CHARACTERS])
