"""Counts for the charts of a dataset, from the columns of its candidates: memory does not grow with the
rows."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from distill import plots
from distill.curate import filters
from distill.curate.examples import completion_tokens
from distill.plots import Axis

COLUMNS = [
    "outcome",
    "source",
    "problem_id",
    "dropped",
    "pass_rate",
    "language_share",
    "answer_language_share",
    "thinking_tokens",
    "answer_tokens",
    "thinking_characters",
    "answer_characters",
]
"""What is read of the candidates."""

Counts = dict[str, NDArray[np.int64]]


def histograms(tables: Iterable[pa.Table]) -> tuple[Counts, Counts, Counts]:
    """(completion tokens by outcome, pass rates of problems by source, language shares by what became of the
    trace)."""
    lengths: Counts = {}
    rates: Counts = {}
    shares: Counts = {}
    last = ""
    for table in tables:
        _add(lengths, table["outcome"], completion_tokens(table), plots.LENGTHS)
        mixed = pc.equal(table["dropped"], filters.MIXED_LANGUAGE)  # null for a kept row
        fate = pc.coalesce(pc.if_else(mixed, filters.MIXED_LANGUAGE, "otherwise dropped"), "kept")
        consistency = pc.coalesce(
            table["language_share"], table["answer_language_share"]
        )  # a completion need not have a think block
        _add(shares, fate, consistency, plots.LANGUAGE_SHARES)
        problems = np.array([last, *table["problem_id"].to_pylist()], dtype=object)
        last = problems[-1]
        first = table.filter(
            pa.array(problems[1:] != problems[:-1], pa.bool_())
        )  # siblings lie together and have one rate
        _add(rates, first["source"], first["pass_rate"], plots.PASS_RATES)
    return lengths, rates, shares


def _add(counts: Counts, labels: pa.ChunkedArray, values: pa.Array, axis: Axis) -> None:
    """Adds the values of each label to its bins; nulls are left out."""
    numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    for label in pc.unique(labels).to_pylist():
        chosen = numbers[pc.fill_null(pc.equal(labels, label), False).to_numpy(zero_copy_only=False)]
        counts[label] = counts.get(label, np.zeros(axis.bins, dtype=np.int64)) + axis.count(
            chosen[~np.isnan(chosen)]
        )
