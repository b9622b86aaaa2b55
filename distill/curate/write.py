"""The folder of a filtered dataset: candidates, examples, preference pairs, funnel, card and charts.

    candidates/*.parquet    every trace, measured, `dropped` null or a reason
    examples/*.parquet      the kept ones as training rows
    preferences/*.parquet   pairs of a chosen and a rejected completion, where the recipe asks for them
    duplicates.parquet      pairs of near-duplicates among the candidates, by their `text_hash`
    contamination.parquet   rows close to a benchmark question; .json shows people both texts
    curation.json           settings and versions: while what measures stays, another cut needs no texts
    funnel.json README.md recipe.json plots/*.png

What is kept is decided before (see `steps`); here are the files around the shards, and how shards and
decisions fit together.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from distill import contamination, plots
from distill.contamination import Match
from distill.curate import dataset_card, filters, funnel
from distill.curate.decisions import measuring
from distill.curate.examples import completion_tokens
from distill.curate.funnel import Funnel
from distill.recipe import Curation, DatasetRecipe, Decontamination
from distill.records import Candidate
from distill.store import exists, list_shards, remove, schema, shards, write_text

CANDIDATE = schema.schema(Candidate)
DECISION = pa.schema([CANDIDATE.field(name) for name in ("duplicate_of", "dropped", "detail_dropped")])
"""What is decided of each row, and is written last."""
DECISIONS = ".decisions"
"""Folder of what became of each row, shard by shard; it is there only while a dataset is being written."""
PAIRS = "duplicates.parquet"
MATCHES = "contamination.parquet"
CURATION = "curation.json"
CARD = "README.md"
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
"""What the charts need of the candidates."""

Counts = dict[str, NDArray[np.int64]]


class About(NamedTuple):
    """What is known of a dataset before it is cut."""

    name: str
    curation: Curation
    recipe: DatasetRecipe | None = None
    """None for traces from elsewhere."""
    fingerprint: str = ""
    """Of its folder in the store."""
    unasked: Mapping[str, int] = dataset_card.NOTHING
    """How many problems no teacher was asked, by reason."""


def gather_matches(matched: Sequence[str], measured: Sequence[str], folder: str) -> None:
    """Writes the matches of several shards as one file, with row numbers that count over all of them."""
    starts = accumulate((shards.count(path) for path in measured), initial=0)
    rows = (
        replace(match, row=start + match.row)
        for path, start in zip(matched, starts, strict=False)
        for match in shards.read(Match, path)
    )
    shards.write(Match, rows, f"{folder}/{MATCHES}")


def contaminated(folder: str, section: Decontamination) -> dict[int, Match]:
    """The match that drops a row, by row number."""
    found: dict[int, Match] = {}
    for match in matches(folder):
        if contamination.drops(match, section):
            found.setdefault(match.row, match)
    return found


def write_decisions(decisions: Iterator[Any], measured: Sequence[str], folder: str) -> None:
    """Cuts decisions, which have the last columns of a candidate, into shards that fit those of the measured
    candidates row by row."""
    for path in measured:
        found = list(islice(decisions, shards.count(path)))
        columns = [
            pa.array([getattr(one, name) for one in found], DECISION.field(name).type)
            for name in DECISION.names
        ]
        shards.write_tables(
            DECISION, [pa.table(columns, schema=DECISION)], f"{folder}/{DECISIONS}/{_name(path)}"
        )


def describe(folder: str, about: About, found: Funnel) -> None:
    """Writes funnel, contamination report, charts, settings and card of a folder whose shards are there; the
    card comes last."""
    name, curation, recipe, fingerprint, unasked = about
    close = list(matches(folder))
    write_text(f"{folder}/funnel.json", funnel.to_json(found))
    if curation.benchmarks:
        report = contamination.report(close, curation.decontamination)
        write_text(f"{folder}/contamination.json", json.dumps(report, indent=1, ensure_ascii=False))
    write_text(
        f"{folder}/{CURATION}",
        json.dumps({"curation": curation.identity(), **measuring(curation)}, indent=1, ensure_ascii=False),
    )
    if recipe is not None:
        write_text(
            f"{folder}/recipe.json", json.dumps(recipe.identity(), indent=1, ensure_ascii=False)
        )  # no addresses
    drawn = _draw(folder, found, curation, recipe) if plots.available() else []
    text = dataset_card.card(
        name,
        curation,
        found,
        recipe,
        {"fingerprint": fingerprint} if fingerprint else None,
        contamination=contamination.markdown(close, curation.decontamination) if curation.benchmarks else "",
        plots=drawn,
        preferences=any(shards.count(path) for path in list_shards(f"{folder}/preferences")),
        unasked=unasked,
    )
    remove(f"{folder}/{DECISIONS}")
    write_text(f"{folder}/{CARD}", text)


def matches(folder: str) -> Iterator[Match]:
    """What is close to a benchmark question, with row numbers over all shards."""
    path = f"{folder}/{MATCHES}"
    return shards.read(Match, path) if exists(path) else iter(())


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


def _draw(folder: str, found: Funnel, curation: Curation, recipe: DatasetRecipe | None) -> list[str]:
    """Draws the charts of a dataset, and returns their paths inside its folder."""
    paths = [f"plots/{name}.png" for name in ("funnel", "lengths", "pass_rates", "language")]
    stages, lengths, rates, language = (f"{folder}/{path}" for path in paths)
    candidates = list_shards(f"{folder}/candidates")
    by_outcome, by_source, by_fate = histograms(
        table for path in candidates for table in shards.read_tables(path, COLUMNS)
    )
    plots.funnel({stage: tally.rows for stage, tally in found.stages().items()}, stages)
    plots.completion_lengths(by_outcome, lengths, recipe.sampling.max_tokens if recipe else None)
    plots.pass_rates(by_source, rates)
    plots.language_shares(by_fate, language, curation.screens.min_language_share)
    if len(found.draws) > 1:
        paths.append("plots/draws.png")
        plots.draws(found.draws, f"{folder}/{paths[-1]}")
    return paths


def _add(counts: Counts, labels: pa.ChunkedArray, values: pa.Array, axis: plots.Axis) -> None:
    """Adds the values of each label to its bins; nulls are left out."""
    numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    for label in pc.unique(labels).to_pylist():
        chosen = numbers[pc.fill_null(pc.equal(labels, label), False).to_numpy(zero_copy_only=False)]
        counts[label] = counts.get(label, np.zeros(axis.bins, dtype=np.int64)) + axis.count(
            chosen[~np.isnan(chosen)]
        )


def _name(path: str) -> str:
    return path.rsplit("/", 1)[1]
