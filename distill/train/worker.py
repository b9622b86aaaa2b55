"""The training stage's child process: `python -m distill.train.worker JOB.json`.

Its messages are `progress`, `result` and `error`. Rows are rendered by `chat.py` with the student's template; a row that is
too long is left out and counted, never cut; the loss is on the completion only, and every row's labels end with the EOS
token. A loss, a gradient or a weight that is not finite ends the job: no such student is saved.
"""

import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from distill import hardware, workers
from distill.recipe.dataset import CONFIGS, Base, Training
from distill.records import Example
from distill.store import shards
from distill.text import chat_template as chat
from distill.train import attention, batches, student_template, weights
from distill.workers import Say

COMPLETE = "distill-complete"  # written last into a checkpoint: one without it is torn and is not resumed from
MOST_UNRENDERABLE = 0.05
"""A larger share of rows (and more than one) that cannot be rendered ends the training: the template is wrong then, not the rows."""
SHOWN_FAILURES = 5
ONE_THREAD_PARAMETERS = 10_000_000
"""Below this a CPU trains on one thread: with two, on a busy machine, a 0.9 M model was measured 2 to 10 times slower."""
WIDTH_MULTIPLE = 64
"""On a GPU a batch is padded to a multiple of this: each new width costs new allocations."""
LAST_SHARE = 0.1
"""The final loss is the mean of what was logged in this last share of the steps."""


def main() -> int:
    """Runs the job of the command line's file and reports its result, or its cause of failure, as the last event."""
    first = workers.begin()

    def say(kind: str, **values: object) -> None:
        if _is_first():
            first(kind, **values)

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    base = Base.model_validate(job["base"])
    try:
        if job["job"] == "prepare":
            prepare(base, Path(job["target"]))
            result: dict[str, Any] = {}
        else:
            training = Training.model_validate(job["training"])
            result = train(base, training, job["examples"], Path(job["target"]), say)
    except (OSError, ValueError, RuntimeError) as error:
        say("error", message=f"{type(error).__name__}: {error}")
        raise
    say("result", **result)
    return 0


