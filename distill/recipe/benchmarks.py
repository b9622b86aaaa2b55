"""Benchmarks: public ones by name, one file each in `configs/benchmarks/`, and your own by the path of a
`.toml` file.

The top of a file says where the questions are: that is what keeps them out of a dataset. Its `[evaluation]`
says how a model is asked and judged; `evaluation = false` marks one that no verifier judges. Hub ids,
subsets, splits and columns are those that evaluation harnesses load; each file names its source. Where no
revision is known, none is pinned.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from distill.recipe import tables
from distill.recipe.problems import ProblemSource
from distill.recipe.section import Section, place

FOLDER = "benchmarks"
FILE = ".toml"
QUESTIONS = ("path", "subset", "split", "revision", "question", "licence")
"""What is read of a benchmark to keep it out of a dataset."""


class Protocol(Section):
    """How a model is asked: DeepSeek-R1's protocol by default (paper, D.1)."""

    n: int = Field(4, ge=1)
    """Samples for each problem: pass@1 is their mean (DeepSeek-R1: 64 on AIME, 16 on MATH-500)."""
    temperature: float = Field(0.6, ge=0)
    """DeepSeek-R1 paper D.1; greedy decoding repeats and varies."""
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(32768, ge=1)
    """DeepSeek-R1 paper D.1."""
    prompt: str = "math"
    seed: int = 1


class Suite(Protocol):
    """One benchmark as a student is scored on it, with a protocol of its own."""

    name: str
    """Its name in reports, progress and folders."""
    problems: tuple[ProblemSource, ...] = Field(min_length=1)
    """Where its problems are, and which of their columns is what."""
    note: str = place("")
    """What a reader of the scores must know, such as how far models have seen the problems."""

    @field_validator("problems")
    @classmethod
    def _asked(cls, problems: tuple[ProblemSource, ...]) -> tuple[ProblemSource, ...]:
        return unanswered(problems)


def unanswered(problems: tuple[ProblemSource, ...]) -> tuple[ProblemSource, ...]:
    """The problems; raises ValueError where some have answers: a model that is scored writes its own."""
    if ready := [source.name for source in problems if source.response]:
        raise ValueError(f"{', '.join(ready)}: `response` is for datasets; a model that is scored is asked")
    return problems


def kept_out(benchmarks: Any) -> Any:
    """The sources of questions of benchmarks that a dataset names, and anything else as it is; raises
    ValueError for a name that is none."""
    if not isinstance(benchmarks, (list, tuple)):
        return benchmarks
    found = list[Any]()
    for one in benchmarks:
        if not isinstance(one, str):
            found.append(one)
            continue
        table = _table(one)
        read = {key: table[key] for key in QUESTIONS if key in table}
        found += _sources({"name": table["name"], "kind": "open", "reference": "", **read})
    return found


def suite(value: Any, chosen: Mapping[str, Any]) -> Any:
    """A suite's values for the name of a benchmark, or for a table that changes one (`like`) or is one.

    What the table says goes before `chosen`, what the evaluation says for all suites, and that before the
    benchmark's file. An empty text takes a key of the file away. Raises ValueError for a name that is none.
    """
    own = {"like": value} if isinstance(value, str) else value
    if not isinstance(own, dict) or "problems" in own:
        return own
    known = "path" not in own and own.get("name") in tables.names(FOLDER)
    like = own.get("like", own.get("name") if known else None)
    table = {} if like is None else _table(like)
    asked = table.pop("evaluation", {})
    if not isinstance(asked, dict):
        raise ValueError(
            f"{like}: no verifier here judges its answers; it can only be kept out of a dataset "
            "(curation.benchmarks)"
        )
    merged = {**table, **asked, **chosen, **own}
    kept = {
        key: one
        for key, one in merged.items()
        if key != "like" and (one != "" or key in ("reference", "note"))
    }
    settings = {key: kept.pop(key) for key in Suite.model_fields if key in kept}
    return settings | {"problems": _sources({**kept, "name": settings.get("name", "")})}


def _sources(values: dict[str, Any]) -> list[dict[str, Any]]:
    """One source for each subset that is named."""
    if not isinstance(subsets := values.get("subset"), list):
        return [values]
    return [values | {"subset": subset} for subset in subsets]


def _table(name: Any) -> dict[str, Any]:
    """The keys of a benchmark's file, with its name."""
    known = tables.names(FOLDER)
    if isinstance(name, str) and name.endswith(FILE):
        return _own(Path(name).expanduser())
    if name not in known:
        raise ValueError(
            f"no benchmark {name!r}; there are: {', '.join(known)} (or give the path of a {FILE} file, or "
            "spell one out as a table)"
        )
    return {"name": name, **tables.read(f"{FOLDER}/{name}{FILE}")}


def _own(file: Path) -> dict[str, Any]:
    """A benchmark's file of your own: rows beside it are found wherever the run is started."""
    try:
        table = {"name": file.stem, **tomllib.loads(file.read_text(encoding="utf-8"))}
    except (OSError, ValueError) as error:
        raise ValueError(f"benchmark {file} cannot be read: {error}") from error
    beside = file.absolute().parent / str(table.get("path", ""))
    return table | ({"path": str(beside)} if "path" in table and beside.exists() else {})
