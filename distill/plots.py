"""Small charts of a run as PNG or SVG files: yield funnel, pass@1, completion lengths, loss.

matplotlib is optional: `available()` tells whether it is there, and nothing else in the package needs it. Charts are for the eye;
the figures are in report.json and in the shards. Inputs are plain counts and lists.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

from distill import shards
from distill.records import Score
from distill.report import inert

WIDTH_INCHES, DOTS_PER_INCH = 7.0, 110
BLUE, GREY, ORANGE, GREEN, RED = "#3b6ea5", "#9a9a9a", "#d9822b", "#4a8f5c", "#b5483f"
VERDICT_COLOURS = {"correct": GREEN, "wrong": RED, "no_answer": GREY, "timeout": ORANGE}
ROLE_COLOURS = {"base": GREY, "student": BLUE, "teacher": GREEN}
LONGEST_LABEL = 40
BINS = 30


def available() -> bool:
    """True when matplotlib is installed."""
    return find_spec("matplotlib") is not None


def funnel(counts: Mapping[str, int], path: str) -> None:
    """Bars of how many rows each stage or reason holds, in the order given, with their share of the first."""
    names, values = [_label(name) for name in counts], list(counts.values())
    whole = max(values[0] if values else 0, 1)

    def draw(axes: Any) -> None:
        bars = axes.barh(names, values, color=[BLUE, *[GREY] * (len(values) - 2), GREEN][: len(values)], height=0.7)
        axes.bar_label(bars, [f" {value:,} ({100 * value / whole:.1f} %)" for value in values], fontsize=8)
        axes.set_xlim(0, max([*values, 1]) * 1.25)
        axes.set_xlabel("rows")
        axes.set_title("Yield funnel", loc="left")
        axes.invert_yaxis()

    _save(draw, path, 1.1 + 0.32 * len(values))


def pass_at_1(scores: Sequence[Score], path: str) -> None:
    """Bars of pass@1 in percent with 95 % intervals, one for each score."""
    names = [_label(f"{s.role}: {s.model}" if s.source == "all" else f"{s.role} on {s.source}") for s in scores]
    values = [100 * s.pass_at_1 for s in scores]
    errors = [[100 * (s.pass_at_1 - s.low) for s in scores], [100 * (s.high - s.pass_at_1) for s in scores]]

    def draw(axes: Any) -> None:
        places = range(len(scores))
        axes.barh(
            places, values, xerr=errors, color=[ROLE_COLOURS.get(s.role, ORANGE) for s in scores], height=0.6, capsize=3, ecolor="black"
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


def completion_lengths(lengths: Mapping[str, Sequence[int]], path: str, max_tokens: int | None = None) -> None:
    """Stacked histogram of completion tokens by outcome; a line marks `max_tokens`, where completions are cut."""
    outcomes = [outcome for outcome in sorted(lengths, key=lambda name: (name != "correct", name)) if lengths[outcome]]
    spare = ["#8064a2", "#c9a227", "#5aa5a5", "#c77ba5"]
    colours = [VERDICT_COLOURS.get(outcome) or spare[index % len(spare)] for index, outcome in enumerate(outcomes)]

    def draw(axes: Any) -> None:
        if outcomes:
            named = [f"{_label(outcome)} ({len(lengths[outcome]):,})" for outcome in outcomes]
            axes.hist([list(lengths[outcome]) for outcome in outcomes], bins=BINS, stacked=True, color=colours, label=named)
        if max_tokens is not None:
            axes.axvline(max_tokens, color="black", linestyle="--", linewidth=1, label=f"max_tokens {max_tokens:,}")
        if outcomes or max_tokens is not None:
            axes.legend(fontsize=8, frameon=False)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens in the completion, thinking included")
        axes.set_ylabel("completions")
        axes.set_title("Completion lengths by verdict", loc="left")

    _save(draw, path, 3.2)


def loss(steps: Sequence[int], losses: Sequence[float], path: str) -> None:
    """Training loss over optimizer steps, with a running mean where there are many of them."""
    reach = len(losses) // 50
    around = [losses[max(0, index - reach) : index + reach + 1] for index in range(len(losses))]
    means = [sum(part) / len(part) for part in around]

    def draw(axes: Any) -> None:
        axes.plot(
            steps, losses, color=GREY if reach else BLUE, linewidth=1, marker="." if len(losses) < 30 else None, label="each logged step"
        )
        if reach:
            axes.plot(steps, means, color=BLUE, linewidth=1.8, label=f"mean of {2 * reach + 1} around")
            axes.legend(fontsize=8, frameon=False)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss per trained token (nats)")
        axes.set_title("Training loss", loc="left")

    _save(draw, path, 3.2)


def _save(draw: Callable[[Any], None], path: str, height_inches: float) -> None:
    """Draws one chart and writes it whole or not at all; the format is the path's suffix, `.png` or `.svg`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kind = PurePosixPath(path).suffix.removeprefix(".")
    with rc_context({"font.size": 9, "svg.hashsalt": "distill", "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
        draw(figure.add_subplot())
        with shards.replacing(path) as file:
            figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _label(text: str) -> str:
    """A name as a short label: ASCII (the built-in font has no CJK) and without `$`, which would start a formula."""
    shown = inert(text).encode("ascii", "backslashreplace").decode("ascii").replace("$", r"\$")
    return shown if len(shown) <= LONGEST_LABEL else shown[: LONGEST_LABEL - 15] + "..." + shown[-12:]