def prepare(base: Base, target: Path) -> None:
    """A folder with the base's weights (linked), and the student's tokenizer, template, EOS and context length."""
    from transformers import AutoConfig, AutoTokenizer

    source = _local_folder(base)
    scratch = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=base.trust_remote_code)
    vocabulary = tokenizer.get_vocab()
    for token in (base.end_of_turn, base.pad_token):
        if token not in vocabulary:
            raise ValueError(f"{base.model} has no token {token}; set base.end_of_turn and base.pad_token to tokens that it has")
    if base.end_of_turn == base.pad_token:
        raise ValueError("base.pad_token equals base.end_of_turn: the EOS would be masked out of the loss and the student never stop")
    first_eos = tokenizer.eos_token_id
    tokenizer.eos_token, tokenizer.pad_token = base.end_of_turn, base.pad_token
    tokenizer.chat_template = student_template.read(base.chat_template)
    config = AutoConfig.from_pretrained(source, trust_remote_code=base.trust_remote_code)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    if base.rope_theta is not None:
        config.rope_parameters = {**(config.rope_parameters or {"rope_type": "default"}), "rope_theta": base.rope_theta}
    if base.max_position_embeddings is not None:
        config.max_position_embeddings = base.max_position_embeddings
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(scratch)
    config.save_pretrained(scratch)
    ends = sorted({tokenizer.eos_token_id, *([first_eos] if first_eos is not None else [])})
    generation = {"eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id}
    (scratch / "generation_config.json").write_text(json.dumps(generation, indent=2), encoding="utf-8")
    for file in source.glob("*.safetensors*"):
        (scratch / file.name).symlink_to(file.resolve())
    os.replace(scratch, target)


def train(base: Base, training: Training, examples: list[str], target: Path, say: Say) -> dict[str, Any]:
    """Fine-tunes and saves; returns the columns of a Checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.monotonic()
    torch.manual_seed(training.seed)
    hardware.without_cudnn_attention()
    if not torch.cuda.is_available() and base.parameters < ONE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    prepared = target.with_name("base")
    if not prepared.exists() and _is_first():
        prepare(base, prepared)
    _wait_for(prepared)
    tokenizer = AutoTokenizer.from_pretrained(prepared, trust_remote_code=base.trust_remote_code)
    rows, counts = encode_rows(tokenizer, examples, training)
    model = AutoModelForCausalLM.from_pretrained(
        prepared,
        dtype=torch.bfloat16 if training.lora_rank and training.precision == "bf16" else torch.float32,
        trust_remote_code=base.trust_remote_code,
        use_safetensors=True,
    )
    trainer = _trainer(model, tokenizer, rows, training, target.with_name("checkpoints"), say)
    outcome = trainer.train(resume_from_checkpoint=_last_whole_checkpoint(target.with_name("checkpoints")))
    _save(trainer, tokenizer, prepared, target, half=training.precision == "bf16")
    tokens = sum(len(row["input_ids"]) for row in rows)
    return {
        "base": base.model,
        **counts,
        "trained_tokens": sum(sum(label != -100 for label in row["labels"]) for row in rows),
        "steps": outcome.global_step,
        "epochs": training.epochs,
        "final_loss": final_loss(trainer.state.log_history, outcome.global_step),
        "seconds": time.monotonic() - started,
        **_peak_memory(),
        "tokens_per_step": training.batch_size * tokens / len(rows),
    }


def encode_rows(tokenizer: Any, examples: list[str], training: Training) -> tuple[list[dict[str, list[int]]], dict[str, Any]]:
    """Token ids and labels of the examples that fit, and what was left out, as the columns of a Checkpoint.

    Raises ValueError when no example is left, or when more than MOST_UNRENDERABLE of them cannot be rendered.
    """
    rows: list[dict[str, list[int]]] = []
    too_long, failures = 0, list[str]()
    chosen = _chosen(examples, training)
    for example in chosen:
        prompt, completion = ([{"role": m.role, "content": m.content} for m in part] for part in (example.prompt, example.completion))
        try:
            encoded = chat.encode_pair(tokenizer, prompt, completion)
        except Exception as error:  # a template may raise anything; one row never ends a training
            failures.append(f"{example.id}: {chat.cause(error)}")
            continue
        if len(encoded.prompt) + len(encoded.completion) > training.max_length:
            too_long += 1
            continue
        rows.append({"input_ids": encoded.prompt + encoded.completion, "labels": [-100] * len(encoded.prompt) + encoded.completion})
    first = failures[:SHOWN_FAILURES]
    if failures:
        print(f"{len(failures)} of {len(chosen)} rows cannot be rendered: {'; '.join(first)}", file=sys.stderr)
    if len(failures) > max(1, MOST_UNRENDERABLE * len(chosen)):
        raise ValueError(f"{len(failures)} of {len(chosen)} rows cannot be rendered with base.chat_template: {'; '.join(first)}")
    if not rows:
        causes = [f"{too_long} examples are longer than training.max_length={training.max_length} tokens", *first]
        raise ValueError(f"no row to train on: {'; '.join(causes)}")
    return rows, {"rows_trained": len(rows), "rows_too_long": too_long, "rows_unrenderable": len(failures), "unrenderable": first}


def _chosen(examples: list[str], training: Training) -> list[Example]:
    """All examples, or a seeded choice of `max_rows` in their order."""
    import random

    found = [example for path in examples for example in shards.read(Example, path)]
    if training.max_rows is None or training.max_rows >= len(found):
        return found
    kept = sorted(random.Random(training.seed).sample(range(len(found)), training.max_rows))
    return [found[index] for index in kept]


def _trainer(model: Any, tokenizer: Any, rows: list[dict[str, list[int]]], training: Training, folder: Path, say: Say) -> Any:
    """A TRL trainer for rows that are already token ids and labels."""
    import torch
    from datasets import Dataset
    from transformers.trainer_pt_utils import BatchRebalanceSampler
    from trl import SFTConfig, SFTTrainer

    world, on_gpu = int(os.environ.get("WORLD_SIZE", "1")), torch.cuda.is_available()
    kernel = attention.register(model.config.get_text_config(), training.precision)
    end_to_end = kernel is not None or training.packing
    if kernel is not None:
        model.set_attn_implementation(kernel)
    lengths = [len(row["input_ids"]) for row in rows]
    if end_to_end:
        accumulation = batches.passes_of_a_step(lengths, training.batch_size, world, training.device_tokens, training.seed)
        device_batch = max(2, training.batch_size // (accumulation * world))
    else:
        device_batch = min(training.device_batch_size, max(1, training.batch_size // world))
        accumulation = training.batch_size // (device_batch * world)
        if accumulation * device_batch * world != training.batch_size:
            raise ValueError(f"training.batch_size={training.batch_size} is no multiple of {world} devices x {device_batch} sequences")
    steps = math.ceil(len(rows) / training.batch_size * training.epochs)
    arguments = SFTConfig(
        output_dir=str(folder),
        learning_rate=training.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": training.final_learning_rate_share},
        warmup_steps=training.warmup_share,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=device_batch,
        gradient_accumulation_steps=accumulation,
        weight_decay=training.weight_decay,
        adam_beta2=training.beta2,
        max_grad_norm=training.max_grad_norm,
        bf16=training.precision == "bf16",
        gradient_checkpointing=training.gradient_checkpointing,
        max_length=None if end_to_end else training.max_length,  # longer rows are left out already
        padding_free=end_to_end,
        dataset_kwargs={"skip_prepare_dataset": True},
        pad_to_multiple_of=WIDTH_MULTIPLE if on_gpu and not end_to_end else None,
        # Rows of about one length share a micro-batch; which rows share an optimizer step stays a random draw.
        train_sampling_strategy="batch_rebalance" if accumulation * world > 1 and not end_to_end else "random",
        loss_type="nll",
        use_liger_kernel=training.liger,
        use_cpu=not on_gpu,
        save_steps=training.checkpoint_steps,
        save_total_limit=2,
        logging_steps=max(1, min(10, steps // 20)),
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        seed=training.seed,
        data_seed=training.seed,
    )

    class FiniteTrainer(SFTTrainer):
        """Ends the training before a loss or a gradient that is not finite reaches the weights."""

        def training_step(self, *inputs: Any, **named: Any) -> Any:
            parent: Any = super()
            self.step_loss = parent.training_step(*inputs, **named)
            return self.step_loss

        def _get_grad_norm(self, *inputs: Any, **named: Any) -> Any:
            parent: Any = super()
            norm = parent._get_grad_norm(*inputs, **named)
            checked = torch.stack([torch.as_tensor(value, device=self.step_loss.device).float() for value in (self.step_loss, norm)])
            if not bool(torch.isfinite(checked).all()):
                loss, gradient = checked.tolist()
                raise ValueError(
                    f"training stopped before step {self.state.global_step + 1} of {self.state.max_steps}: loss {loss}, gradient norm "
                    f"{gradient}, learning rate {self._get_learning_rate():.2g}. No student was saved. Lower training.learning_rate (now "
                    f"{training.learning_rate:.2g}) or raise training.warmup_share, and run the same command again"
                )
            return norm

        def _get_train_sampler(self, *inputs: Any, **named: Any) -> Any:
            if end_to_end:
                return batches.sampler(lengths, training.batch_size, world, self.args.process_index, accumulation, training.seed)
            sampler = super()._get_train_sampler(*inputs, **named)
            if isinstance(sampler, BatchRebalanceSampler):
                sampler.seed = training.seed  # the trainer leaves it at a constant
            return sampler

    return FiniteTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=_lora(training),
        callbacks=[_callback(say)],
    )


def _lora(training: Training) -> Any:
    """The LoRA configuration of a recipe, or None for full fine-tuning."""
    if training.lora_rank is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=training.lora_rank, lora_alpha=training.lora_alpha or 2 * training.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _callback(say: Say) -> Any:
    """Reports progress, those of a resumed run's earlier steps first, and marks whole checkpoints."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for logs in state.log_history:
                self._report(state, logs, resumed=True)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            self._report(state, {"step": state.global_step, "epoch": state.epoch, **(logs or {})}, resumed=False)

        def _report(self, state: Any, logs: dict[str, float], *, resumed: bool) -> None:
            if "loss" in logs:
                seen = {name: logs[name] for name in ("step", "loss", "epoch")}
                say("progress", **seen, steps=state.max_steps, resumed=resumed)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    return Reporter()


def _save(trainer: Any, tokenizer: Any, prepared: Path, target: Path, *, half: bool) -> None:
    """Writes the finished model under a temporary name (`half`: in bf16), puts it in place, and removes checkpoints."""
    scratch = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    trainer.model.config.use_cache = True
    if trainer.args.should_save and hasattr(trainer.model, "merge_and_unload"):
        trainer.model.merge_and_unload().save_pretrained(scratch)
    else:
        trainer.save_model(str(scratch))
    if not trainer.args.should_save:
        return
    tokenizer.save_pretrained(scratch)
    shutil.copy(prepared / "generation_config.json", scratch / "generation_config.json")
    (scratch / "training_args.bin").unlink(missing_ok=True)  # a pickle: nobody should load it
    if half:
        _halve(scratch)
    if wrong := weights.not_finite(scratch):
        shutil.rmtree(scratch)
        raise ValueError(f"the trained weights are not finite ({wrong}): no student was saved. Lower training.learning_rate")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)
    shutil.rmtree(target.with_name("checkpoints"), ignore_errors=True)


