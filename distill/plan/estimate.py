"""The plan of a run: every line of it, whether it fits, and what to choose where it does not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from distill import hardware
from distill.hardware import Device, memory
from distill.plan import costs, sampling, training
from distill.plan.costs import NOTHING, Estimate, Range, measured, total
from distill.plan.training import Serving
from distill.progress import number
from distill.recipe import DatasetRecipe, RecipeError, StudentRecipe, load

STAGES = ("sampling", "judge", "training", "evaluation", "starts")
"""What takes time; each has a line of hours and one of money, where it has any."""
MOST_PLANNED = 100_000
LORA_RANK = 16


class Placed(NamedTuple):
    """The kind and number of devices that a plan is for."""

    device: Device
    gpus: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a student on a dataset needs on so many GPUs of a kind."""

    student: str
    dataset: str
    device: Device
    gpus: int
    estimates: tuple[Estimate, ...]
    serving: tuple[Serving, ...]
    fits: bool
    """Whether the likely memory of training and teacher fit."""
    verdict: tuple[str, ...]
    """Sentences: what fits, what does not, and what to choose instead."""

    def of(self, name: str) -> Range:
        """The band of an estimate by its name; KeyError when the plan has no such line."""
        return {estimate.name: estimate.value for estimate in self.estimates}[name]


def plan(
    student: StudentRecipe, dataset: DatasetRecipe, gpu: str | None = None, gpus: int | None = None
) -> Plan:
    """The estimates of a run; raises RecipeError for an unknown GPU or an impossible number of them, and for
    a cap in money without prices.

    `gpu` is a name in `hardware.devices()` or `"cpu"`; None: this machine's, else an H100. `gpus`: None for
    the fewest that fit.
    """
    device, count = _placed(student, dataset, gpu, gpus)
    row, longest = costs.row_tokens(dataset, student), training.longest_row(student, dataset)
    student = memory.fitted(student, device, count, row, longest)
    teacher = sampling.sampling(dataset, device, count)
    trained = training.training(student, dataset, device, count)
    tokens = next(line.value for line in trained if line.name == "trained tokens")
    lines = [
        *teacher,
        *sampling.judging(dataset),
        *trained,
        *training.memory_lines(student, dataset, device, count, tokens),
        *training.evaluation(student, dataset, device, count),
        *_starts(student, dataset, device, count, tokens),
    ]
    stored = next((line.value for line in teacher if line.name == "sampled tokens"), tokens)
    lines += [*_whole(lines), *training.disk(student, dataset, stored)]
    fits = training.memory_of(student, dataset, device, count).likely <= device.memory_gib
    room = sampling.teacher_room(dataset, device, count)
    verdict = [
        *_verdict(student, dataset, Placed(device, count), fits),
        *([room] if room else []),
        *sampling.stops(lines),
        *_unknown(lines),
    ]
    served = tuple(training.serving_table(student, device))
    return Plan(
        student.name, dataset.name, device, count, tuple(lines), served, fits and not room, tuple(verdict)
    )


def _placed(student: StudentRecipe, dataset: DatasetRecipe, gpu: str | None, gpus: int | None) -> Placed:
    """What was asked for, this machine's GPUs, or the fewest that fit."""
    if gpus is not None and not 1 <= gpus <= MOST_PLANNED:
        raise RecipeError(f"--gpus {gpus}: give a number of GPUs from 1 to {MOST_PLANNED:,}")
    here = hardware.gpus() if gpu is None else []
    if here:
        return Placed(hardware.device_of(here[0]), gpus or len(here))
    if gpu is not None and gpu.lower().strip() == "cpu":
        return Placed(hardware.this_cpu(), 1)
    device = hardware.find("h100" if gpu is None else gpu)
    return Placed(device, gpus or _needed(student, dataset, device) or memory.MOST_GPUS)


