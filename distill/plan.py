"""What a run needs in memory, time, tokens and money, before anything is spent.

`plan` adds up published formulae and prints each with its inputs and a band. It knows no prices but the recipe's and a round
GPU rental price. Whether *this* machine can do it is `preflight`, in its own file.
"""

import math
from dataclasses import dataclass

from distill import costs, hardware, memory
from distill.costs import Range, number
from distill.hardware import DEVICES, Device
from distill.preflight import CannotRun, preflight
from distill.recipe import DatasetRecipe, StudentRecipe
from distill.section import RecipeError

__all__ = ["CannotRun", "Estimate", "Plan", "plan", "preflight", "table"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One line of a plan: a band, and the formula with its inputs."""

    name: str
    unit: str
    value: Range
    formula: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a student on a dataset needs on so many GPUs of a kind."""

    student: str
    dataset: str
    device: Device
    gpus: int
    estimates: tuple[Estimate, ...]
    fits: bool
    """Whether the likely memory of training fits."""
    advice: str

    def of(self, name: str) -> Range:
        """The band of an estimate by its name; KeyError when the plan has no such line."""
        return {estimate.name: estimate.value for estimate in self.estimates}[name]


def plan(student: StudentRecipe, dataset: DatasetRecipe, gpu: str | None = None, gpus: int | None = None) -> Plan:
    """The estimates of a run; raises RecipeError for an unknown GPU name.

    `gpu` is a name in `hardware.DEVICES` or `"cpu"`; None: this machine's, else an H100. `gpus`: None for the fewest that fit.
    """
    device, count = _device(student, gpu, gpus)
    estimates = (
        *_sampling(dataset, device, count),
        *_training(student, dataset, device, count),
        *_memory(student, device, count),
        *_evaluation(student, device, count),
    )
    fits = memory.training_memory(student, count, on_gpu=device.name != "cpu").likely <= device.memory_gib
    return Plan(student.name, dataset.name, device, count, estimates, fits, _advice(student, device, count, fits))


def table(plan: Plan) -> str:
    """A plan as text: likely value, band, formula with inputs."""
    lines = [f"{plan.student} on {plan.dataset}, {plan.gpus} x {plan.device.name} ({plan.device.memory_gib:.0f} GiB each)", ""]
    rows = [("", "likely", "low to high", "")]
    for e in plan.estimates:
        band = "" if e.value.low == e.value.high else f"{number(e.value.low)} to {number(e.value.high)}"
        rows.append((e.name, f"{number(e.value.likely)} {e.unit}".strip(), band, e.formula))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines += [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip() for row in rows]
    return "\n".join([*lines, "", plan.advice])


def _advice(student: StudentRecipe, device: Device, gpus: int, fits: bool) -> str:
    """One sentence on whether training fits, and on how many it would."""
    if device.name == "cpu":
        return "Training fits into this machine's memory." if fits else "Training does not fit into this machine's memory."
    needed = memory.gpus_needed(student, device)
    if fits:
        return f"Training fits on {gpus} x {device.name}" + (f" ({needed} would do)." if needed is not None and needed < gpus else ".")
    if needed is None:
        return (
            f"Training fits on no number of {device.name}: lower training.max_length or training.device_batch_size, or take a larger GPU."
        )
    return f"Training does not fit on {gpus} x {device.name}; it would on {needed}."


def _device(student: StudentRecipe, gpu: str | None, gpus: int | None) -> tuple[Device, int]:
    """The kind and number of devices that a plan is for."""
    here = hardware.gpus() if gpu is None else []
    if here:
        return hardware.device_of(here[0]), gpus or len(here)
    if gpu == "cpu":
        return hardware.this_cpu(), 1
    device = DEVICES.get(gpu or "h100")
    if device is None:
        raise RecipeError(f"no GPU {gpu!r}; known are {', '.join(DEVICES)} and cpu")
    return device, gpus or memory.gpus_needed(student, device) or memory.MOST_GPUS


def _sampling(dataset: DatasetRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about the teacher."""
    tokens = costs.trace_tokens(dataset)
    counted = [costs.problem_count(source) for source in dataset.problems]
    problems = sum(rows for rows, _ in counted)
    asked = sum(costs.problem_count(source)[0] for source in costs.asked(dataset))
    traces, ready = asked * dataset.sampling.n, problems - asked
    known = "" if all(known for _, known in counted) else f"; {costs.ASSUMED_ROWS:,} assumed where the size is not known"
    lines = [
        _exact(
            "problems", problems, " + ".join(f"{s.name} {rows:,}" for s, (rows, _) in zip(dataset.problems, counted, strict=True)) + known
        ),
        _exact("traces", traces + ready, f"{asked:,} problems x n {dataset.sampling.n}" + (f" + {ready:,} ready ones" if ready else "")),
        Estimate("tokens per trace", "", tokens, "R1's means by domain (Table 5), at most half of max_tokens"),
    ]
    if dataset.teacher.engine in ("replay", "scripted") or not asked:
        return lines
    total = tokens.times(traces)
    lines.append(Estimate("sampled tokens", "", total, f"{traces:,} traces x {number(tokens.likely)} tokens"))
    price = dataset.teacher.completion_usd_per_million
    if price is not None:
        prompts = traces * costs.PROMPT_TOKENS * (dataset.teacher.prompt_usd_per_million or 0) / 1e6
        money = Range(*(value * price / 1e6 + prompts for value in (total.low, total.likely, total.high)))
        return [*lines, Estimate("sampling money", "USD", money, f"sampled tokens x {price:g} USD a million, and the prompts")]
    speed = costs.teacher_speed(dataset.teacher, device, tokens.likely)
    need = (costs.teacher_bytes(dataset.teacher, tokens.likely) or 0.0) / memory.GIB
    if speed is None:
        return [*lines, _exact("sampling hours", float("nan"), f"the size of {dataset.teacher.model} is not known here")]
    hours, room = speed.under(total.likely / 3600), device.memory_gib * memory.VLLM_SHARE
    r1 = costs.is_r1(dataset.teacher.model)
    source = "published for R1, Open-R1 to DeepSeek's own" if r1 else "5, 25, 60 % of the decode roofline"
    return [
        *lines,
        _exact(
            "teacher memory", need, f"weights and one sequence: {math.ceil(need / room)} x {device.name} or more, at 90 % of each", "GiB"
        ),
        Estimate("teacher speed", "tok/s", speed, f"{dataset.teacher.model} on one {device.name}: {source}"),
        Estimate("sampling hours", "h", hours.times(1 / gpus), f"{number(total.likely)} tokens / speed / {gpus}"),
        Estimate("sampling money", "USD", hours.times(device.usd_per_hour), f"GPU-hours x {device.usd_per_hour:g} USD"),
    ]


def _training(student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about the student's training; times are at the likely number of tokens."""
    training, row = student.training, costs.row_tokens(dataset, student)
    flops = memory.shape_of(student.base).training_flops(int(row), checkpointing=training.gradient_checkpointing)
    trained, hours = costs.training_range(student, dataset, device, gpus)
    steps = costs.kept_examples(student, dataset).times(training.epochs / training.batch_size)
    return [
        Estimate(
            "examples",
            "",
            costs.kept_examples(student, dataset),
            "traces that pass (25, 50, 80 %; 80, 95, 100 % unchecked), shares, limits",
        ),
        Estimate("trained tokens", "", trained, f"examples x {number(row)} tokens x {training.epochs:g} epochs"),
        Estimate("steps", "", steps, f"examples x {training.epochs:g} epochs / batch {training.batch_size}"),
        _exact(
            "tokens per step",
            training.batch_size * row,
            f"batch {training.batch_size} x {number(row)}; read it with lr {training.learning_rate:g}",
        ),
        _exact("FLOPs per token", flops, f"{'8N + 8Lads' if training.gradient_checkpointing else '6N + 6Lads'}, s {number(row)}"),
        Estimate("training hours", "h", hours, f"tokens x FLOPs / ({gpus} x {device.tflops:g} TFLOP/s x MFU 10, 25, 40 %)"),
        Estimate("training money", "USD", hours.times(gpus * device.usd_per_hour), f"hours x {gpus} x {device.usd_per_hour:g} USD"),
    ]


def _memory(student: StudentRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about memory on each GPU."""
    training, shape = student.training, memory.shape_of(student.base)
    used = memory.training_memory(student, gpus, on_gpu=device.name != "cpu")
    states = (
        f"LoRA: 2 B x N + 16 B x r {training.lora_rank} adapters"
        if training.lora_rank
        else "16 B x N (8 B all in bf16, 18 B with fp32 gradients)"
    )
    held = "L·s·h + one layer" if training.gradient_checkpointing else "34·s·h·L"
    size = f"s {training.max_length:,} x b {training.device_batch_size}"
    kv = shape.kv_bytes() * training.max_length / memory.GIB
    return [
        _exact("weights", student.base.parameters * 2 / memory.GIB, "2 B x N (bf16)", "GiB"),
        _exact("model states", used.states, f"{states} / {gpus}", "GiB/GPU"),
        _exact("activations", used.activations, f"{held}, {size}", "GiB/GPU"),
        _exact(
            "logits",
            used.logits,
            f"s·V·4 B x {memory.LOGIT_COPIES:g}, V {shape.vocabulary:,}; of {memory.CHUNK_TOKENS} tokens when chunked",
            "GiB/GPU",
        ),
        Estimate(
            "training memory",
            "GiB/GPU",
            Range(used.low, used.likely, used.high),
            f"their sum and {used.overhead:g} GiB; there are {number(device.memory_gib)}",
        ),
        _exact("KV cache", kv, f"2·L·kv·d·2 B = {shape.kv_bytes() / 1024:g} KiB a token x {training.max_length:,}", "GiB"),
    ]


def _evaluation(student: StudentRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about scoring base and student (a teacher is not counted)."""
    section = student.evaluation
    problems = sum(costs.problem_count(source)[0] for source in section.problems)
    length = costs.LENGTH.times(min(costs.TOKENS["math"], costs.SHARE_OF_LIMIT * section.max_tokens))
    total = length.times(2 * problems * section.n)
    live = min(costs.PROMPT_TOKENS, length.likely) + length.likely / 2
    speed = costs.decode_speed(memory.shape_of(student.base), device, live, number_bytes=memory.NUMBER_BYTES[section.dtype])
    return [
        Estimate("evaluation tokens", "", total, f"2 models x {problems:,} problems x n {section.n} x {number(length.likely)} tokens"),
        Estimate("evaluation hours", "h", speed.under(total.likely / 3600 / gpus), f"tokens / {number(speed.likely)} tok/s / {gpus}"),
    ]


def _exact(name: str, value: float, formula: str, unit: str = "") -> Estimate:
    return Estimate(name, unit, Range(value, value, value), formula)
