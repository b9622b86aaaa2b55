"""The training stage's child process: `python -m distill.train.worker JOB.json`.

Its messages are `encoded`, `progress`, `result` and `error`. The first process of several prepares the base
and speaks for all. Only training imports torch.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from distill import hardware, workers
from distill.recipe import Base, Training
from distill.train import checkpoint, guards, sft, tokens
from distill.train.tokens import Rows, Source
from distill.workers import Say

ONE_THREAD_PARAMETERS = 10_000_000
"""Below this a CPU trains on one thread: with two, on a busy machine, a 0.9 M model was measured 2 to 10
times slower."""


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
                encode(base, training, job["examples"], target, where, say)
            else:
                result = train(base, training, job["examples"], target, say, where)
    except (OSError, ValueError, RuntimeError) as error:
        say("error", message=f"{type(error).__name__}: {error}")
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
        lambda shards, of: say("encoded", shards=shards, of=of),
    )
    return wanted


def train(
    base: Base,
    training: Training,
    examples: list[str],
    target: Path,
    say: Say,
    where: Path | None = None,
) -> dict[str, Any]:
    """Fine-tunes and saves; returns the columns of a Checkpoint. Ids missing in `where` are made there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.monotonic()
    torch.manual_seed(training.seed)
    hardware.without_cudnn_attention()
    if not torch.cuda.is_available() and base.parameters < ONE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    prepared = target.with_name("base")
    wanted = encode(base, training, examples, target, where or target.with_name("encoded"), say)
    rows = Rows([source.folder for source in wanted], training.max_length)
    tokenizer = AutoTokenizer.from_pretrained(prepared, trust_remote_code=base.trust_remote_code)
    model = AutoModelForCausalLM.from_pretrained(
        prepared,
        dtype=torch.bfloat16 if training.lora_rank and training.precision == "bf16" else torch.float32,
        trust_remote_code=base.trust_remote_code,
        use_safetensors=True,
    )
    guards.positions(model.config.get_text_config(), base, training, rows.lengths, say)
    trainer = sft.trainer(model, tokenizer, rows, training, target.with_name("checkpoints"), say)
    outcome = trainer.train(
        resume_from_checkpoint=checkpoint.last_whole_checkpoint(target.with_name("checkpoints"))
    )
    checkpoint.save(trainer, tokenizer, prepared, target, half=training.precision == "bf16")
    return {
        "base": base.model,
        **rows.counts,
        "trained_tokens": rows.trained_tokens,
        "steps": outcome.global_step,
        "epochs": training.epochs,
        "final_loss": sft.final_loss(trainer.state.log_history, outcome.global_step),
        "seconds": time.monotonic() - started,
        **_peak_memory(),
        "tokens_per_step": training.batch_size * float(rows.lengths.mean(dtype=float)),
    }


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _wait_for(path: Path) -> None:
    """Waits until the first process of a distributed run has made a folder."""
    while not path.exists():
        time.sleep(0.5)


def _peak_memory() -> dict[str, float | None]:
    """Peak memory of what trains, in GiB: allocated on the GPU and taken from it, else resident in this
    process."""
    import resource

    import torch

    if torch.cuda.is_available():
        taken = torch.cuda.max_memory_reserved() / 2**30
        return {"peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30, "peak_memory_taken_gib": taken}
    return {
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "peak_memory_taken_gib": None,
    }


if __name__ == "__main__":
    sys.exit(main())
