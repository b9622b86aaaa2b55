"""Tokens, speeds and hours of a run as bands: the formulae that `plan` prints and `preflight` judges by.

The bands are what published runs spread over, not confidence intervals. No network: what is
known of models and hub datasets by name stands in `configs/models.toml`.
"""

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from distill.files import readers
from distill.hardware import Device, memory, shapes
from distill.hardware.shapes import Architecture
from distill.plan import adaptive
from distill.recipe import tables
from distill.recipe.dataset import DatasetRecipe, ProblemSource, Sampling, StudentRecipe, Teacher
from distill.sample import DrawPlan
from distill.verifiers import rules

SHARE_OF_LIMIT = 0.5
"""Mean length is at most this share of `max_tokens`."""
ASSUMED_ROWS = 10_000
COUNTED_BYTES = 64 << 20
PROMPT_TOKENS = 200
STEP_SECONDS = 0.005
MOST_SEQUENCES = 1024
REQUEST_TOKENS_PER_SECOND = (10.0, 21.0, 60.0)
"""Of one request to an API: DeepSeek tells 20 to 22 for its own (open-infra, day 6), 60 for the new V3."""
MIXTURE = re.compile(r"(\d+(?:\.\d+)?)b-a(\d+(?:\.\d+)?)b")
"""All parameters and those that one token is computed with, in a name such as Qwen3-235B-A22B."""


@dataclass(frozen=True, slots=True)
class Served:
    """What serving a model reads and computes."""

    weights: float
    """Bytes."""
    parameters: float
    """That one token is computed with."""
    dense_share: float
    """Of the weights that one token reads: 1, or less for a mixture of experts."""
    kv_bytes: int
    """Of one token."""


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
        return (
            self
            if limit is None
            else Range(min(self.low, limit), min(self.likely, limit), min(self.high, limit))
        )

    def under(self, amount: float) -> "Range":
        """`amount` divided by this: the high end of a speed is the low end of a time."""
        return Range(amount / self.high, amount / self.likely, amount / self.low)


MFU = Range(0.10, 0.25, 0.40)
"""Share of peak in training; published runs imply 4 to 40 %."""
DECODE_SHARE = Range(0.05, 0.25, 0.60)
"""Share of the decode roofline; OpenThoughts3 had about 13 % with QwQ-32B, four 1.5B engines on one H200
about 20 %."""
KEPT = Range(0.25, 0.5, 0.8)
"""Share of the traces that pass: Open-R1 55 % of the problems, Bespoke 25 to 73 % by the verifier."""
KEPT_ALL = Range(0.8, 0.95, 1.0)
LENGTH = Range(0.5, 1.0, 1.5)
CUT = Range(0.0, 0.05, 0.15)
"""Share of the traces that reach `max_tokens`; 4 % of a 1.5B model's on GSM8K at 1,024."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One line of a plan: a band, and the formula with its inputs."""

    name: str
    unit: str
    value: Range
    formula: str


def exact(name: str, value: float, formula: str, unit: str = "") -> Estimate:
    """A line without a band."""
    return Estimate(name, unit, Range(value, value, value), formula)


def problem_count(source: ProblemSource) -> tuple[int, bool]:
    """(rows of a problem source, whether that is known rather than assumed)."""
    place = readers.locate(source)
    rows = _table("rows").get(source.path, {}).get(source.split) if place is None else _file_rows(place)
    known = rows is not None or source.limit is not None
    rows = rows if rows is not None else source.limit or ASSUMED_ROWS
    return min(rows, source.limit or rows), known


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
    return reduce(
        Range.plus,
        (draws(source, dataset).times(problem_count(source)[0]) for source in sources_of),
        Range(0, 0, 0),
    )


def sampled_tokens(dataset: DatasetRecipe) -> Range:
    """Tokens that the teacher writes: traces x mean tokens, and cut ones again with a larger budget."""
    asked_for = traces(asked(dataset), dataset)
    return asked_for.by(trace_tokens(dataset)).plus(asked_for.by(CUT).times(next_budget(dataset.sampling)))


def next_budget(sampling: Sampling) -> int:
    """Tokens that a cut completion is asked again with; 0 where it is not."""
    return next(iter(DrawPlan(sampling).budgets[1:]), 0)


def decode_speed(
    shape: Architecture,
    device: Device,
    live_tokens: float,
    *,
    number_bytes: int = 2,
    most_sequences: float = MOST_SEQUENCES,
) -> Range:
    """Output tokens a second for one GPU of a dense model; see `serving_speed`."""
    served = Served(shape.parameters * number_bytes, shape.parameters, 1.0, shape.kv_bytes(number_bytes))
    return serving_speed(served, device, live_tokens, most_sequences)


