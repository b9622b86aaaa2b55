"""Verify and curate anybody's traces: a file in, a file or a dataset folder out, without a store and without Prefect.

Rows may come in any order; `curate` keeps siblings together and leaves problems in the order in which they first appear.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from distill import curate, export, file_verdicts, files, funnel, prompts, shards, verdict_summary
from distill.progress import Meter
from distill.recipe import Curation, DatasetRecipe, Verification
from distill.records import Candidate

ROWS_OF_SHARD = 4096


def verify_file(source: str, target: str, verification: Verification) -> str:
    """Writes each row of a file with its verdict, and returns the summary as text."""
    summaries = file_verdicts.verify_file(source, target, verification)
    return f"{verdict_summary.table(summaries)}\n\n{verdict_summary.totals(summaries)}"


def curate_file(source: str, folder: str, curation: Curation, recipe: DatasetRecipe | None) -> str:
    """Writes a dataset folder from a file of traces, and returns its funnel as a table."""
    if shards.list_shards(f"{folder}/candidates"):
        raise FileExistsError(f"{folder} holds a dataset already; name another --output, or remove it")
    measured = f"{folder}/.measured"
    with Meter("measuring", 0) as meter:
        sizes = _write_measured(meter.over(curate.measure(_siblings_together(source), curation)), measured)
    rows = export.Rows(shards.list_shards(measured))
    shares = {one.name: one.share for one in recipe.problems if one.share is not None} if recipe else {}
    export.write_candidates(curate.select(rows, curation, export.benchmark_questions(curation), shares), sizes, folder)
    sampling = recipe.sampling if recipe else None
    template, system = (sampling.prompt, sampling.system) if sampling else (prompts.BY_KIND, None)
    export.write_examples(folder, partial(curate.examples, template=template, system=system))
    found = export.describe(folder, recipe.name if recipe else Path(folder).name, curation, recipe, {})
    for path in shards.list_shards(measured):
        Path(path).unlink()
    Path(measured).rmdir()
    return funnel.table(found)


def _siblings_together(source: str) -> Iterator[Candidate]:
    """The candidates of a file with each problem's contiguous; they are held in memory only when the file has them scattered."""
    order: dict[str, int] = {}
    scattered, before = False, ""
    for candidate in files.candidates_from(source):
        problem = candidate.trace.problem.problem_id
        scattered = scattered or (problem != before and problem in order)
        order.setdefault(problem, len(order))
        before = problem
    rows = files.candidates_from(source)
    yield from sorted(rows, key=lambda one: order[one.trace.problem.problem_id]) if scattered else rows


def _write_measured(candidates: Iterable[Candidate], folder: str) -> list[int]:
    """Writes shards of about ROWS_OF_SHARD rows that split no problem, and returns their sizes."""
    sizes: list[int] = []
    shard: list[Candidate] = []
    for _, siblings in groupby(candidates, key=lambda one: one.trace.problem.problem_id):
        shard += siblings
        if len(shard) >= ROWS_OF_SHARD:
            sizes.append(shards.write(Candidate, shard, f"{folder}/{len(sizes):05}.parquet"))
            shard = []
    if shard or not sizes:
        sizes.append(shards.write(Candidate, shard, f"{folder}/{len(sizes):05}.parquet"))
    return sizes