def _halve(folder: Path) -> None:
    """Rewrites a model's weights in bf16, one file at a time: training kept them in fp32, serving does not."""
    import torch
    from safetensors.torch import load_file, save_file

    for file in folder.glob("*.safetensors"):
        save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        found = json.loads(index.read_text(encoding="utf-8"))
        found["metadata"]["total_size"] = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        index.write_text(json.dumps(found, indent=2), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}, indent=2), encoding="utf-8")


def _last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end and has finite weights, or None."""
    whole = [path for path in folder.glob("checkpoint-*") if (path / COMPLETE).exists() and not weights.not_finite(path)]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def _local_folder(base: Base) -> Path:
    """The folder with the base's files: as given, under the project's root, or downloaded from the hub."""
    for folder in (Path(base.model), CONFIGS.parent / base.model):
        if folder.is_dir():
            return folder
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors*", "*.json", "*.txt", "*.model", "*.jinja", *(["*.py"] if base.trust_remote_code else [])]
    return Path(snapshot_download(base.model, revision=base.revision, allow_patterns=patterns))


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _wait_for(path: Path) -> None:
    """Waits until the first process of a distributed run has made a folder."""
    while not path.exists():
        time.sleep(0.5)


def final_loss(history: list[dict[str, float]], steps: int) -> float:
    """Mean of the losses that were logged in the last tenth of the steps, or the last one that was."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    last = [loss for step, loss in logged if step > (1 - LAST_SHARE) * steps] or [loss for _, loss in logged[-1:]]
    return sum(last) / len(last)


def _peak_memory() -> dict[str, float | None]:
    """Peak memory of what trains, in GiB: allocated on the GPU and taken from it, else resident in this process."""
    import resource

    import torch

    if torch.cuda.is_available():
        taken = torch.cuda.max_memory_reserved() / 2**30
        return {"peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30, "peak_memory_taken_gib": taken}
    return {"peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "peak_memory_taken_gib": None}


if __name__ == "__main__":
    sys.exit(main())
