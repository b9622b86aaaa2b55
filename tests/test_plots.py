"""Charts of counts: binning loses no row, bars stand where the values are, and any number of rows and labels
can be drawn."""

from pathlib import Path

import numpy as np
import pytest

from distill import plots
from distill.records import Score

PNG = b"\x89PNG"
pytestmark = pytest.mark.skipif(not plots.available(), reason="matplotlib is optional")


@pytest.mark.parametrize("axis", [plots.LENGTHS, plots.PASS_RATES, plots.LANGUAGE_SHARES])
def test_every_value_is_counted_once_and_shards_add_up(axis: plots.Axis) -> None:
    values = np.random.default_rng(0).uniform(axis.low - axis.high, 2 * axis.high, 1_000)
    whole = axis.count(values)
    assert whole.sum() == 1_000 and len(whole) == axis.bins
    assert (axis.count(values[:300]) + axis.count(values[300:]) == whole).all()
    assert axis.count(np.array([np.nan, axis.high])).sum() == 1 and axis.count(np.array([])).sum() == 0


@pytest.mark.parametrize("n", [1, 2, 4, 5, 8, 10])
def test_what_n_completions_can_give_lies_in_the_middle_of_a_bin(n: int) -> None:
    for correct in range(n + 1):
        (place,) = plots.PASS_RATES.count(np.array([correct / n])).nonzero()[0]
        assert place / 40 == pytest.approx(correct / n)


@pytest.mark.parametrize("longest", [1, 30, 700, 32_768, 10**9])
@pytest.mark.parametrize("reach", [None, 1_024, 32_768])
def test_bars_hold_every_completion_below_the_last_edge(longest: int, reach: int | None) -> None:
    values = np.minimum(np.arange(1_000) ** 2 + 1, longest)
    edges, bars = plots._bars(
        {"correct": plots.LENGTHS.count(values), "wrong": plots.LENGTHS.count(values[:3])},
        plots.LENGTHS,
        reach,
    )
    assert bars["correct"].sum() == 1_000 and bars["wrong"].sum() == 3
    assert len(bars["correct"]) == len(bars["wrong"]) == len(edges) - 1 <= plots.BARS
    assert edges[-1] >= min(longest, plots.LENGTHS.high)


def test_any_number_of_rows_and_labels_is_drawn(tmp_path: Path) -> None:
    one = plots.LENGTHS.count(np.array([5]))
    for name, counts in {
        "none": {},
        "empty": {"correct": one * 0},
        "few": {"correct": one},
        "huge": {"a$b_": one * 10**12, "长" * 60: one},
    }.items():
        plots.completion_lengths(counts, f"{tmp_path}/lengths_{name}.png", 32_768)
    for count in (0, 1, 30):
        scores = [
            Score("m", role, 30, 4, 0.5, 0.1, 0.3, 0.7, 0.0, 0.0, None, 100.0 * place, source=f"长$ {place}")
            for place in range(count)
            for role in ("base", "student")
        ]
        plots.accuracy(scores, f"{tmp_path}/accuracy_{count}.png")
    rate = plots.PASS_RATES.count(np.array([0.5, 1.0]))
    for sources in (0, plots.MAX_SOURCES, 50):
        plots.pass_rates(
            {f"source {number}": rate for number in range(sources)}, f"{tmp_path}/rates_{sources}.png"
        )
    share = plots.LANGUAGE_SHARES.count(np.array([0.2, 1.0, 1.0]))
    for name, counts in {
        "none": {},
        "empty": {"kept": share * 0},
        "many": {"kept": share * 10**9, "mixed_language": share},
    }.items():
        plots.language_shares(counts, f"{tmp_path}/shares_{name}.png", 0.9 if name != "none" else None)
    for name, problems in {"none": {}, "one": {4: 7}, "many": {2: 10**9, 16: 1}}.items():
        plots.draws(problems, f"{tmp_path}/draws_{name}.png")
    drawn = sorted(tmp_path.iterdir())
    assert len(drawn) == 16 and all(path.read_bytes().startswith(PNG) for path in drawn)
