"""The folder of a filtered dataset: candidates, examples, funnel, card and charts.

    candidates/*.parquet   every trace, `dropped` null or a reason
    examples/*.parquet     the kept ones as training rows
    funnel.json README.md recipe.json plots/*.png

What is kept is decided before; this module only writes. A shard that is there is not written again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from distill import card, funnel, plots, shards, sources
from distill.funnel import Funnel
from distill.recipe import Curation, DatasetRecipe
from distill.records import Candidate, Example

ToExamples = Callable[[Iterable[Candidate]], Iterator[Example]]


class Rows:
    """The candidates of several shards, read again each time they are iterated over."""

    def __init__(self, paths: Sequence[str], read: Callable[[type[Candidate], str], Iterator[Candidate]] = shards.read) -> None:
        self.paths = paths
        self.read = read

    def __iter__(self) -> Iterator[Candidate]:
        for path in self.paths:
            yield from self.read(Candidate, path)


def benchmark_questions(curation: Curation) -> list[str]:
    """The questions of the held-out problems that no example may ask."""
    rows = (row.get(source.question) for source in curation.benchmarks for row in sources.read_rows(source))
    return [question for question in rows if isinstance(question, str)]


def write_candidates(selected: Iterator[Candidate], rows_of_shards: Sequence[int], folder: str) -> None:
    """Cuts selected candidates into shards of the given sizes."""
    for number, rows in enumerate(rows_of_shards):
        shard = islice(selected, rows)
        target = f"{folder}/candidates/{number:05}.parquet"
        if shards.exists(target):
            for _ in shard:
                pass
        else:
            shards.write(Candidate, shard, target)


def write_examples(folder: str, to_examples: ToExamples) -> int:
    """Writes the examples of each shard of candidates and returns how many there are."""
    count = 0
    for source in shards.list_shards(f"{folder}/candidates"):
        target = source.replace("/candidates/", "/examples/")
        count += (
            shards.count(target) if shards.exists(target) else shards.write(Example, to_examples(shards.read(Candidate, source)), target)
        )
    return count


def describe(folder: str, name: str, curation: Curation, recipe: DatasetRecipe | None, fingerprints: dict[str, str]) -> Funnel:
    """Writes funnel, charts, recipe and card of a folder whose shards are there."""
    candidates = shards.list_shards(f"{folder}/candidates")
    found = funnel.merge(funnel.funnel(shards.read(Candidate, path)) for path in candidates)
    shards.write_text(f"{folder}/funnel.json", funnel.to_json(found))
    if recipe is not None:
        shards.write_text(f"{folder}/recipe.json", recipe.model_dump_json(indent=1))
    if plots.available():
        plots.funnel({stage: tally.rows for stage, tally in found.stages().items()}, f"{folder}/plots/funnel.png")
        plots.completion_lengths(_lengths(candidates), f"{folder}/plots/lengths.png", recipe.sampling.max_tokens if recipe else None)
    shards.write_text(f"{folder}/README.md", card.card(name, curation, found, recipe, fingerprints))
    return found


def _lengths(candidates: Sequence[str]) -> dict[str, list[int]]:
    """Completion tokens by outcome, of the rows that have them."""
    lengths: dict[str, list[int]] = {}
    for path in candidates:
        for row in shards.read_rows(path, ["outcome", "thinking_tokens", "answer_tokens"]):
            tokens = (row["thinking_tokens"] or 0) + (row["answer_tokens"] or 0)
            if tokens:
                lengths.setdefault(row["outcome"], []).append(tokens)
    return lengths
