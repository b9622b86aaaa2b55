"""The counts behind a dataset's charts are those of its rows, however they are cut into tables."""

import itertools

import pyarrow as pa

from distill import plots
from distill.curate import write
from distill.records import Candidate, Measures, Problem, Trace, Verdict
from distill.store import schema as arrow


def candidate(
    problem: int, sample: int, outcome: str, tokens: int | None, share: float | None, dropped: str | None
) -> dict[str, object]:
    asked = Problem(f"p{problem}", "ab"[problem % 2], "math", "?", "1")
    trace = Trace(
        asked,
        f"{problem}-{sample}",
        sample,
        "Hm.",
        "1.",
        True,
        "stop",
        thinking_tokens=tokens,
        answer_tokens=None,
    )
    measures = Measures(
        pass_rate=problem / 4,
        language_share=share,
        answer_language_share=1.0,
        thinking_characters=700,
        answer_characters=0,
    )
    return arrow.to_row(Candidate(trace, Verdict(outcome), measures=measures, dropped=dropped))


ROWS = [
    candidate(0, 0, "correct", 100, 1.0, None),
    candidate(0, 1, "correct", 100, 0.5, "mixed_language"),
    candidate(0, 2, "wrong", None, 1.0, "wrong"),
    candidate(1, 0, "correct", 3000, None, None),
    candidate(1, 1, "wrong", 300_000, 1.0, "wrong"),
]


def counted(*cuts: int) -> list[dict[str, dict[int, int]]]:
    schema, bounds = arrow.schema(Candidate), [0, *cuts, len(ROWS)]
    tables = [
        pa.Table.from_pylist(ROWS[start:end], schema=schema) for start, end in itertools.pairwise(bounds)
    ]
    found = write.histograms(table.select(write.COLUMNS) for table in tables)
    return [
        {
            label: {int(place): int(counts[place]) for place in counts.nonzero()[0]}
            for label, counts in one.items()
        }
        for one in found
    ]


def test_rows_problems_and_fates_are_counted() -> None:
    lengths, rates, shares = counted()
    last = plots.LENGTHS.bins - 1
    assert lengths == {"correct": {25: 2, 750: 1}, "wrong": {50: 1, last: 1}}
    assert {source: sum(bins.values()) for source, bins in rates.items()} == {"a": 1, "b": 1}
    assert {fate: sum(bins.values()) for fate, bins in shares.items()} == {
        "kept": 2,
        "mixed_language": 1,
        "otherwise dropped": 2,
    }


def test_how_rows_are_cut_into_tables_does_not_matter() -> None:
    assert counted(1, 2) == counted(4) == counted()
