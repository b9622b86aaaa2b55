"""The five steps of curation over shards: measure, pair, match, decide, cut. Each reads files and writes
files.

`stages` makes or reuses what a dataset is cut from, and `cut` makes the dataset, its card included: of traces
in the store as of a file of yours. The caller says with a `Map` where steps run (`on_cores`, or as the tasks
of a flow), and how shards are read. A file that exists is finished, so a repeated call goes on where the last
one was stopped. No step knows a store, a lock or a fingerprint.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from distill import curate, hardware
from distill.contamination import Benchmarks, Match, benchmarks, matches
from distill.curate import funnel, write
from distill.curate.examples import SCHEMA as EXAMPLE
from distill.curate.examples import examples
from distill.curate.funnel import Funnel
from distill.curate.preferences import Preference, preferences
from distill.curate.write import CANDIDATE, DECISION, DECISIONS, About
from distill.duplicates import Pair, pairs
from distill.progress import Meter
from distill.recipe import Curation, DatasetRecipe
from distill.records import Candidate, Outline
from distill.store import StoreError, exists, shards
from distill.text import prompts

Stage = Literal["measures", "pairs", "matches"]
"""What a dataset is cut from. Another policy or threshold needs none of them anew."""
PAIRS = "00000.parquet"
"""The one shard of the stage `pairs`."""
ROWS_FOR_PROCESSES = 8_192
"""Below, the start of worker processes takes longer than they save."""

R = TypeVar("R")
T = TypeVar("T")
Writer = Any
"""A `pyarrow.parquet.ParquetWriter`."""


class UnfinishedError(StoreError):
    """A dataset that is not whole; the message says what to do."""


class Job(NamedTuple):
    """One shard that a step reads, and where its result goes."""

    source: str
    target: str
    rows: int
    """How much work it is."""


class Reader(Protocol):
    """How shards are read: `store.shards`, or `store.checked` where a command of ours can make them again."""

    def read(self, record: type[R], path: str) -> Iterator[R]: ...

    def read_tables(self, path: str, columns: list[str] | None = None) -> Iterator[pa.Table]: ...

    def count(self, path: str) -> int: ...


class Map(Protocol):
    """Calls `step(jobs, *settings)` for some of the jobs at a time somewhere, and gives a result for each;
    those of `cut_shards` in order. A step in `WHOLE` gets all jobs in one call."""

    def __call__(
        self, step: Callable[..., list[T]], jobs: Sequence[Job], *settings: Any
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


def taken_over(stage: Stage, sources: Sequence[str], folder: str, section: Curation) -> list[str] | None:
    """The shards of a stage in the dataset folder that the candidates are from; None where these settings
    would give others."""
    stored = json.loads(Path(folder, write.CURATION).read_text(encoding="utf-8"))
    wanted = curate.measuring(section)
    if any(stored.get(one) != wanted[one] for one in ("measures", stage)):
        return None
    if stage == "measures":
        return list(sources)
    return [f"{folder}/{write.PAIRS if stage == 'pairs' else write.MATCHES}"]


def make(
    stage: Stage,
    sources: Sequence[str],
    folder: str,
    section: Curation,
    run: Map,
    reader: Reader = shards,
) -> list[str]:
    """Makes what a folder lacks of a stage, and returns the stage's shards; a shard keeps its name."""
    jobs = [Job(one, f"{folder}/{_name(one)}", reader.count(one)) for one in sources]
    if stage == "pairs":
        target = f"{folder}/{PAIRS}"
        if not exists(target):
            list(run(pair_shards, [job._replace(target=target) for job in jobs], section))
        return [target]
    step, label = (
        (measure_shards, "measuring")
        if stage == "measures"
        else (match_shards, "looking for benchmark questions")
    )
    todo = [job for job in jobs if not exists(job.target)]
    rows, left = (sum(job.rows for job in some) for some in (jobs, todo))
    with Meter(label, rows, rows - left) as meter, closing(run(step, todo, section)) as found:
        for looked_at in found:
            meter.add(looked_at)
    return [job.target for job in jobs]


def cut(made: Stages, folder: str, about: About, run: Map, reader: Reader = shards) -> Funnel:
    """Decides over all rows, writes a dataset into a folder, its card last, and returns its funnel."""
    if not exists(f"{folder}/{write.PAIRS}"):
        shards.write(Pair, reader.read(Pair, made.pairs), f"{folder}/{write.PAIRS}")
    if made.matches and not exists(f"{folder}/{write.MATCHES}"):
        write.gather_matches(made.matches, made.measured, folder)
    jobs = [Job(path, folder, reader.count(path)) for path in made.measured]
    list(run(decide_shards, jobs, about.curation, shares(about.recipe)))
    with (
        Meter("writing", sum(job.rows for job in jobs)) as meter,
        closing(run(cut_shards, jobs, about.curation, *prompt(about.recipe))) as parts,
    ):
        found = funnel.merge(_counted(parts, meter))
    write.describe(folder, about, found)
    return found


