"""What a run needs in memory, time, tokens and money, before anything is spent.

`plan` adds up published formulae and prints each with its inputs and a band; the lines about teacher and
judge are in `plan_sampling`. It knows no prices but the recipe's and a round GPU rental price. Whether *this*
machine can do it is `preflight`, in its own file.
"""

from dataclasses import dataclass

from distill import hardware
from distill.hardware import Device, devices, memory
from distill.plan import costs, sampling
from distill.plan.costs import Estimate, Range, exact
from distill.plan.preflight import CannotRun, preflight
from distill.progress import number
from distill.recipe.dataset import DatasetRecipe, StudentRecipe
from distill.recipe.section import RecipeError
from distill.text.tables import aligned
from distill.verifiers import rules

__all__ = ["CannotRun", "Estimate", "Plan", "plan", "preflight", "table"]


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


def plan(
    student: StudentRecipe, dataset: DatasetRecipe, gpu: str | None = None, gpus: int | None = None
) -> Plan:
    """The estimates of a run; raises RecipeError for an unknown GPU name, and for a cap in money without
    prices.

    `gpu` is a name in `hardware.devices()` or `"cpu"`; None: this machine's, else an H100. `gpus`: None for
    the fewest that fit.
    """
    device, count = _device(student, gpu, gpus)
    estimates = (
        *sampling.sampling(dataset, device, count),
        *sampling.judging(dataset),
        *_training(student, dataset, device, count),
        *_memory(student, device, count),
        *_evaluation(student, device, count),
    )
    fits = memory.training_memory(student, count, on_gpu=device.name != "cpu").likely <= device.memory_gib
    advice = " ".join([_advice(student, device, count, fits), *sampling.stops(estimates)])
    return Plan(student.name, dataset.name, device, count, estimates, fits, advice)


def table(plan: Plan) -> str:
    """A plan as text: likely value, band, formula with inputs."""
    lines = [
        (
            f"{plan.student} on {plan.dataset}, {plan.gpus} x {plan.device.name} "
            f"({plan.device.memory_gib:.0f} "
            "GiB each)"
        ),
        "",
    ]
    rows = [("", "likely", "low to high", "")]
    for e in plan.estimates:
        band = "" if e.value.low == e.value.high else f"{number(e.value.low)} to {number(e.value.high)}"
        rows.append((e.name, f"{number(e.value.likely)} {e.unit}".strip(), band, e.formula))
    lines.append(aligned(rows, numbers=(1, 2), rule=False))
    return "\n".join([*lines, "", plan.advice])


def _advice(student: StudentRecipe, device: Device, gpus: int, fits: bool) -> str:
    """One sentence on whether training fits, and on how many it would."""
    if device.name == "cpu":
        return (
            "Training fits into this machine's memory."
            if fits
            else "Training does not fit into this machine's memory."
        )
    needed = memory.gpus_needed(student, device)
    if fits:
        return f"Training fits on {gpus} x {device.name}" + (
            f" ({needed} would do)." if needed is not None and needed < gpus else "."
        )
    if needed is None:
        return (
            f"Training fits on no number of {device.name}: lower training.max_length or "
            "training.device_batch_size, or take a larger GPU."
        )
    return f"Training does not fit on {gpus} x {device.name}; it would on {needed}."


def _device(student: StudentRecipe, gpu: str | None, gpus: int | None) -> tuple[Device, int]:
    """The kind and number of devices that a plan is for."""
    here = hardware.gpus() if gpu is None else []
    if here:
        return hardware.device_of(here[0]), gpus or len(here)
    if gpu == "cpu":
        return hardware.this_cpu(), 1
    device = devices().get(gpu or "h100")
    if device is None:
        raise RecipeError(f"no GPU {gpu!r}; known are {', '.join(devices())} and cpu")
    return device, gpus or memory.gpus_needed(student, device) or memory.MOST_GPUS


def _training(student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about the student's training; times are at the likely number of tokens."""
    training, row = student.training, costs.row_tokens(dataset, student)
    flops = memory.shape_of(student.base).training_flops(
        int(row), checkpointing=training.gradient_checkpointing
    )
    trained, hours = costs.training_range(student, dataset, device, gpus)
    steps = costs.kept_examples(student, dataset).times(training.epochs / training.batch_size)
    return [
        Estimate(
            "examples",
            "",
            costs.kept_examples(student, dataset),
            "traces that pass (25, 50, 80 %; 80, 95, 100 % unchecked), shares, limits",
        ),
        Estimate(
            "trained tokens", "", trained, f"examples x {number(row)} tokens x {training.epochs:g} epochs"
        ),
        Estimate("steps", "", steps, f"examples x {training.epochs:g} epochs / batch {training.batch_size}"),
        exact(
            "tokens per step",
            training.batch_size * row,
            f"batch {training.batch_size} x {number(row)}; read it with lr {training.learning_rate:g}",
        ),
        exact(
            "FLOPs per token",
            flops,
            f"{'8N + 8Lads' if training.gradient_checkpointing else '6N + 6Lads'}, s {number(row)}",
        ),
        Estimate(
            "training hours",
            "h",
            hours,
            f"tokens x FLOPs / ({gpus} x {device.tflops:g} TFLOP/s x MFU 10, 25, 40 %)",
        ),
        Estimate(
            "training money",
            "USD",
            hours.times(gpus * device.usd_per_hour),
            f"hours x {gpus} x {device.usd_per_hour:g} USD",
        ),
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
        exact("weights", student.base.parameters * 2 / memory.GIB, "2 B x N (bf16)", "GiB"),
        exact("model states", used.states, f"{states} / {gpus}", "GiB/GPU"),
        exact("activations", used.activations, f"{held}, {size}", "GiB/GPU"),
        exact(
            "logits",
            used.logits,
            f"s·V·4 B x {memory.LOGIT_COPIES:g}, V {shape.vocabulary:,}; of {memory.CHUNK_TOKENS} tokens "
            "when chunked",
            "GiB/GPU",
        ),
        Estimate(
            "training memory",
            "GiB/GPU",
            Range(used.low, used.likely, used.high),
            f"their sum and {used.overhead:g} GiB; there are {number(device.memory_gib)}",
        ),
        exact(
            "KV cache",
            kv,
            f"2·L·kv·d·2 B = {shape.kv_bytes() / 1024:g} KiB a token x {training.max_length:,}",
            "GiB",
        ),
    ]


def _evaluation(student: StudentRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about scoring base and student (a teacher is not counted)."""
    section = student.evaluation
    problems = sum(costs.problem_count(source)[0] for source in section.problems)
    length = costs.LENGTH.times(min(rules("math").typical_tokens, costs.SHARE_OF_LIMIT * section.max_tokens))
    total = length.times(2 * problems * section.n)
    live = min(costs.PROMPT_TOKENS, length.likely) + length.likely / 2
    speed = costs.decode_speed(
        memory.shape_of(student.base), device, live, number_bytes=memory.NUMBER_BYTES[section.dtype]
    )
    return [
        Estimate(
            "evaluation tokens",
            "",
            total,
            f"2 models x {problems:,} problems x n {section.n} x {number(length.likely)} tokens",
        ),
        Estimate(
            "evaluation hours",
            "h",
            speed.under(total.likely / 3600 / gpus),
            f"tokens / {number(speed.likely)} tok/s / {gpus}",
        ),
    ]
