"""The training stage's child process: `python -m distill.train.worker JOB.json`.

Its messages are `encoded`, `progress`, `result` and `error`. The first process of several prepares the base
and speaks for all. Only training imports torch.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill import hardware, workers
from distill.recipe import Base, Training
from distill.train import checkpoint, generation_check, guards, metrics, sft, tokens
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
        if _is_first():
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
    """Prepares the base, and encodes the examples for it; what is there is left alone."""
    from transformers import AutoTokenizer

    prepared = target.with_name("base")
    if not prepared.exists() and _is_first():
        checkpoint.prepare(base, prepared)
    _wait_for(prepared)
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

    `made` says where the ids of the examples lie; without it they are looked for in `where`, and made there.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.monotonic()
    torch.manual_seed(training.seed)
    hardware.without_cudnn_attention()
    if not torch.cuda.is_available() and base.parameters < ONE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    prepared = target.with_name("base")
    wanted = made or encode(base, training, examples, target, where or target.with_name("encoded"), say)
    rows = Rows([source.folder for source in wanted], training.max_length)
    tokenizer = AutoTokenizer.from_pretrained(prepared, trust_remote_code=base.trust_remote_code)
    model = AutoModelForCausalLM.from_pretrained(
        prepared,
        dtype=torch.bfloat16 if training.lora_rank and training.precision == "bf16" else torch.float32,
        trust_remote_code=base.trust_remote_code,
        use_safetensors=True,
    )
    guards.positions(model.config.get_text_config(), base, training, rows.lengths, say)
    trained, validation = rows.apart(wanted, training)
    speed = Speed.of(base, trained.lengths, int(os.environ.get("WORLD_SIZE", "1")))
    reporter = metrics.reporter(say, training, target.with_name(metrics.FILE), speed)
    checkpoints = target.with_name("checkpoints")
    _name_the_run(target.parent)
    trainer = sft.trainer(model, tokenizer, trained, training, checkpoints, reporter, validation)
    outcome = trainer.train(resume_from_checkpoint=checkpoint.last_whole_checkpoint(checkpoints))
    checkpoint.save(trainer, tokenizer, prepared, target, half=training.precision == "bf16")
    history, (peak, taken) = trainer.state.log_history, metrics.peak_memory_gib()
    done = {
        "base": base.model,
        **trained.counts,
        "trained_tokens": trained.trained_tokens,
        "steps": outcome.global_step,
        "epochs": training.epochs,
        "final_loss": sft.final_loss(history, outcome.global_step),
        "seconds": time.monotonic() - started,
        "peak_memory_gib": peak,
        "peak_memory_taken_gib": taken,
        "tokens_per_step": training.batch_size * float(trained.lengths.mean(dtype=float)),
        "rows_validation": 0 if validation is None else len(validation),
        "validation_loss": next(
            (logs[metrics.VALIDATION] for logs in reversed(history) if metrics.VALIDATION in logs), None
        ),
    }
    if not _is_first():
        return done
    del trainer, model, reporter, outcome  # the GPU is free for the saved student
    gc.collect()
    torch.cuda.empty_cache()
    found = generation_check.check(target, base, trained, say)
    return {**done, "generations": found.asked, "generations_stopped": found.stopped}


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


def _wait_for(path: Path) -> None:
    """Waits until the first process of a distributed run has made a folder."""
    while not path.exists():
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
