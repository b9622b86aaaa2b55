"""`metrics.jsonl` beside a student: a JSON line for each logged step and for each validation of its training.

- A line is on the disk before the checkpoint of its step is. A resumed run cuts what lies after its
  checkpoint, so that each step stands there once, however often the run was killed.
- `tokens` are those of the rows since the line before, prompts included and padding left out.
- `mfu` is `distill.hardware.mfu` against the GPUs' bf16 peak; null on a CPU.

Seconds leave out checkpoints and validations.
"""

import json
import os
import resource
from pathlib import Path
from typing import Any, NamedTuple

from distill import hardware
from distill.hardware import Gpu, memory
from distill.recipe import Base
from distill.store import write_text
from distill.train.rows import Ints

FILE = "metrics.jsonl"
VALIDATION = "validation_loss"
LAST_SHARE = 0.1
"""The final loss is the mean of what was logged in this last share of the steps."""


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, up to the first torn one; none where there is no file."""
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def resume(path: Path, step: int, history: list[dict[str, float]]) -> None:
    """Cuts a file after the step of a checkpoint; what it lacks before that comes from the Trainer's
    history."""
    lines = [line for line in read(path) if line["step"] <= step]
    known = {line["step"] for line in lines if "loss" in line}
    names = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    lines += [
        {name: logs.get(name) for name in names}
        for logs in history
        if "loss" in logs and logs["step"] not in known
    ]
    lines.sort(key=lambda line: (line["step"], VALIDATION in line))
    write_text(str(path), "".join(f"{json.dumps(line)}\n" for line in lines))


def append(path: Path, line: dict[str, Any]) -> None:
    """Adds a line, and returns when the disk has it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(line)}\n")
        file.flush()
        os.fsync(file.fileno())


class Speed(NamedTuple):
    """What turns tokens a second into a share of the hardware's peak."""

    shape: hardware.shapes.Architecture
    length: float
    """Mean length of a token's row."""
    peak: float | None
    """FLOPs a second of all GPUs; None: not known."""

    @classmethod
    def of(cls, base: Base, lengths: Ints) -> "Speed":
        """The speed of a base on the GPUs of all processes."""
        import torch

        peak = None
        if torch.cuda.is_available():
            found = torch.cuda.get_device_properties(0)
            world = int(os.environ.get("WORLD_SIZE", "1"))
            peak = world * 1e12 * hardware.device_of(Gpu(found.name, found.total_memory / 2**30)).tflops
        mean = float((lengths.astype(float) ** 2).sum() / lengths.sum(dtype=float))
        return cls(memory.shape_of(base), mean, peak)

    def mfu(self, tokens_per_second: float) -> float | None:
        if self.peak is None:
            return None
        return hardware.mfu(self.shape, self.length, tokens_per_second, self.peak)


def peak_memory_gib() -> tuple[float, float | None]:
    """Peak memory of this process: of tensors on the GPU and taken for them, else resident and None."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30, torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, None


def final_loss(history: list[dict[str, float]], steps: int) -> float:
    """Mean of the losses that were logged in the last tenth of the steps, or the last one that was."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    last = [loss for step, loss in logged if step > (1 - LAST_SHARE) * steps] or [
        loss for _, loss in logged[-1:]
    ]
    return sum(last) / len(last)