def shares(recipe: DatasetRecipe | None) -> dict[str, float]:
    """The wanted share of each source that names one."""
    return {one.name: one.share for one in recipe.problems if one.share is not None} if recipe else {}


def prompt(recipe: DatasetRecipe | None) -> tuple[str, str | None]:
    """Template and system prompt that examples are asked with."""
    return (recipe.sampling.prompt, recipe.sampling.system) if recipe else (prompts.BY_KIND, None)


def measure_shards(jobs: Sequence[Job], section: Curation, reader: Reader = shards) -> list[int]:
    """Measures the columns of shards of candidates, and returns how many these are."""
    return [
        shards.write(Candidate, curate.measure(reader.read(Candidate, job.source), section), job.target)
        for job in jobs
    ]


def pair_shards(jobs: Sequence[Job], section: Curation, reader: Reader = shards) -> list[int]:
    """Finds the pairs of near-duplicates over all measured shards, and returns how many these are."""
    found = pairs.find([job.source for job in jobs], section.duplicates)
    with Meter("comparing look-alikes", 0) as meter:
        return [shards.write(Pair, meter.over(found), jobs[0].target)]


def match_shards(jobs: Sequence[Job], section: Curation, reader: Reader = shards) -> list[int]:
    """Compares shards with benchmark questions; returns how many candidates were looked at, not how many were
    found."""
    known = Benchmarks(benchmarks.questions(section), section.decontamination)
    for job in jobs:
        traces = (candidate.trace for candidate in reader.read(Candidate, job.source))
        shards.write(Match, matches(traces, known), job.target)
    return [job.rows for job in jobs]


def decide_shards(
    jobs: Sequence[Job], section: Curation, wanted: Mapping[str, float], reader: Reader = shards
) -> list[int]:
    """Decides over all shards which rows are dropped and why, and returns how many rows there are; `wanted`
    are shares of sources."""
    rows, folder = sum(job.rows for job in jobs), jobs[0].target
    with Meter("deciding", rows) as meter:
        outlines = meter.over(row for job in jobs for row in reader.read(Outline, job.source))
        near = shards.read(Pair, f"{folder}/{write.PAIRS}")
        close = write.contaminated(folder, section.decontamination)
        decisions = curate.decide(outlines, section, near, close, wanted)
        write.write_decisions(decisions, [job.source for job in jobs], folder)
    return [rows]


def cut_shards(
    jobs: Sequence[Job], section: Curation, template: str, system: str | None, reader: Reader = shards
) -> list[Funnel]:
    """Writes candidates, examples and preference pairs of shards of measured candidates, and returns the
    funnel of each."""
    return [_cut(job, section, template, system, reader) for job in jobs]


WHOLE = (pair_shards, decide_shards)
"""Steps over all shards."""


def on_cores(step: Callable[..., list[T]], jobs: Sequence[Job], *settings: Any) -> Generator[T, None, None]:
    """The `Map` of this machine, on all cores: what reads texts in processes, what writes shards in
    threads."""
    heavy = step in (measure_shards, match_shards)
    if step in WHOLE or len(jobs) < 2 or (heavy and sum(job.rows for job in jobs) < ROWS_FOR_PROCESSES):
        for some in [jobs] if step in WHOLE else [[job] for job in jobs]:
            yield from step(some, *settings)
        return
    cores = hardware.cores()
    pool = ProcessPoolExecutor(cores, get_context("spawn")) if heavy else ThreadPoolExecutor(cores)
    try:
        futures = [pool.submit(step, [job], *settings) for job in jobs]
        for future in as_completed(futures) if heavy else futures:
            yield from future.result()
    except BrokenProcessPool as error:
        raise UnfinishedError(
            "a worker process was killed (out of memory?); the same command goes on where it was"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _cut(job: Job, section: Curation, template: str, system: str | None, reader: Reader) -> Funnel:
    name, folder = _name(job.source), job.target
    candidates, kept, preferred = (
        f"{folder}/{part}/{name}" for part in ("candidates", "examples", "preferences")
    )
    if exists(candidates) and exists(kept):
        found = funnel.funnel(shards.read_tables(candidates))
    else:
        decided = _decided(reader.read_tables(job.source), f"{folder}/{DECISIONS}/{name}")
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


def _counted(parts: Iterable[Funnel], meter: Meter) -> Iterator[Funnel]:
    for part in parts:
        meter.add(part.stages()["asked"].rows)
        yield part


def _decided(measured: Iterable[pa.Table], decisions: str) -> Iterator[pa.Table]:
    """Measured candidates, a row group at a time, with what was decided in their last columns; columns that
    came later are null."""
    decided = pa.concat_tables([DECISION.empty_table(), *shards.read_tables(decisions)])
    start = 0
    for table in measured:
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
