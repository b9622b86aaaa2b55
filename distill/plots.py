"""Small charts of a run as PNG or SVG files: yield funnel, pass@1, pass rates, draws, completion lengths,
language, loss.

matplotlib is optional: `available()` tells whether it is there, and nothing else in the package needs it.
Charts are for the eye; the figures are in report.json and in the shards. Inputs are plain counts and lists:
the histograms take counts on an `Axis`, so that shards are counted one after the other and added, in memory
that does not grow with their rows.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.records import Score
from distill.store import paths
from distill.text import inert

WIDTH_INCHES, DOTS_PER_INCH = 7.0, 110
BLUE, GREY, ORANGE, GREEN, RED = "#3b6ea5", "#9a9a9a", "#d9822b", "#4a8f5c", "#b5483f"
VERDICT_COLOURS = {"correct": GREEN, "wrong": RED, "no_answer": GREY, "timeout": ORANGE}
ROLE_COLOURS = {"base": GREY, "student": BLUE, "teacher": GREEN}
SPARE_COLOURS = ["#8064a2", "#c9a227", "#5aa5a5", "#c77ba5"]
MARKS = "osD^vPX*<>"
LONGEST_LABEL = 40
BARS = 32
NEAR = 4
"""A line at `max_tokens` is drawn when it is at most so many times as long as the longest completion."""
MAX_SOURCES = 4
"""With more sources than this, pass rates are drawn for all of them together."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Equal bins of a measured column."""

    low: float
    high: float
    bins: int

    def count(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """How many values lie in each bin; those outside count in the outer bins, NaN in none."""
        return np.histogram(
            np.clip(values, self.low, self.high), bins=self.bins, range=(self.low, self.high)
        )[0]

    def edges(self) -> NDArray[np.float64]:
        """The ends of the bins, one more than there are bins."""
        return np.linspace(self.low, self.high, self.bins + 1)


LENGTHS = Axis(0, 131_072, 32_768)
"""Completion tokens; finer than any chart, so that short and long traces both get one that fits."""
PASS_RATES = Axis(-0.0125, 1.0125, 41)
"""Around 0, 2.5, ..., 100 %: what 4, 5, 8 and 10 completions of a problem can give lies in the middle of a
bin.

With more than 40 completions some bins hold more of the possible rates than others."""
LANGUAGE_SHARES = Axis(0, 1, 50)


def available() -> bool:
    """True when matplotlib is installed."""
    return find_spec("matplotlib") is not None


def funnel(counts: Mapping[str, int], path: str) -> None:
    """Bars of how many rows each stage or reason holds, in the order given, with their share of the first."""
    names, values = [_label(name) for name in counts], list(counts.values())
    whole = max(values[0] if values else 0, 1)

    def draw(axes: Any) -> None:
        bars = axes.barh(
            names, values, color=[BLUE, *[GREY] * (len(values) - 2), GREEN][: len(values)], height=0.7
        )
        axes.bar_label(bars, [f" {value:,} ({100 * value / whole:.1f} %)" for value in values], fontsize=8)
        axes.set_xlim(0, max([*values, 1]) * 1.25)
        _integers(axes.xaxis)
        axes.set_xlabel("rows")
        axes.set_title("Yield funnel", loc="left")
        axes.invert_yaxis()

    _save(draw, path, 1.1 + 0.32 * len(values))


def pass_at_1(scores: Sequence[Score], path: str) -> None:
    """Bars of pass@1 in percent with 95 % intervals, one for each score."""
    names = [
        _label(f"{s.role}: {s.model}" if s.source == "all" else f"{s.role} on {s.source}") for s in scores
    ]
    values = [100 * s.pass_at_1 for s in scores]
    errors = [[100 * (s.pass_at_1 - s.low) for s in scores], [100 * (s.high - s.pass_at_1) for s in scores]]

    def draw(axes: Any) -> None:
        places = range(len(scores))
        axes.barh(
            places,
            values,
            xerr=errors,
            color=[ROLE_COLOURS.get(s.role, ORANGE) for s in scores],
            height=0.6,
            capsize=3,
            ecolor="black",
        )
        axes.set_yticks(places, names)
        for place, score in enumerate(scores):
            axes.text(100 * score.high + 1.5, place, f"{100 * score.pass_at_1:.1f}", va="center", fontsize=8)
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("pass@1 in percent, 95 % interval over problems")
        axes.set_title("Held-out problems", loc="left")
        axes.invert_yaxis()

    _save(draw, path, 1.2 + 0.42 * len(scores))


def completion_lengths(
    counts: Mapping[str, NDArray[np.int64]], path: str, max_tokens: int | None = None
) -> None:
    """Stacked histogram of completion tokens by outcome, counted on `LENGTHS`; a line marks `max_tokens`
    where it is near."""
    shown = {
        outcome: counts[outcome]
        for outcome in sorted(counts, key=lambda name: (name != "correct", name))
        if counts[outcome].any()
    }
    edges, bars = _bars(shown, LENGTHS, max_tokens)

    def draw(axes: Any) -> None:
        total = np.zeros(len(edges) - 1)
        for colour, (outcome, values) in zip(_colours(shown, VERDICT_COLOURS), bars.items(), strict=True):
            label = f"{_label(outcome)} ({values.sum():,})"
            axes.bar(edges[:-1], values, np.diff(edges), total, align="edge", color=colour, label=label)
            total += values
        if max_tokens is not None and shown and max_tokens <= edges[-1]:
            axes.axvline(
                max_tokens, color="black", linestyle="--", linewidth=1, label=f"max_tokens {max_tokens:,}"
            )
        axes.set_xlim(0, 1.01 * edges[-1])
        axes.set_ylim(0, 1.05 * max(total.max(), 1))
        _integers(axes.xaxis, axes.yaxis)
        _titled(
            axes,
            "Completion lengths by verdict",
            "tokens in the completion, thinking included",
            "completions",
        )

    _save(draw, path, 3.2)


def accuracy(scores: Sequence[Score], path: str) -> None:
    """pass@1 with its interval over mean completion tokens: one colour a role, one mark a benchmark."""
    sources = list(dict.fromkeys(score.source for score in scores))
    named = 1 < len(sources) <= len(MARKS)

    def draw(axes: Any) -> None:
        for score in scores:
            value, tokens = 100 * score.pass_at_1, score.mean_completion_tokens
            colour = ROLE_COLOURS.get(score.role, ORANGE)
            reach = [[value - 100 * score.low], [100 * score.high - value]]
            axes.errorbar(
                tokens,
                value,
                yerr=reach,
                color=colour,
                capsize=3,
                marker=MARKS[sources.index(score.source) % len(MARKS)],
            )
            axes.annotate(
                _label(score.role), (tokens, value), xytext=(6, 4), textcoords="offset points", fontsize=8
            )
        for number, source in enumerate(sources if named else ()):
            axes.plot(
                [], [], color="black", linestyle="", marker=MARKS[number % len(MARKS)], label=_label(source)
            )
        axes.set_xlim(0, 1.2 * max((score.mean_completion_tokens for score in scores), default=0) or 1)
        axes.set_ylim(0, 105)
        axes.set_xlabel("mean completion tokens")
        axes.set_ylabel("pass@1 in percent")
        axes.set_title("Accuracy and length", loc="left")
        _integers(axes.xaxis)
        if named:
            axes.legend(fontsize=8, frameon=False)

    _save(draw, path, 3.6)


def pass_rates(counts: Mapping[str, NDArray[np.int64]], path: str) -> None:
    """Bars of the share of each source's problems that the teacher solves so often, counted on
    `PASS_RATES`."""
    shown = {source: counts[source] for source in sorted(counts) if counts[source].any()}
    if len(shown) > MAX_SOURCES:
        shown = {f"{len(shown)} sources": sum(shown.values(), np.zeros(PASS_RATES.bins, np.int64))}
    places = np.linspace(0, 100, PASS_RATES.bins)
    used = sum(shown.values(), np.zeros(PASS_RATES.bins, np.int64)).nonzero()[0]
    width = (2.2 if (np.diff(used) == 1).any() else 4.4) / max(len(shown), 1)

    def draw(axes: Any) -> None:
        highest = 0.0
        for number, (colour, (source, values)) in enumerate(
            zip([BLUE, *SPARE_COLOURS], shown.items(), strict=False)
        ):
            shares = 100 * values / values.sum()
            highest = max(highest, shares.max())
            label = f"{_label(source)} ({values.sum():,})"
            axes.bar(
                places + (number - (len(shown) - 1) / 2) * width, shares, width, color=colour, label=label
            )
        axes.set_xlim(-4, 104)
        axes.set_xticks(range(0, 101, 10))
        axes.set_ylim(0, (highest or 100) * (1.05 + 0.11 * len(shown)))  # room for the legend
        _titled(
            axes,
            "Pass rates of problems",
            "correct completions of the problem in percent",
            "problems in percent",
        )

    _save(draw, path, 3.2)


def draws(problems: Mapping[int, int], path: str) -> None:
    """Bars of how many problems have so many traces: those that needed more were asked further."""
    counts = sorted(problems)

    def draw(axes: Any) -> None:
        axes.bar(
            counts,
            [problems[count] for count in counts],
            0.8,
            color=BLUE,
            label=f"{sum(problems.values()):,} problems",
        )
        axes.set_xlim(0, max(counts, default=1) + 1)
        _integers(axes.xaxis, axes.yaxis)
        _titled(axes, "Traces of problems", "traces of the problem", "problems")

    _save(draw, path, 2.6)


def language_shares(counts: Mapping[str, NDArray[np.int64]], path: str, minimum: float | None = None) -> None:
    """Histogram of the share of words in the problem's language, by what became of the trace, counted on
    `LANGUAGE_SHARES`.

    The axis of counts is logarithmic, since nearly all traces lie at 1; a line marks `minimum`, below which
    they are dropped.
    """
    shown = {
        label: counts[label]
        for label in sorted(counts, key=lambda name: (name != "kept", name))
        if counts[label].any()
    }

    def draw(axes: Any) -> None:
        for colour, (label, values) in zip(
            _colours(shown, {"kept": GREEN, "mixed_language": RED}), shown.items(), strict=True
        ):
            axes.stairs(
                values,
                100 * LANGUAGE_SHARES.edges(),
                color=colour,
                linewidth=1.5,
                label=f"{_label(label)} ({values.sum():,})",
            )
        axes.set_yscale("log")
        axes.set_ylim(0.7, 3 * max([3, *(values.max() for values in shown.values())]))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter("")
        if minimum is not None:
            axes.axvline(
                100 * minimum,
                color="black",
                linestyle="--",
                linewidth=1,
                label=f"min_language_share {100 * minimum:g} %",
            )
        axes.set_xlim(0, 101)
        _titled(
            axes,
            "Language consistency",
            "words in the problem's language, in percent of the thinking (or answer)",
            "traces (logarithmic)",
        )

    _save(draw, path, 3.2)


def loss(steps: Sequence[int], losses: Sequence[float], path: str) -> None:
    """Training loss over optimizer steps, with a running mean where there are many of them."""
    reach = len(losses) // 50
    around = [losses[max(0, index - reach) : index + reach + 1] for index in range(len(losses))]
    means = [sum(part) / len(part) for part in around]

    def draw(axes: Any) -> None:
        axes.plot(
            steps,
            losses,
            color=GREY if reach else BLUE,
            linewidth=1,
            marker="." if len(losses) < 30 else None,
            label="each logged step",
        )
        if reach:
            axes.plot(steps, means, color=BLUE, linewidth=1.8, label=f"mean of {2 * reach + 1} around")
            axes.legend(fontsize=8, frameon=False)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss per trained token (nats)")
        axes.set_title("Training loss", loc="left")

    _save(draw, path, 3.2)


def _bars(
    counts: Mapping[str, NDArray[np.int64]], axis: Axis, reach: float | None
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """Counts from the first bin to the last used one, or to `reach` when it is near, summed to at most `BARS`
    bars, with their edges."""
    width = (axis.high - axis.low) / axis.bins
    used = max((int(values.nonzero()[0][-1]) + 1 for values in counts.values()), default=1)
    if reach is not None and used * width < reach <= min(axis.high, NEAR * used * width):
        used = math.ceil(reach / width)
    each = -(-used // BARS)
    starts = np.arange(0, used, each)
    return axis.low + width * np.append(starts, starts[-1] + each), {
        label: np.add.reduceat(values[:used], starts) for label, values in counts.items()
    }


def _colours(labels: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """A colour for each label; those without one of their own take turns."""
    return [
        known.get(label) or SPARE_COLOURS[index % len(SPARE_COLOURS)] for index, label in enumerate(labels)
    ]


def _integers(*axes: Any) -> None:
    """Whole numbers with commas at the ticks."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 4, 5, 10]))
        axis.set_major_formatter("{x:,.0f}")


def _titled(axes: Any, title: str, across: str, upwards: str) -> None:
    """The words around a histogram; one without anything in it says so."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(upwards)
    if axes.patches:
        axes.legend(fontsize=8, frameon=False, loc="best")
    else:
        axes.text(0.5, 0.5, "no rows", transform=axes.transAxes, ha="center", color=GREY)


def _save(draw: Callable[[Any], None], path: str, height_inches: float) -> None:
    """Draws one chart and writes it whole or not at all; the format is the path's suffix, `.png` or
    `.svg`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kind = PurePosixPath(path).suffix.removeprefix(".")
    with rc_context(
        {"font.size": 9, "svg.hashsalt": "distill", "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
        draw(figure.add_subplot())
        with paths.replacing(path) as file:
            figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _label(text: str) -> str:
    """A name as a short label: ASCII (the built-in font has no CJK) and without `$`, which would start a
    formula."""
    shown = inert(text).encode("ascii", "backslashreplace").decode("ascii").replace("$", r"\$")
    return shown if len(shown) <= LONGEST_LABEL else shown[: LONGEST_LABEL - 15] + "..." + shown[-12:]
