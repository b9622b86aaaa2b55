"""Counts and tokens of a run as bands: what every other line of a plan is computed from.

The bands are what published runs spread over, not confidence intervals. No network: what is known of models
and hub datasets by name stands in `configs/models.toml`, and of hardware in `configs/hardware.toml`.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from distill.files import readers
from distill.plan import adaptive
from distill.recipe import DatasetRecipe, ProblemSource, Sampling, StudentRecipe, tables
from distill.sample import DrawPlan
from distill.verifiers import rules

SHARE_OF_LIMIT = 0.5
"""Mean length is at most this share of `max_tokens`."""
ASSUMED_ROWS = 10_000
COUNTED_BYTES = 64 << 20
PROMPT_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Range:
    """A number with its band."""

    low: float
    likely: float
    high: float

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def by(self, other: "Range") -> "Range":
        """The product of two."""
        return Range(self.low * other.low, self.likely * other.likely, self.high * other.high)

    def plus(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def at_most(self, limit: float | None) -> "Range":
        if limit is None:
            return self
        return Range(min(self.low, limit), min(self.likely, limit), min(self.high, limit))

    def under(self, amount: float) -> "Range":
        """`amount` divided by this: the high end of a speed is the low end of a time."""
        return Range(amount / self.high, amount / self.likely, amount / self.low)


NOTHING = Range(0, 0, 0)
KEPT = Range(0.25, 0.5, 0.8)
"""Share of the traces that pass: Open-R1 55 % of the problems, Bespoke 25 to 73 % by the verifier."""
KEPT_ALL = Range(0.8, 0.95, 1.0)
LENGTH = Range(0.5, 1.0, 1.5)
CUT = Range(0.0, 0.05, 0.15)
"""Share of the traces that reach `max_tokens`; 4 % of a 1.5B model's on GSM8K at 1,024."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One line of a plan: a band, and the inputs that a reader may want to check; the function that makes the
    line has its formula."""

    name: str
    unit: str
    value: Range
    note: str = ""


def exact(name: str, unit: str, value: float, note: str = "") -> Estimate:
    """A line without a band."""
    return Estimate(name, unit, Range(value, value, value), note)


def total(ranges: Sequence[Range]) -> Range:
    return reduce(Range.plus, ranges, NOTHING)


def measured(name: str) -> Range:
    """A row of `[measured]` in `configs/hardware.toml`."""
    return Range(*tables.section("hardware.toml", "measured")[name])


def problem_count(source: ProblemSource) -> tuple[int, bool]:
    """(rows of a problem source, whether that is known rather than assumed)."""
    place = readers.locate(source)
    known = tables.section("models.toml", "rows").get(source.path, {}).get(source.split)
    rows = known if place is None else _file_rows(place)
    if rows is None:
        return source.limit or ASSUMED_ROWS, source.limit is not None
    return min(rows, source.limit or rows), True


def trace_tokens(dataset: DatasetRecipe) -> Range:
    """Mean tokens of a trace: R1's by domain, weighted by the number of problems, at most half of
    `max_tokens`."""
    return _mean_tokens(asked(dataset) or dataset.problems, dataset)


def asked(dataset: DatasetRecipe) -> tuple[ProblemSource, ...]:
    """The sources that a teacher is asked about: all but those with ready responses."""
    return tuple(source for source in dataset.problems if source.response is None)


def draws(source: ProblemSource, dataset: DatasetRecipe) -> Range:
    """Traces of each problem of a source: n, one that came with its problem, or with adaptive sampling from n
    to the most."""
    sampling = dataset.sampling
    if source.response is not None:
        return Range(1, 1, 1)
    if sampling.adaptive is None or source.kind == "open":
        return Range(sampling.n, sampling.n, sampling.n)
    least = adaptive.draws(sampling, 1.0)
    return Range(least, adaptive.draws(sampling, KEPT.likely), max(least, sampling.adaptive.most))


def traces(sources_of: Sequence[ProblemSource], dataset: DatasetRecipe) -> Range:
    """Traces of some sources together."""
    return total([draws(source, dataset).times(problem_count(source)[0]) for source in sources_of])


def sampled_tokens(dataset: DatasetRecipe) -> Range:
    """Tokens that the teacher writes: traces x mean tokens, and cut ones again with a larger budget."""
    asked_for = traces(asked(dataset), dataset)
    return asked_for.by(trace_tokens(dataset)).plus(asked_for.by(CUT).times(next_budget(dataset.sampling)))


def next_budget(sampling: Sampling) -> int:
    """Tokens that a cut completion is asked again with; 0 where it is not."""
    return next(iter(DrawPlan(sampling).budgets[1:]), 0)


def row_tokens(dataset: DatasetRecipe, student: StudentRecipe) -> float:
    """Likely mean tokens of a training row: prompt and trace, ready ones too."""
    tokens = _mean_tokens(dataset.problems, dataset).likely
    return min(tokens + min(PROMPT_TOKENS, tokens), student.training.max_length)


def kept_examples(student: StudentRecipe, dataset: DatasetRecipe) -> Range:
    """Examples that are trained on, by the usual share of traces that pass and the recipes' limits.

    Where sources have shares, the scarcest one decides how much is used of the others.
    """
    passing = [
        (source, _kept(source, dataset).times(problem_count(source)[0])) for source in dataset.problems
    ]
    whole = [kept.times(1 / source.share) for source, kept in passing if source.share and kept.likely]
    limits = [total([kept for _, kept in passing]), *whole]
    least = Range(
        min(one.low for one in limits), min(one.likely for one in limits), min(one.high for one in limits)
    )
    return least.at_most(dataset.curation.selection.max_examples).at_most(student.training.max_rows)


def _kept(source: ProblemSource, dataset: DatasetRecipe) -> Range:
    """Traces of each problem of a source that are kept."""
    selection, asked_for = dataset.curation.selection, draws(source, dataset)
    limit = selection.per_problem or (1 if selection.policy == "shortest" else None)
    passing = _passing(source, dataset)
    if asked_for.low < asked_for.high and passing == KEPT:
        return Range(
            *(adaptive.right(dataset.sampling, share, limit) for share in (KEPT.low, KEPT.likely, KEPT.high))
        )
    return passing.by(asked_for.at_most(limit))


def _passing(source: ProblemSource, dataset: DatasetRecipe) -> Range:
    """Share of a source's traces that pass: nearly all where nothing is checked, none where nothing can
    be."""
    selection = dataset.curation.selection
    if selection.policy == "none" or source.kind in selection.keep_unverified:
        return KEPT_ALL
    return KEPT if source.kind != "open" or dataset.verification.judge else NOTHING


def _mean_tokens(sources_of: Sequence[ProblemSource], dataset: DatasetRecipe) -> Range:
    """Mean tokens of a trace of some sources: a problem counts once, however often it is asked."""
    counts = [(problem_count(source)[0], rules(source.kind).typical_tokens) for source in sources_of]
    mean = sum(rows * tokens for rows, tokens in counts) / max(1, sum(rows for rows, _ in counts))
    return LENGTH.times(min(mean, SHARE_OF_LIMIT * dataset.sampling.max_tokens)).at_most(
        dataset.sampling.max_tokens
    )


def _file_rows(place: str) -> int | None:
    """Rows of a Parquet file, lines of a JSON Lines file that is not large; None for anything else."""
    path = Path(place)
    if not path.is_file():
        return None
    if place.endswith(".parquet"):
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    if not place.removesuffix(".gz").endswith((".jsonl", ".ndjson")) or path.stat().st_size > COUNTED_BYTES:
        return None
    with gzip.open(path, "rb") if place.endswith(".gz") else path.open("rb") as file:
        return sum(1 for line in file if line.strip())
