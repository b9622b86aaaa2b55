"""The lines of a plan about the student: its training, memory, disk, evaluation and serving."""

from collections.abc import Sequence
from typing import NamedTuple

from distill.engines import ENGINES
from distill.hardware import Device, flops_per_token, memory
from distill.plan import costs, serving
from distill.plan.costs import NOTHING, Estimate, Range, exact, measured, total
from distill.progress import number
from distill.recipe import DatasetRecipe, StudentRecipe, Suite, Teacher
from distill.train import student_template
from distill.verifiers import rules

NAMED = 2
"""Suites that a line names."""
CONTEXTS = (4096, 16_384, 32_768)
"""Lengths that the table of serving shows."""
TOKEN_BYTES = 4
"""Of a dataset's token ids on disk."""
PROCESS_GIB = 3.0
"""Host memory of a training process with its libraries and CUDA, before weights and rows; assumed."""
CHECKPOINTS = Range(1, 2, 3)
"""Of a run at a time: two are kept, and a third is written before the oldest goes."""


class Serving(NamedTuple):
    """One precision of the serving table, in GiB."""

    precision: str
    weights: float
    contexts: tuple[float, ...]
    """Weights and the cache of one sequence, for each of `CONTEXTS`."""
    sequences: int
    """Of the longest context that one device holds at a time."""


def longest_row(student: StudentRecipe, dataset: DatasetRecipe) -> int:
    """Tokens that a row can have: what the recipe trains on, and what a teacher may write."""
    budget = max(dataset.sampling.max_tokens, costs.next_budget(dataset.sampling))
    return min(student.training.max_length, budget + costs.PROMPT_TOKENS)


def memory_of(
    student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int
) -> memory.TrainingMemory:
    """Memory of training on the rows that a dataset is likely to have."""
    return memory.training_memory(
        student, device, gpus, costs.row_tokens(dataset, student), longest_row(student, dataset)
    )


def hours(
    student: StudentRecipe, device: Device, gpus: int, trained_tokens: float, row_tokens: float
) -> Range:
    """Of the steps alone: tokens x FLOPs a token / (GPUs used x peak x share of the peak).

    FLOPs are those that are done, so activation checkpointing counts a third more. Rows that are padded reach
    `padded_share` of the speed.
    """
    training, used = student.training, memory.gpus_used(student, gpus)
    shape = memory.shape_of(student.base)
    flops = flops_per_token(shape, row_tokens, recomputed=training.gradient_checkpointing)
    share = measured("training_share")
    if device.capability and not memory.end_to_end(training, device):
        share = share.by(measured("padded_share"))
    return share.times(used * device.tflops * 1e12).under(trained_tokens * flops).times(1 / 3600)


