"""How fast a model is sampled, and what serving it takes: a roofline of bandwidth and compute, with a wide
band.

No speed is taken from a publication: published speeds hold for the device, engine and lengths that they were
measured with. Tests check that they lie within the band.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from distill.engines import ENGINES
from distill.hardware import Device, memory, shapes
from distill.plan.costs import PROMPT_TOKENS, Range, measured
from distill.recipe import Serving, StudentRecipe, Teacher, tables

REQUEST_TOKENS_PER_SECOND = Range(10.0, 21.0, 60.0)
"""Of one request to an API: DeepSeek tells 20 to 22 for its own (open-infra, day 6), 60 for the new V3."""
STEP_SECONDS = 0.005
"""Of one decoding step beside reading and computing."""
MOST_SEQUENCES = 1024
WEIGHTS_ROOM = 1.2
"""A model is spread over as many GPUs as hold its weights and a fifth more for the cache."""
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
    kv_bytes: float
    """Of one token."""


class Engines(NamedTuple):
    """How the GPUs are shared out."""

    gpus: int
    """That are used."""
    copies: int
    """Engines, each with a scheduler on one CPU core."""


def served(teacher: Teacher) -> Served | None:
    """What serving a teacher takes, by its name or its folder's config; None where neither tells the size."""
    name = teacher.model.rstrip("/").rsplit("/", 1)[-1].lower()
    cache_bytes = memory.NUMBER_BYTES[teacher.dtype]
    number_bytes = 1 if "fp8" in name else cache_bytes
    known = max((key for key in _mixtures() if name.startswith(key) and "distill" not in name), default=None)
    if known is not None:
        row = _mixtures()[known]
        numbers = row["layers"] * (row.get("latent") or 2 * row["kv_heads"] * row["head_dim"])
        weights = row["parameters"] * row.get("weight_bytes", number_bytes)
        active = row["active_parameters"]
        return Served(weights, active, active / row["parameters"], numbers * cache_bytes)
    if found := MIXTURE.search(name):
        parameters, active = (float(size) * 1e9 for size in found.groups())
        kv = shapes.nearest(int(active)).kv_bytes(cache_bytes)
        return Served(parameters * number_bytes, active, active / parameters, kv)
    shape = shapes.guess(teacher.model)
    if shape is None:
        return None
    return Served(shape.parameters * number_bytes, shape.parameters, 1.0, shape.kv_bytes(cache_bytes))


def api_speed(teacher: Teacher) -> Range:
    """Output tokens a second of an API that is asked so many requests at a time."""
    return REQUEST_TOKENS_PER_SECOND.times(teacher.concurrency)


def student_engine(student: StudentRecipe, model: str, device: Device, gpus: int) -> Teacher:
    """How a student, or its base, is opened to be scored: as `evaluation` says, and spread over as few GPUs
    as hold its weights where that says nothing."""
    section = student.evaluation
    shared = {name: getattr(section, name) for name in Serving.model_fields}
    shape, number_bytes = memory.shape_of(student.base), memory.NUMBER_BYTES[section.dtype]
    weights = student.base.parameters * number_bytes
    wide = section.tensor_parallel
    if wide is None:
        most = shape.heads & -shape.heads  # the largest power of two that divides them: vLLM cuts by heads
        wide = spread(weights, device, min(gpus, most))
    return Teacher(
        engine=section.engine,
        model=model,
        dtype=section.dtype,
        tensor_parallel=wide,
        **shared,
    )


def spread(weights: float, device: Device, most: int = 16) -> int:
    """GPUs that hold a model's weights with room for a cache: a power of two, at most `most`."""
    wide, room = 1, device.memory_gib * memory.VLLM_SHARE * memory.GIB
    while 2 * wide <= most and wide * room < weights * WEIGHTS_ROOM:
        wide *= 2
    return wide


def least_gib(model: Served, tokens: float) -> float:
    """Weights and one sequence's cache: the least that serving takes."""
    return (model.weights + model.kv_bytes * tokens) / memory.GIB


def speed(
    model: Served, device: Device, tokens: float, sequences: float = MOST_SEQUENCES, engines: float = 1.0
) -> Range:
    """Output tokens a second for one GPU.

    - Step: the larger of (weights read + cache of all sequences) / bandwidth and 2 x parameters x sequences /
      peak, and `STEP_SECONDS`. The roofline is sequences / step; engines reach `decode_share` of it.
    - `tokens` is the mean completion: half of it is in the cache on average. `sequences` are in flight for
      each GPU.
    - Of a mixture's experts a batch reads 1 - (1 - share)^sequences.
    - At most `engine_tokens_per_second` for each of `engines` on a GPU, since a CPU core schedules each.
    """
    kv, wide = model.kv_bytes * (min(PROMPT_TOKENS, tokens) + tokens / 2), spread(model.weights, device)
    room = device.memory_gib * memory.VLLM_SHARE * memory.GIB
    free = wide * (room - memory.SERVING_GIB * memory.GIB) - model.weights
    batch = max(1.0, min(float(MOST_SEQUENCES), sequences * wide, free / kv))
    weights = model.weights * (1 - (1 - model.dense_share) ** batch)
    reading = (weights + batch * kv) / (wide * device.bandwidth_gb_per_second * 1e9)
    computing = 2 * model.parameters * batch / (wide * device.tflops * 1e12)
    made = measured("decode_share").times(batch / (max(reading, computing) + STEP_SECONDS) / wide)
    most = measured("engine_tokens_per_second").times(max(1.0, engines) / wide)
    return Range(min(made.low, most.low), min(made.likely, most.likely), min(made.high, most.high))


def engines(teacher: Teacher, gpus: int) -> Engines:
    """The GPUs and engines of a teacher: vLLM starts copies of `tensor_parallel` GPUs, `engines_per_gpu` on
    each."""
    width = min(teacher.tensor_parallel, gpus)
    if not ENGINES[teacher.engine].starts_servers:
        return Engines(gpus, gpus)
    groups = gpus // width
    if teacher.replicas is not None:
        groups = min(groups, math.ceil(teacher.replicas / teacher.engines_per_gpu))
    return Engines(groups * width, teacher.replicas or groups * teacher.engines_per_gpu)


def hours(model: Served, teacher: Teacher, device: Device, gpus: int, written: Range, tokens: float) -> Range:
    """Of sampling so many tokens: over the speed of the GPUs that are used. The band is that of the speed."""
    placed = engines(teacher, gpus)
    each = speed(model, device, tokens, teacher.concurrency / placed.gpus, placed.copies / placed.gpus)
    return each.under(written.likely / 3600 / placed.gpus)


def start_hours(teacher: Teacher, weights: float) -> Range:
    """Of starting the engine of a local model: its own start, and reading the weights; a server runs
    already."""
    if not ENGINES[teacher.engine].local_weights:
        return Range(0, 0, 0)
    start = "engine_start_seconds" if ENGINES[teacher.engine].starts_servers else "transformers_start_seconds"
    reading = measured("weights_gb_per_second").under(weights / 1e9)
    return measured(start).plus(reading).times(1 / 3600)


def _mixtures() -> dict[str, dict[str, float]]:
    return tables.section("models.toml", "mixtures")
