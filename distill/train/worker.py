"""The training stage's child process: `python -m distill.train.worker JOB.json`.

Its messages are `encoded`, `progress`, `result` and `error`. The first process of several prepares the base,
encodes and saves; the first of each host speaks. Only training imports torch.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill import hardware, workers
from distill.recipe import Base, Training
from distill.train import checkpoint, generation_check, guards, metrics, tokens
from distill.train.metrics import Speed
from distill.train.tokens import Rows, Source
from distill.workers import Say

ONE_THREAD_PARAMETERS = 10_000_000
"""Below this a CPU trains on one thread: with two, on a busy machine, a 0.9 M model was measured 2 to 10
times slower."""

CRASHES = ("OutOfMemoryError", "DistBackendError", "DistNetworkError")
"""Errors that another attempt from a checkpoint may not meet: memory ran out, or another process died."""


def main() -> int:
    """Runs the job of the command line's file and reports its result, or its cause of failure, as the last
    event."""
    first = workers.begin()

    def say(kind: str, **values: object) -> None:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            first(kind, **values)

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    base = Base.model_validate(job["base"])
    try:
        result: dict[str, Any] = {}
        if job["job"] == "prepare":
            checkpoint.prepare(base, Path(job["target"]))
        else:
            training, target = Training.model_validate(job["training"]), Path(job["target"])
            where = Path(job.get("encoded", target.with_name("encoded")))
            if job["job"] == "encode":
                # Tokenizers load without torch in a third of the time. A `None` here is an import that fails.
                sys.modules["torch"] = None  # type: ignore[assignment]
                found = encode(base, training, job["examples"], target, where, say)
                result = {"sources": [(one.examples, one.chosen, str(one.folder)) for one in found]}
            else:
                made = [Source(path, chosen, Path(folder)) for path, chosen, folder in job.get("sources", ())]
                result = train(base, training, job["examples"], target, say, where, made)
    except Exception as error:
        first("error", message=f"{type(error).__name__}: {error}", crash=type(error).__name__ in CRASHES)
        raise
    say("result", **result)
    return 0


def encode(
    base: Base, training: Training, examples: list[str], target: Path, where: Path, say: Say
) -> list[Source]:
    """Prepares the base, and encodes the examples for it; what is there is left alone.

    Any process but the first waits until it is there.
    """
    from transformers import AutoTokenizer

    prepared = target.with_name("base")
    if not _is_first():
        say("note", message=f"waiting for the first host to prepare {prepared} and the token ids")
        _wait_for([prepared])
        wanted = tokens.sources(prepared, examples, training, where)
        _wait_for([source.folder for source in wanted])
        return wanted
    if not prepared.exists():
        checkpoint.prepare(base, prepared)
    wanted = tokens.sources(prepared, examples, training, where)
    tokens.encode(
        lambda: AutoTokenizer.from_pretrained(prepared, trust_remote_code=base.trust_remote_code),
        wanted,
        lambda parts, of: say("encoded", parts=parts, of=of),
    )
    return wanted


def train(
    base: Base,
    training: Training,
    examples: list[str],
    target: Path,
    say: Say,
    where: Path | None = None,
    made: Sequence[Source] = (),
) -> dict[str, Any]:
    """Fine-tunes and saves; returns the columns of a Checkpoint.

    `made` says where the ids of the examples lie; else they are looked for in `where`, and made there.
    """
    import torch

    from distill.train import sft

    started = time.monotonic()
    torch.manual_seed(training.seed)
    hardware.without_cudnn_attention()
    if not torch.cuda.is_available() and base.parameters < ONE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    prepared, checkpoints = target.with_name("base"), target.with_name("checkpoints")
    wanted = made or encode(base, training, examples, target, where or target.with_name("encoded"), say)
    rows = Rows([source.folder for source in wanted], training.max_length)
    tokenizer, model = checkpoint.load(prepared, base, training)
    guards.positions(model.config.get_text_config(), base, training, rows.lengths, say)
    trained, validation = rows.apart(wanted, training)
    reporter = sft.Reporter(say, training, target.with_name(metrics.FILE), Speed.of(base, trained.lengths))
    _name_the_run(target.parent)
    trainer = sft.trainer(model, tokenizer, trained, training, checkpoints, reporter, validation)
    trainer.train(resume_from_checkpoint=checkpoint.last_whole_checkpoint(checkpoints))
    checkpoint.save(trainer, tokenizer, prepared, target, half=training.precision == "bf16")
    told = _told(training, trained, validation, trainer.state)
    done = {**told, "base": base.model, "seconds": time.monotonic() - started}
    if not _is_first():
        return done
    del trainer, model, reporter  # the GPU is free for the saved student
    found = generation_check.check(target, base, trained, say)
    return {**done, "generations": found.asked, "generations_stopped": found.stopped}


def _told(training: Training, trained: Rows, validation: Rows | None, state: Any) -> dict[str, Any]:
    """What a Checkpoint says of the steps and of their rows."""
    history, steps = state.log_history, state.global_step
    peak, taken = metrics.peak_memory_gib()
    validated = [logs[metrics.VALIDATION] for logs in history if metrics.VALIDATION in logs]
    return {
        **trained.counts,
        "trained_tokens": trained.trained_tokens,
        "steps": steps,
        "epochs": training.epochs,
        "final_loss": metrics.final_loss(history, steps),
        "peak_memory_gib": peak,
        "peak_memory_taken_gib": taken,
        "tokens_per_step": training.batch_size * float(trained.lengths.mean(dtype=float)),
        "rows_validation": 0 if validation is None else len(validation),
        "validation_loss": validated[-1] if validated else None,
    }


def _name_the_run(folder: Path) -> None:
    """Tells trackers where to write and what the run is called: a resumed training goes on in its run."""
    named = {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "WANDB_DIR": str(folder),
        "WANDB_PROJECT": "distill",
        "WANDB_RUN_ID": folder.name,
        "WANDB_RESUME": "allow",
        "WANDB_LOG_MODEL": "false",
        "MLFLOW_EXPERIMENT_NAME": "distill",
    }
    for name, value in named.items():
        os.environ.setdefault(name, value)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _wait_for(paths: Sequence[Path]) -> None:
    """Waits until the first process of a distributed run has made all of these."""
    while not all(path.exists() for path in paths):
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