def _needed(student: StudentRecipe, dataset: DatasetRecipe, device: Device) -> int | None:
    """The fewest GPUs that training on the dataset's likely rows fits on."""
    row, longest = costs.row_tokens(dataset, student), training.longest_row(student, dataset)
    return memory.gpus_needed(student, device, row, longest)


def _starts(
    student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int, tokens: Range
) -> list[Estimate]:
    """All that is neither sampling nor a training step: imports, engines, encoding, checkpoints."""
    hours = total(
        [
            measured("run_start_seconds").times(1 / 3600),
            training.engine_starts(student, dataset, device, gpus),
            training.beside_steps(student, dataset, tokens),
        ]
    )
    return [
        Estimate("starts hours", "h", hours, "engines, imports, encoding, checkpoints"),
        Estimate("starts money", "USD", hours.times(gpus * device.usd_per_hour)),
    ]


def _whole(lines: list[Estimate]) -> list[Estimate]:
    """The sums over all stages; a stage whose size is not known is left out."""
    found = {line.name: line.value for line in lines if not math.isnan(line.value.likely)}
    hours = total([found.get(f"{stage} hours", NOTHING) for stage in STAGES])
    money = total([found.get(f"{stage} money", NOTHING) for stage in STAGES])
    return [Estimate("whole run hours", "h", hours), Estimate("whole run money", "USD", money)]


def _unknown(lines: list[Estimate]) -> Iterator[str]:
    for line in lines:
        if math.isnan(line.value.likely):
            yield f"The whole run leaves out its {line.name}: {line.note}."


def _verdict(student: StudentRecipe, dataset: DatasetRecipe, placed: Placed, fits: bool) -> Iterator[str]:
    """Whether training fits, and the next best choices where it does not."""
    device, gpus = placed
    where = "this machine's memory" if device.name == "cpu" else f"{gpus} x {device.name}"
    needed = None if device.name == "cpu" else _needed(student, dataset, device)
    used = memory.gpus_used(student, gpus)
    if fits:
        fewer = f" ({needed} would do)" if needed is not None and needed < gpus else ""
        yield f"Training fits on {where}{fewer}."
        if used < gpus:
            yield f"It uses {used} of the {gpus} GPUs: LoRA and models under 100 M parameters train on one."
        return
    yield f"Training does not fit on {where}."
    choices = list(_choices(student, dataset, placed, needed))
    yield f"Instead: {'; '.join(choices)}." if choices else "Take a larger GPU or a smaller student."


def _choices(
    student: StudentRecipe, dataset: DatasetRecipe, placed: Placed, needed: int | None
) -> Iterator[str]:
    """What would fit, nearest to what was asked for first: more GPUs, shorter passes, LoRA, a smaller
    student."""
    device, gpus = placed
    if needed is not None and needed > gpus:
        yield f"{needed} x {device.name}"

    def fitting(candidate: StudentRecipe) -> bool:
        return training.memory_of(candidate, dataset, device, gpus).likely <= device.memory_gib

    section = student.training
    key = "device_tokens" if memory.end_to_end(section, device) else "device_batch_size"
    for name, value in (
        (key, max(64, getattr(section, key) // 4) if key == "device_tokens" else 1),
        ("max_length", 8192),
    ):
        if value < getattr(section, name) and fitting(_changed(student, name, value)):
            yield f"--set training.{name}={value}"
            break
    if section.lora_rank is None and fitting(_changed(student, "lora_rank", LORA_RANK)):
        yield f"LoRA (--set training.lora_rank={LORA_RANK})"
    others = (load.load_student(name, ()) for name in load.names("students") if not name.startswith("tiny"))
    smaller = [
        other for other in others if other.base.parameters < student.base.parameters and fitting(other)
    ]
    if smaller:
        largest = max(smaller, key=lambda other: other.base.parameters)
        size = number(largest.base.parameters)
        yield f"a smaller student, such as --student {largest.name} ({size} parameters)"


def _changed(student: StudentRecipe, key: str, value: int) -> StudentRecipe:
    return student.model_copy(update={"training": student.training.model_copy(update={key: value})})