def serving_speed(
    served: Served, device: Device, live_tokens: float, most_sequences: float = MOST_SEQUENCES
) -> Range:
    """Output tokens a second for one GPU: the roofline of weights and KV cache over bandwidth, or of FLOPs,
    at its usual share.

    `live_tokens` is the mean length of a sequence while it is made, `most_sequences` how many of them there
    are for each GPU. The model is spread over as few GPUs (1, 2, 4, ...) as hold it and some cache.
    """
    kv, spread = served.kv_bytes * live_tokens, 1
    while spread < 16 and spread * device.memory_gib * memory.GIB * memory.VLLM_SHARE < served.weights * 1.2:
        spread *= 2
    free = (
        spread * (device.memory_gib * memory.VLLM_SHARE - memory.OVERHEAD_GIB) * memory.GIB - served.weights
    )
    batch = max(1.0, min(float(MOST_SEQUENCES), most_sequences * spread, free / kv))
    weights = served.weights * (
        1 - (1 - served.dense_share) ** batch
    )  # of the experts, those that a batch needs
    reading = (weights + batch * kv) / (spread * device.bandwidth_gb_per_second * 1e9)
    computing = 2 * served.parameters * batch / (spread * device.tflops * 1e12)
    return DECODE_SHARE.times(batch / (max(reading, computing) + STEP_SECONDS) / spread)


def row_tokens(dataset: DatasetRecipe, student: StudentRecipe) -> float:
    """Likely mean tokens of a training row: prompt and trace, ready ones too."""
    tokens = _mean_tokens(dataset.problems, dataset).likely
    return min(tokens + min(PROMPT_TOKENS, tokens), student.training.max_length)


def teacher_speed(teacher: Teacher, device: Device, tokens: float, gpus: int = 1) -> Range | None:
    """Output tokens a second for one GPU of so many, or None for an unknown shape."""
    if is_r1(teacher.model):
        return Range(*_table("r1")["tokens_per_gpu_second"])
    model = served(teacher)
    live = min(PROMPT_TOKENS, tokens) + tokens / 2
    return None if model is None else serving_speed(model, device, live, teacher.concurrency / gpus)


def teacher_bytes(teacher: Teacher, tokens: float) -> float | None:
    """Weights and one sequence's cache: the least that serving takes; None for an unknown shape."""
    model = served(teacher)
    return None if model is None else model.weights + model.kv_bytes * tokens


def served(teacher: Teacher) -> Served | None:
    """What serving a teacher takes, by its name or its folder's config; None where neither tells the size."""
    name = teacher.model.rstrip("/").rsplit("/", 1)[-1].lower()
    if is_r1(name):
        r1 = _table("r1")  # its weights are in FP8
        total, active = r1["parameters"], r1["active_parameters"]
        return Served(total, active, active / total, r1["kv_bytes"])
    cache_bytes = memory.NUMBER_BYTES[teacher.dtype]
    number_bytes = 1 if "fp8" in name else cache_bytes
    if found := MIXTURE.search(name):
        parameters, active = (float(size) * 1e9 for size in found.groups())
        kv = _table("mixture_kv_bytes").get(found[1]) or shapes.nearest(int(active)).kv_bytes()
        return Served(parameters * number_bytes, active, active / parameters, kv * cache_bytes // 2)
    shape = shapes.guess(teacher.model)
    return (
        None
        if shape is None
        else Served(shape.parameters * number_bytes, shape.parameters, 1.0, shape.kv_bytes(cache_bytes))
    )


def api_speed(teacher: Teacher) -> Range:
    """Output tokens a second of an API that is asked so many requests at a time."""
    return Range(*REQUEST_TOKENS_PER_SECOND).times(teacher.concurrency)


def is_r1(model: str) -> bool:
    """Whether a model is DeepSeek-R1 (or V3, or R1-0528) itself, not one of its students."""
    name = model.rsplit("/", 1)[-1].lower()
    return name.startswith(("deepseek-r1", "deepseek-v3")) and "distill" not in name


def kept_examples(student: StudentRecipe, dataset: DatasetRecipe) -> Range:
    """Examples that are trained on, by the usual share of traces that pass and the recipes' limits.

    Where sources have shares, the scarcest one decides how much is used of the others.
    """
    passing = [
        (source, _kept(source, dataset).times(problem_count(source)[0])) for source in dataset.problems
    ]
    whole = [kept.times(1 / source.share) for source, kept in passing if source.share and kept.likely]
    limits = [reduce(Range.plus, (kept for _, kept in passing)), *whole]
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
    return KEPT if source.kind != "open" or dataset.verification.judge else Range(0, 0, 0)


def training_hours(
    shape: Architecture, tokens: float, row_tokens: float, device: Device, gpus: int, *, checkpointing: bool
) -> Range:
    """tokens x FLOPs a token / (GPUs x peak x MFU)."""
    flops = shape.training_flops(int(row_tokens), checkpointing=checkpointing)
    return MFU.times(gpus * device.tflops * 1e12).under(tokens * flops).times(1 / 3600)


def training_range(
    student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int
) -> tuple[Range, Range]:
    """Trained tokens, and hours at the likely number of them."""
    training, row = student.training, row_tokens(dataset, student)
    trained = kept_examples(student, dataset).times(row * training.epochs)
    shape = memory.shape_of(student.base)
    return trained, training_hours(
        shape, trained.likely, row, device, gpus, checkpointing=training.gradient_checkpointing
    )


def _table(section: str) -> dict[str, Any]:
    """What is known of models and hub datasets by name, with its sources."""
    return tables.section("models.toml", section)


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
