"""The five steps of curation over shards: measure, pair, match, decide, cut. Each reads files and writes
files.

`stages` makes what a dataset is cut from, and `cut` makes the dataset. The caller says with a `Map` where
steps run: in this process, in a pool of processes, or as the tasks of a flow. A file that exists is finished,
so a repeated call goes on where the last one was stopped. No step knows a store, a lock or a fingerprint.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from distill import curate
from distill.contamination import Benchmarks, Match, benchmarks, matches
from distill.curate import funnel, write
from distill.curate.examples import SCHEMA as EXAMPLE
from distill.curate.examples import examples
from distill.curate.funnel import Funnel
from distill.curate.preferences import Preference, preferences
from distill.curate.write import CANDIDATE, DECISION, DECISIONS, Read
from distill.duplicates import Pair, pairs
from distill.progress import Meter
from distill.recipe import Curation, DatasetRecipe
from distill.records import Candidate
from distill.store import exists, shards
from distill.text import prompts

Stage = Literal["measures", "pairs", "matches"]
"""What a dataset is cut from. Another policy or threshold needs none of them anew."""
PAIRS = "00000.parquet"
"""The one shard of the stage `pairs`."""

T = TypeVar("T")
Writer = Any
"""A `pyarrow.parquet.ParquetWriter`."""


class Job(NamedTuple):
    """One call of a step."""

    source: Sequence[str]
    """The path of a shard, or for `pair_shards` and `decide_shards` the paths of all."""
    target: str
    rows: int
    """How much work it is."""


class Map(Protocol):
    """Calls `step(source, target, *settings)` for each job somewhere, and gives the results; those of
    `cut_shard` in order."""

    def __call__(
        self, step: Callable[..., T], jobs: Sequence[Job], *settings: Any
    ) -> Generator[T, None, None]: ...


class Stages(NamedTuple):
    """What a dataset is cut from: measured shards, the shard of pairs, and shards of matches with
    benchmarks."""

    measured: list[str]
    pairs: str
    matches: list[str]


def stages(
    sources: Sequence[str], section: Curation, make: Callable[[Stage, Sequence[str]], list[str]]
) -> Stages:
    """What a dataset is cut from, out of shards of candidates; `make` gives the shards of one stage, made or
    reused."""
    measured = make("measures", sources)
    (near,) = make("pairs", measured)
    return Stages(measured, near, make("matches", sources) if section.benchmarks else [])


def make(
    stage: Stage,
    sources: Sequence[str],
    folder: str,
    section: Curation,
    run: Map,
    count: Callable[[str], int] = shards.count,
) -> list[str]:
    """Makes what a folder lacks of a stage, and returns the stage's shards; a shard keeps its name."""
    rows = [count(source) for source in sources]
    if stage == "pairs":
        target = f"{folder}/{PAIRS}"
        if not exists(target):
            list(run(pair_shards, [Job(sources, target, sum(rows))], section))
        return [target]
    step, label = (
        (measure_shard, "measuring")
        if stage == "measures"
        else (match_shard, "looking for benchmark questions")
    )
    jobs = [
        Job(source, f"{folder}/{_name(source)}", size) for source, size in zip(sources, rows, strict=True)
    ]
    todo = [job for job in jobs if not exists(job.target)]
    with (
        Meter(label, sum(rows), sum(rows) - sum(job.rows for job in todo)) as meter,
        closing(run(step, todo, section)) as found,
    ):
        for looked_at in found:
            meter.add(looked_at)
    return [job.target for job in jobs]


def cut(
    made: Stages,
    folder: str,
    section: Curation,
    recipe: DatasetRecipe | None,
    run: Map,
    count: Callable[[str], int] = shards.count,
    read: Read[Pair] = shards.read,
) -> Funnel:
    """Decides over all rows, writes the shards of a dataset into a folder, and returns the dataset's
    funnel."""
    if not exists(f"{folder}/{write.PAIRS}"):
        shards.write(Pair, read(Pair, made.pairs), f"{folder}/{write.PAIRS}")
    if made.matches and not exists(f"{folder}/{write.MATCHES}"):
        write.gather_matches(made.matches, made.measured, folder)
    jobs = [Job(path, folder, count(path)) for path in made.measured]
    rows = sum(job.rows for job in jobs)
    list(run(decide_shards, [Job(made.measured, folder, rows)], section, shares(recipe)))
    with Meter("writing", rows) as meter, closing(run(cut_shard, jobs, section, *prompt(recipe))) as parts:
        return funnel.merge(_counted(parts, meter))


def shares(recipe: DatasetRecipe | None) -> dict[str, float]:
    """The wanted share of each source that names one."""
    return {one.name: one.share for one in recipe.problems if one.share is not None} if recipe else {}


