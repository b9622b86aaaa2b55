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
import time
from pathlib import Path
from typing import Any, NamedTuple

from distill import hardware
from distill.hardware import Gpu, memory
from distill.recipe.dataset import Base, Training
from distill.store import write_text
from distill.train import checkpoint, guards
from distill.train.rows import Ints
from distill.workers import Say

FILE = "metrics.jsonl"
VALIDATION = "validation_loss"


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
    def of(cls, base: Base, lengths: Ints, world: int) -> "Speed":
        """The speed of a base on this machine's GPUs."""
        import torch

        peak = None
        if torch.cuda.is_available():
            found = torch.cuda.get_device_properties(0)
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


def reporter(say: Say, training: Training, path: Path, speed: Speed) -> Any:
    """The Trainer's callback: it logs into `path`, says progress, and decides when there is a checkpoint.

    A step with a checkpoint is logged and validated too: a resumed run starts a mean of losses anew there.
    """
    import torch
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            guards.precision(model, training, args)
            self.since = self.saved = time.monotonic()
            self.step, self.tokens = state.global_step, 0.0
            if state.is_world_process_zero:
                resume(path, state.global_step, state.log_history)
            say("started", step=state.global_step, steps=state.max_steps)
            for logs in state.log_history:
                if "loss" in logs:
                    self._progress(state, logs, resumed=True)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if training.checkpoint_minutes is not None:
                due = time.monotonic() - self.saved >= 60 * training.checkpoint_minutes
                if torch.distributed.is_initialized():  # all processes save, or none
                    told = torch.tensor([due], dtype=torch.int32, device=args.device)
                    torch.distributed.broadcast(told, 0)
                    due = bool(told)
                control.should_save = control.should_save or due
            if control.should_save:
                control.should_log = True
                control.should_evaluate = training.validation_rows is not None
            return control

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
        ) -> None:
            logs, now = logs or {}, time.monotonic()
            told: dict[str, Any] = {"step": state.global_step, "epoch": state.epoch}
            if VALIDATION in logs:
                self._line(state, told | {VALIDATION: logs[VALIDATION]})
                say("progress", **told, validation_loss=logs[VALIDATION], steps=state.max_steps)
            if "loss" not in logs:
                return
            seconds, seen = max(now - self.since, 1e-9), logs.get("num_tokens", 0.0)
            tokens, steps = seen - self.tokens, max(1, state.global_step - self.step)
            told |= {
                "loss": logs["loss"],
                "tokens": round(tokens),
                "tokens_per_second": tokens / seconds,
                "mfu": speed.mfu(tokens / seconds),
                "learning_rate": logs.get("learning_rate"),
                "grad_norm": logs.get("grad_norm"),
                "memory_gib": peak_memory_gib()[0],
                "step_seconds": seconds / steps,
            }
            self.since, self.step, self.tokens = now, state.global_step, seen
            self._line(state, told)
            self._progress(state, told, resumed=False)

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.since = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / checkpoint.COMPLETE).touch()
            self.since = self.saved = time.monotonic()

        def _line(self, state: Any, line: dict[str, Any]) -> None:
            if state.is_world_process_zero:
                append(path, line)

        def _progress(self, state: Any, logs: dict[str, Any], *, resumed: bool) -> None:
            names = ("step", "loss", "epoch", "tokens", "tokens_per_second", "mfu")
            seen = {name: logs[name] for name in names if name in logs}
            say("progress", **seen, steps=state.max_steps, resumed=resumed)

    return Reporter()
