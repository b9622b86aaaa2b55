"""Refuses, within a second and before any download, a run that this machine cannot do.

Only what cannot work is refused, or what would take days without a GPU: memory is compared with the lower end
of its band, and GPUs that other programs use count as free. Servers are not asked: whether they answer is
seen when sampling starts.
"""

import importlib.util
import os
import sys
from pathlib import Path

from distill import hardware
from distill.engines import ENGINES, EngineError, vllm
from distill.files import readers
from distill.hardware import Device, devices, memory, shapes
from distill.plan import costs, serving, training
from distill.progress import number
from distill.recipe import DatasetRecipe, StudentRecipe
from distill.sample import require_prices
from distill.train import student_template

MOST_CPU_HOURS = 48
"""A run without a GPU that would take longer is refused."""
HERE = "Here `make distill` runs as it is, with the embedded models"


class CannotRun(RuntimeError):
    """This machine cannot run the recipe; the message says what is missing, what would do, and what runs
    here."""


def preflight(student: StudentRecipe, dataset: DatasetRecipe) -> None:
    """Raises CannotRun with cause and remedy when this machine cannot run the recipes; looks at files and
    `nvidia-smi` only.

    A problem file that is missing is a RecipeError, and so is a chat template that loses a part of a row.
    Servers are not asked: whether they answer is seen when sampling starts.
    """
    student_template.check(student.base, dataset.sampling.system)
    held_out = (source for suite in student.evaluation.suites for source in suite.problems)
    for source in (*dataset.problems, *dataset.curation.benchmarks, *held_out):
        readers.locate(source)
    _base_is_there(student)
    found = hardware.gpus()
    device = hardware.here(found)
    _student_fits(student, dataset, device, len(found))
    teacher_ready(dataset)
    if costs.asked(dataset) and ENGINES[dataset.teacher.engine].local_weights:
        _teacher_fits(dataset, device, len(found))
    if student.evaluation.engine == "vllm":
        _vllm_is_there("evaluation.engine", "evaluation.engine=transformers")
        _student_is_served(student, device, len(found))


def teacher_ready(dataset: DatasetRecipe) -> None:
    """Raises CannotRun or RecipeError when the teacher lacks prices, a key, files or a serving environment;
    room is not asked for."""
    teacher = dataset.teacher
    if not costs.asked(dataset):
        return
    require_prices(teacher, dataset.sampling)
    if teacher.engine == "server" and teacher.api_key_env and not os.environ.get(teacher.api_key_env):
        raise CannotRun(
            f"{dataset.name}: the environment variable {teacher.api_key_env} (teacher.api_key_env) is not set"
        )
    if (
        ENGINES[teacher.engine].stored
        and not Path(teacher.model).expanduser().exists()
        and teacher.model.count("/") != 1
    ):
        raise CannotRun(
            f"{dataset.name}: there is no {teacher.model} to replay; name your traces with --set "
            "teacher.model=FILE"
        )
    if not ENGINES[teacher.engine].local_weights:
        return
    if shapes.local_folder(teacher.model) is None and shapes.is_path(teacher.model):
        raise CannotRun(
            f"{dataset.name}: there is no folder {teacher.model} with the teacher; set teacher.model to a "
            "folder or a hub id"
        )
    if ENGINES[teacher.engine].starts_servers:
        _vllm_is_there("teacher.engine", "teacher.engine=server and teacher.urls")


def _base_is_there(student: StudentRecipe) -> None:
    model = student.base.model
    if shapes.local_folder(model) is None and shapes.is_path(model):
        raise CannotRun(
            f"{student.name}: there is no folder {model} with the base model; set base.model to a folder or "
            "a hub id"
        )