def prompt(recipe: DatasetRecipe | None) -> tuple[str, str | None]:
    """Template and system prompt that examples are asked with."""
    return (recipe.sampling.prompt, recipe.sampling.system) if recipe else (prompts.BY_KIND, None)


def measure_shard(source: str, target: str, section: Curation, read: Read[Candidate] = shards.read) -> int:
    """Measures the columns of a shard of candidates, and returns how many these are."""
    return shards.write(Candidate, curate.measure(read(Candidate, source), section), target)


def pair_shards(sources: Sequence[str], target: str, section: Curation) -> int:
    """Finds the pairs of near-duplicates over all measured shards, and returns how many these are."""
    with Meter("comparing look-alikes", 0) as meter:
        return shards.write(Pair, meter.over(pairs.find(sources, section.duplicates)), target)


def match_shard(
    source: str,
    target: str,
    section: Curation,
    read: Read[Candidate] = shards.read,
    known: Benchmarks | None = None,
) -> int:
    """Compares a shard with benchmark questions; returns how many candidates were looked at, not how many
    were found.

    `known` are the section's benchmarks where the caller has read them for several shards.
    """
    known = known or Benchmarks(benchmarks.questions(section), section.decontamination)
    shards.write(Match, matches((candidate.trace for candidate in read(Candidate, source)), known), target)
    return shards.count(source)


def decide_shards(
    measured: Sequence[str],
    folder: str,
    section: Curation,
    wanted: Mapping[str, float],
    read: Read[Any] = shards.read,
) -> int:
    """Decides over all shards which rows are dropped and why, and returns how many rows there are; `wanted`
    are shares of sources."""
    rows = sum(shards.count(path) for path in measured)
    with Meter("deciding", rows) as meter:
        outlines = meter.over(write.outlines(measured, read))
        near, close = (
            shards.read(Pair, f"{folder}/{write.PAIRS}"),
            write.contaminated(folder, section.decontamination),
        )
        write.write_decisions(curate.decide(outlines, section, near, close, wanted), measured, folder)
    return rows


def cut_shard(
    measured: str, folder: str, section: Curation, template: str, system: str | None = None
) -> Funnel:
    """Writes candidates, examples and preference pairs of one shard of measured candidates, and returns its
    funnel."""
    name = _name(measured)
    candidates, kept, preferred = (
        f"{folder}/{part}/{name}" for part in ("candidates", "examples", "preferences")
    )
    if exists(candidates) and exists(kept):
        found = funnel.funnel(shards.read_tables(candidates))
    else:
        decided = _decided(measured, f"{folder}/{DECISIONS}/{name}")
        with (
            shards.writing(CANDIDATE, candidates) as to_candidates,
            shards.writing(EXAMPLE, kept) as to_examples,
        ):
            found = funnel.funnel(_written(decided, to_candidates, to_examples, template, system))
    if section.preferences is not None and not exists(preferred):
        close = {match.id for match in write.contaminated(folder, section.decontamination).values()}
        rows = preferences(
            shards.read(Candidate, candidates), section.preferences, section.screens, template, system, close
        )
        shards.write(Preference, rows, preferred)
    return found


def in_order(step: Callable[..., T], jobs: Sequence[Job], *settings: Any) -> Generator[T, None, None]:
    """The `Map` of this process: one job after the other."""
    for job in jobs:
        yield step(job.source, job.target, *settings)


def _counted(parts: Iterable[Funnel], meter: Meter) -> Iterator[Funnel]:
    for part in parts:
        meter.add(part.stages()["asked"].rows)
        yield part


def _decided(measured: str, decisions: str) -> Iterator[pa.Table]:
    """Measured candidates, a row group at a time, with what was decided in their last columns; columns that
    came later are null."""
    decided = pa.concat_tables([DECISION.empty_table(), *shards.read_tables(decisions)])
    start = 0
    for table in shards.read_tables(measured):
        columns = {
            name: table[name]
            if name in table.column_names
            else pa.nulls(table.num_rows, CANDIDATE.field(name).type)
            for name in CANDIDATE.names
        }
        columns |= {name: decided[name].slice(start, table.num_rows) for name in DECISION.names}
        start += table.num_rows
        yield pa.table(columns, schema=CANDIDATE)


def _written(
    tables: Iterable[pa.Table], to_candidates: Writer, to_examples: Writer, template: str, system: str | None
) -> Iterator[pa.Table]:
    """Passes tables of decided candidates on after they are written, as candidates and as examples."""
    for table in tables:
        to_candidates.write_table(table)
        kept = table.filter(pc.is_null(table["dropped"]))
        if kept.num_rows:
            to_examples.write_table(examples(kept, template, system))
        yield table


def _name(path: str) -> str:
    return path.rsplit("/", 1)[1]