def training(student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Rows, steps, time and money; time is at the likely number of tokens. All GPUs are paid for, used or
    not."""
    section, row = student.training, costs.row_tokens(dataset, student)
    examples = costs.kept_examples(student, dataset)
    tokens = examples.times(row * section.epochs)
    needed = hours(student, device, gpus, tokens.likely, row)
    flops = flops_per_token(memory.shape_of(student.base), row, recomputed=section.gradient_checkpointing)
    used = memory.gpus_used(student, gpus)
    rows = f"{number(row)} tokens a row, {section.epochs:g} epochs"
    return [
        Estimate("examples", "", examples, "traces that are kept"),
        Estimate("trained tokens", "", tokens, rows),
        Estimate(
            "steps",
            "",
            examples.times(section.epochs / section.batch_size),
            f"{section.batch_size} rows each",
        ),
        exact("tokens per step", "", section.batch_size * row, f"read it with lr {section.learning_rate:g}"),
        exact("FLOPs per token", "", flops),
        Estimate("training hours", "h", needed, "" if used == gpus else f"uses {used} of {gpus} GPUs"),
        Estimate("training money", "USD", needed.times(gpus * device.usd_per_hour)),
    ]


def beside_steps(student: StudentRecipe, dataset: DatasetRecipe, tokens: Range) -> Range:
    """Hours of a training outside of its steps: imports and weights, encoding of the rows, checkpoints."""
    section = student.training
    steps = costs.kept_examples(student, dataset).likely * section.epochs / section.batch_size
    written = max(1, round(steps / section.checkpoint_steps)) * checkpoint_bytes(student)
    rows = tokens.likely / section.epochs
    seconds = [
        measured("training_start_seconds"),
        measured("encode_tokens_per_second").under(rows),
        measured("checkpoint_gb_per_second").under((written + student_bytes(student)) / 1e9),
    ]
    return total(seconds).times(1 / 3600)


def memory_lines(
    student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int, tokens: Range
) -> list[Estimate]:
    """Memory on each GPU (`hardware.memory` has the formulae), and of the host."""
    used, shape = memory_of(student, dataset, device, gpus), memory.shape_of(student.base)
    cache = shape.kv_bytes() * student.training.max_length
    return [
        exact("weights", "GiB", student.base.parameters * 2 / memory.GIB, "in bf16"),
        exact("model states", "GiB/GPU", used.states, "weights, gradients, optimizer"),
        exact("activations", "GiB/GPU", used.activations),
        exact("loss", "GiB/GPU", used.loss),
        Estimate(
            "training memory",
            "GiB/GPU",
            Range(used.low, used.likely, used.high),
            f"of {number(device.memory_gib)}",
        ),
        Estimate("host memory", "GiB", host_gib(student, gpus)),
        exact("KV cache", "GiB", cache / memory.GIB, f"{student.training.max_length:,} tokens in bf16"),
    ]


def host_gib(student: StudentRecipe, gpus: int) -> Range:
    """Host memory of training: its processes, whose rows stay on disk, and on the first one the whole
    weights, or with several GPUs the whole checkpoint that it gathers."""
    used = memory.gpus_used(student, gpus)
    whole = checkpoint_bytes(student) if used > 1 else student.base.parameters * 4
    return Range(0.8, 1, 1.5).times(PROCESS_GIB * used + whole / memory.GIB)


def checkpoint_bytes(student: StudentRecipe) -> float:
    """A checkpoint that a killed run goes on from: trained weights in fp32 and AdamW's two moments."""
    rank, shape = student.training.lora_rank, memory.shape_of(student.base)
    return 12.0 * (student.base.parameters if rank is None else shape.adapter_parameters(rank))


def student_bytes(student: StudentRecipe) -> float:
    """The finished student's weights."""
    return student.base.parameters * (2.0 if student.training.precision == "bf16" else 4.0)


def disk(student: StudentRecipe, dataset: DatasetRecipe, traces: Range) -> list[Estimate]:
    """GiB on disk: the models that are downloaded, checkpoints and student, and the rows of all stages."""
    teacher = serving.served(dataset.teacher) if ENGINES[dataset.teacher.engine].local_weights else None
    downloads = student.base.parameters * 2 + (teacher.weights if teacher and costs.asked(dataset) else 0)
    checkpoints = CHECKPOINTS.times(checkpoint_bytes(student) / memory.GIB)
    rows = measured("stored_bytes_per_token").times(traces.likely / memory.GIB)
    encoded = costs.kept_examples(student, dataset).times(
        TOKEN_BYTES * costs.row_tokens(dataset, student) / memory.GIB
    )
    kept = Range(1, 1, 1).times((downloads + student_bytes(student)) / memory.GIB)
    return [
        exact("checkpoint", "GiB", checkpoint_bytes(student) / memory.GIB),
        Estimate(
            "disk",
            "GiB",
            total([kept, checkpoints, rows, encoded]),
            "models, checkpoints, rows of all stages",
        ),
    ]


def scored_models(
    student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int
) -> list[tuple[Teacher, serving.Served | None]]:
    """What an evaluation opens: base, student, the base with its own template where that is known, and the
    dataset's teacher where it can be asked. Whether a student was promoted before is not looked up."""
    section, shape = student.evaluation, memory.shape_of(student.base)
    number_bytes = memory.NUMBER_BYTES[section.dtype]
    opened = serving.student_engine(student, student.base.model, device, gpus)
    own = serving.Served(
        student.base.parameters * number_bytes, shape.parameters, 1.0, shape.kv_bytes(number_bytes)
    )
    teacher = section.teacher and ENGINES[dataset.teacher.engine].draws
    ours = 3 if section.base_chat and student_template.own(student.base) is not None else 2
    return [(opened, own)] * ours + ([(dataset.teacher, serving.served(dataset.teacher))] if teacher else [])


def evaluation(student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Base, student and teacher on the suites, the teacher on targets alone. A server is paid by its prices,
    if it has any.

    Time of a model: tokens / speed, and as much again as the longest completion takes while others have
    ended, `max_tokens` x (a step and reading the weights): none, half, all of it.
    """
    section, models = student.evaluation, scored_models(student, dataset, device, gpus)
    whole, spent, money = NOTHING, NOTHING, NOTHING
    for model, size in models:
        suites = section.asked_of_teacher if model is dataset.teacher else section.suites
        written = total([suite_tokens(suite) for suite in suites])
        longest, whole = max(suite.max_tokens for suite in suites), whole.plus(written)
        if model.completion_usd_per_million is not None:
            money = money.plus(written.times(model.completion_usd_per_million / 1e6))
            spent = spent.plus(serving.api_speed(model).under(written.likely / 3600))
        elif size is not None:
            step = serving.STEP_SECONDS + size.weights / (device.bandwidth_gb_per_second * 1e9)
            tail = Range(0, 0.5, 1).times(longest * step / 3600)
            length = max(mean_tokens(suite).likely for suite in suites)
            taken = serving.hours(size, model, device, gpus, written, length).plus(tail)
            spent, money = spent.plus(taken), money.plus(taken.times(gpus * device.usd_per_hour))
    return [
        Estimate("evaluation tokens", "", whole, _asked(section.suites, len(models))),
        Estimate("evaluation hours", "h", spent),
        Estimate("evaluation money", "USD", money),
    ]


def suite_tokens(suite: Suite) -> Range:
    """What one model writes on a suite: problems x n x the mean completion."""
    problems = sum(costs.problem_count(source)[0] for source in suite.problems)
    return mean_tokens(suite).times(problems * suite.n)


def mean_tokens(suite: Suite) -> Range:
    """The mean completion: R1's of the kind, at most half of `max_tokens`."""
    typical = max(rules(source.kind).typical_tokens for source in suite.problems)
    return costs.LENGTH.times(min(typical, costs.SHARE_OF_LIMIT * suite.max_tokens))


def _asked(suites: Sequence[Suite], models: int) -> str:
    """How many models are scored on what."""
    problems = sum(costs.problem_count(source)[0] for suite in suites for source in suite.problems)
    named = [suite.name for suite in suites[:NAMED]]
    more = f" and {len(suites) - NAMED} more" if len(suites) > NAMED else ""
    return f"{models} models, {problems:,} problems: {', '.join(named)}{more}"


def engine_starts(student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int) -> Range:
    """Hours of starting the teacher's engine to sample, and one for each model that is scored."""
    opened = scored_models(student, dataset, device, gpus)
    if costs.asked(dataset) and ENGINES[dataset.teacher.engine].draws:
        opened.append((dataset.teacher, serving.served(dataset.teacher)))
    return total([serving.start_hours(model, size.weights if size else 0.0) for model, size in opened])


def serving_table(student: StudentRecipe, device: Device) -> list[Serving]:
    """Weights and KV cache of the finished student in each precision."""
    shape = memory.shape_of(student.base)
    rows = []
    for name, precision in memory.precisions().items():
        weights = memory.served_weights(shape, precision)
        each = shape.kv_bytes(precision.cache_bytes)
        rows.append(
            Serving(
                name,
                weights / memory.GIB,
                tuple((weights + each * context) / memory.GIB for context in CONTEXTS),
                memory.served_sequences(shape, precision, CONTEXTS[-1], device),
            )
        )
    return rows