def _student_fits(student: StudentRecipe, dataset: DatasetRecipe, device: Device, gpus: int) -> None:
    """Refuses a student whose training fits neither the GPUs nor, within days, the processor."""
    section = student.training
    need = memory.training_memory(student, device, max(1, gpus))
    if need.low > device.memory_gib:
        shown = need if gpus else memory.training_memory(student, devices()["h100"])
        needs = (
            f"needs {number(shown.low)} to {number(shown.high)} GiB of "
            f"{'memory on each GPU' if gpus else 'GPU memory'}"
        )
        raise CannotRun(f"{_what(student)} {needs}, and {_has(device, gpus)}. {_remedy(student)}")
    if gpus == 0:
        row = costs.row_tokens(dataset, student)
        tokens = costs.kept_examples(student, dataset).likely * row * section.epochs
        hours = training.hours(student, device, 1, tokens, row).likely
        if hours > MOST_CPU_HOURS:
            raise CannotRun(
                f"{_what(student)} would take about {number(hours)} hours, and {_has(device, gpus)}. "
                f"{_remedy(student)}"
            )
    used = memory.gpus_used(student, max(1, gpus))
    padded = not memory.end_to_end(section, device)
    rows = used * (min(section.device_batch_size, max(1, section.batch_size // used)) if padded else 1)
    if section.batch_size < used or (padded and section.batch_size % rows):
        raise CannotRun(
            f"{student.name}: training.batch_size={section.batch_size} is no multiple of {used} GPUs x "
            f"training.device_batch_size={rows // used}; set one of the two, or show fewer GPUs with "
            "CUDA_VISIBLE_DEVICES"
        )
    missing = [tracker for tracker in section.report_to if importlib.util.find_spec(tracker) is None]
    if missing:
        raise CannotRun(
            f"{student.name}: training.report_to names {', '.join(missing)}, which is not installed: run "
            f"`{sys.executable} -m pip install {' '.join(missing)}`, or take it out of training.report_to"
        )
    if section.optimizer == "adamw_8bit" and importlib.util.find_spec("torchao") is None:
        raise CannotRun(
            f"{student.name}: training.optimizer=adamw_8bit needs the package torchao: "
            "`.venv/bin/pip install torchao`"
        )


def _teacher_fits(dataset: DatasetRecipe, device: Device, gpus: int) -> None:
    """Refuses a local teacher that is too large for the GPUs it may use, or that would take days without
    one."""
    teacher, tokens = dataset.teacher, costs.trace_tokens(dataset).likely
    remedy = (
        f"Serve it elsewhere (teacher.engine=server, teacher.urls=[...]) or take a smaller teacher. {HERE}"
    )
    spread, share = 1, 1.0
    if ENGINES[teacher.engine].starts_servers:
        _servers_fit(dataset, device, gpus, remedy)
        spread, share = teacher.tensor_parallel, memory.VLLM_SHARE / teacher.engines_per_gpu
    model = serving.served(teacher)
    if model is None:
        return
    need = serving.least_gib(model, tokens) / spread
    if need > device.memory_gib * share:
        needs = (
            f"needs {number(need)} GiB {'on each GPU' if gpus else 'of memory'} for weights and one sequence"
        )
        raise CannotRun(
            f"{dataset.name}: the teacher {teacher.model} {needs}, and {_has(device, gpus)}. {remedy}"
        )
    written = costs.sampled_tokens(dataset)
    hours = 0.0 if gpus else serving.hours(model, teacher, device, 1, written, tokens).likely
    if hours > MOST_CPU_HOURS:
        raise CannotRun(
            f"{dataset.name}: sampling {teacher.model} would take about {number(hours)} hours, and "
            f"{_has(device, gpus)}. {remedy}"
        )


def _servers_fit(dataset: DatasetRecipe, device: Device, gpus: int, remedy: str) -> None:
    """Refuses more GPUs or copies than there are, and a number format that vllm does not have."""
    teacher = dataset.teacher
    if teacher.dtype == "float64":
        raise CannotRun(
            f"{dataset.name}: vllm has no float64; set teacher.dtype to auto, bfloat16 or float32"
        )
    try:
        vllm.places(
            teacher,
            [str(number) for number in range(max(1, gpus))] if gpus or teacher.tensor_parallel > 1 else [],
        )
    except EngineError as error:
        raise CannotRun(f"{dataset.name}: {error}; {_has(device, gpus)}. {remedy}") from error


def _student_is_served(student: StudentRecipe, device: Device, gpus: int) -> None:
    """Refuses a layout of the student's engine that the GPUs do not have."""
    opened = serving.student_engine(student, student.base.model, device, gpus)
    if gpus == 0 and opened.tensor_parallel == 1:
        return
    try:
        vllm.places(opened, [str(number) for number in range(max(1, gpus))])
    except EngineError as error:
        told = str(error).replace("teacher.", "evaluation.")
        raise CannotRun(f"{student.name}: {told}; {_has(device, gpus)}") from error


def _vllm_is_there(key: str, instead: str) -> None:
    """Refuses when the serving environment is missing: vllm cannot share one with Prefect."""
    python = vllm.vllm_python()
    missing = (
        importlib.util.find_spec("vllm") is None if python == sys.executable else not Path(python).is_file()
    )
    if missing:
        remedy = f"make one with `make vllm`, name another's Python in DISTILL_VLLM_PYTHON, or set {instead}"
        raise CannotRun(f"{key} is vllm, and there is no vllm environment here: {remedy}")


def _what(student: StudentRecipe) -> str:
    kind = (
        f"LoRA (rank {student.training.lora_rank}) training"
        if student.training.lora_rank
        else "full fine-tuning"
    )
    size = f"{number(student.base.parameters)} parameters at {student.training.max_length:,} tokens"
    return f"{student.name} cannot be trained on this machine: {kind} of {size}"


def _has(device: Device, gpus: int) -> str:
    if gpus:
        return f"this machine has {gpus} x {device.name} with {device.memory_gib:.0f} GiB"
    return f"this machine has no GPU, {hardware.cores()} cores and {device.memory_gib:.0f} GiB of memory"


def _remedy(student: StudentRecipe) -> str:
    """What would do, how to see it, and what runs here."""
    counts = {name: memory.gpus_needed(student, devices()[name]) for name in ("h100", "h200")}
    enough = [
        f"{count} x {name} ({devices()[name].memory_gib:.0f} GiB each)"
        for name, count in counts.items()
        if count is not None
    ]
    if counts["h100"] is None:
        return f"{' or '.join(enough) or 'A lower training.max_length'} would do. {HERE}"
    plan = f"distill plan --student {student.name} --gpu h100 --gpus {counts['h100']}"
    return f"{' or '.join(enough)} would do: see `{plan}`. {HERE}"
