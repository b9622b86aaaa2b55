"""Supervised fine-tuning: a TRL trainer for rows of token ids on disk, and the callback that logs it.

It ends before a value that is not finite reaches the weights. Importing this module imports torch and TRL.
"""

import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer_pt_utils import BatchRebalanceSampler
from transformers.utils.import_utils import is_liger_kernel_available
from trl import SFTConfig, SFTTrainer

from distill.hardware import memory
from distill.recipe import Training
from distill.train import attention, batches, checkpoint, guards, metrics
from distill.train.rows import Ints
from distill.train.tokens import Rows
from distill.workers import Say


class Cut(NamedTuple):
    """How a step's rows are cut for the devices."""

    rows: int
    """Of a pass of one process; where rows lie end to end, about so many."""
    passes: int
    """Of a process, for one step."""
    world: int
    end_to_end: bool

    @classmethod
    def of(cls, training: Training, lengths: Ints, end_to_end: bool) -> "Cut":
        """Raises ValueError where a step cannot be cut for the processes that there are."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if end_to_end:
            tokens = training.device_tokens or memory.PASS_TOKENS[-1]
            passes = batches.passes_of_a_step(lengths, training.batch_size, world, tokens, training.seed)
            return cls(max(2, training.batch_size // (passes * world)), passes, world, end_to_end)
        rows = min(training.device_batch_size, max(1, training.batch_size // world))
        passes = training.batch_size // (rows * world)
        if passes * rows * world != training.batch_size:
            raise ValueError(
                f"training.batch_size={training.batch_size} is no multiple of {world} devices x {rows} "
                "sequences"
            )
        return cls(rows, passes, world, end_to_end)


def trainer(
    model: Any,
    tokenizer: Any,
    rows: Rows,
    training: Training,
    folder: Path,
    reporter: Any,
    validation: Rows | None = None,
) -> "FiniteTrainer":
    """A TRL trainer for rows that are already token ids; a batch reads its rows from their files.

    `validation` are rows whose loss is taken where the reporter asks for an evaluation.
    """
    kernel = attention.register(model.config.get_text_config(), training.precision)
    if kernel is not None:
        model.set_attn_implementation(kernel)
    cut = Cut.of(training, rows.lengths, kernel is not None or training.packing)

    def read(asked: dict[str, list[int]]) -> dict[str, list[Any]]:
        found = [rows[row] for row in asked["row"]]
        return {name: [row[name] for row in found] for name in ("input_ids", "labels")}

    made = FiniteTrainer(
        training,
        cut,
        rows.lengths,
        validation,
        model=model,
        args=_arguments(training, folder, len(rows), cut),
        train_dataset=Dataset.from_dict({"row": np.arange(len(rows))}).with_transform(read),
        processing_class=tokenizer,
        peft_config=_lora(training),
        callbacks=[reporter],
    )
    if sharded := getattr(made.accelerator.state, "fsdp_plugin", None):
        sharded.mixed_precision_policy = _mixed(training.precision)
    return made


class FiniteTrainer(SFTTrainer):
    """Ends the training before a loss or a gradient that is not finite reaches the weights."""

    def __init__(
        self, training: Training, cut: Cut, lengths: Ints, validation: Rows | None, **named: Any
    ) -> None:
        self.section, self.cut, self.lengths, self.validation = training, cut, lengths, validation
        super().__init__(**named)

    def training_step(self, *inputs: Any, **named: Any) -> Any:
        parent: Any = super()
        self.step_loss = parent.training_step(*inputs, **named)
        return self.step_loss

    def _get_grad_norm(self, *inputs: Any, **named: Any) -> Any:
        parent: Any = super()
        norm = parent._get_grad_norm(*inputs, **named)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        device = self.step_loss.device
        checked = torch.stack(
            [torch.as_tensor(value, device=device).float() for value in (self.step_loss, norm)]
        )
        if not bool(torch.isfinite(checked).all()):
            loss, gradient = checked.tolist()
            step, rate = (
                f"step {self.state.global_step + 1} of {self.state.max_steps}",
                self._get_learning_rate(),
            )
            raise ValueError(
                f"training stopped before {step}: loss {loss}, gradient norm {gradient}, learning rate "
                f"{rate:.2g}. No student was saved. Lower training.learning_rate (now "
                f"{self.section.learning_rate:.2g}) or raise training.warmup_share, and run the same command "
                "again"
            )
        return norm

    def _get_train_sampler(self, *inputs: Any, **named: Any) -> Any:
        cut, rank, seed = self.cut, self.args.process_index, self.section.seed
        if cut.end_to_end:
            return batches.sampler(self.lengths, self.section.batch_size, cut.world, rank, cut.passes, seed)
        if self.args.train_sampling_strategy == "batch_rebalance":
            return BatchRebalanceSampler(
                lengths=self.lengths.tolist(),
                effective_batch_size=cut.rows * cut.passes * cut.world,
                dp_size=cut.world,
                grad_accum=cut.passes,
                seed=seed,
                rank=rank if cut.world > 1 else 0,
                drop_last=self.args.dataloader_drop_last,
            )
        return super()._get_train_sampler(*inputs, **named)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss of a trained token of the validation rows; each process takes its share of them."""
        rows, rank = self.validation, self.args.process_index
        assert rows is not None
        sums = torch.zeros(2, dtype=torch.float64)
        for at in range(0, len(rows), self.cut.world):  # as many passes in every process
            row = rows[min(at + rank, len(rows) - 1)]
            inputs = self._prepare_inputs(self.data_collator([row]))
            self.model_wrapped.eval()
            with torch.no_grad():
                own: Any = self
                loss = own.compute_loss(self.model_wrapped, inputs)
            self.model_wrapped.train()
            if at + rank < len(rows):
                count = int((row["labels"] != -100).sum())
                sums += torch.tensor([float(loss) * count, count], dtype=torch.float64)
        self._metrics["eval"].clear()
        total = self.accelerator.reduce(sums.to(self.args.device), "sum")
        found = {metrics.VALIDATION: float(total[0] / total[1])}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


class Reporter(TrainerCallback):
    """Logs into `path`, says progress, and decides when there is a checkpoint.

    A step with a checkpoint is logged and validated too: a resumed run starts a mean of losses anew there.
    """

    def __init__(self, say: Say, training: Training, path: Path, speed: metrics.Speed) -> None:
        self.say, self.section, self.path, self.speed = say, training, path, speed

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        guards.precision(model, self.section, args)
        self.since = self.saved = time.monotonic()
        self.step, self.tokens = state.global_step, 0.0
        if state.is_world_process_zero:
            metrics.resume(self.path, state.global_step, state.log_history)
        self.say("started", step=state.global_step, steps=state.max_steps)
        for logs in state.log_history:
            if "loss" in logs:
                self._progress(state, logs, resumed=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.section.checkpoint_minutes is not None:
            due = time.monotonic() - self.saved >= 60 * self.section.checkpoint_minutes
            if torch.distributed.is_initialized():  # all processes save, or none
                told = torch.tensor([due], dtype=torch.int32, device=args.device)
                torch.distributed.broadcast(told, 0)
                due = bool(told)
            control.should_save = control.should_save or due
        if control.should_save:
            control.should_log = True
            control.should_evaluate = self.section.validation_rows is not None
        return control

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        logs, now = logs or {}, time.monotonic()
        told: dict[str, Any] = {"step": state.global_step, "epoch": state.epoch}
        if metrics.VALIDATION in logs:
            self._line(state, told | {metrics.VALIDATION: logs[metrics.VALIDATION]})
            self.say("progress", **told, validation_loss=logs[metrics.VALIDATION], steps=state.max_steps)
        if "loss" not in logs:
            return
        seconds, seen = max(now - self.since, 1e-9), logs.get("num_tokens", 0.0)
        tokens, steps = seen - self.tokens, max(1, state.global_step - self.step)
        told |= {
            "loss": logs["loss"],
            "tokens": round(tokens),
            "tokens_per_second": tokens / seconds,
            "mfu": self.speed.mfu(tokens / seconds),
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "memory_gib": metrics.peak_memory_gib()[0],
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
            metrics.append(self.path, line)

    def _progress(self, state: Any, logs: dict[str, Any], *, resumed: bool) -> None:
        names = ("step", "loss", "epoch", "tokens", "tokens_per_second", "mfu")
        seen = {name: logs[name] for name in names if name in logs}
        self.say("progress", **seen, steps=state.max_steps, resumed=resumed)


def _arguments(training: Training, folder: Path, rows: int, cut: Cut) -> SFTConfig:
    """What TRL is told: a recipe's section, and what fits this device."""
    on_gpu = torch.cuda.is_available()
    steps = math.ceil(rows / training.batch_size * training.epochs)
    padded = not cut.end_to_end
    return SFTConfig(
        output_dir=str(folder),
        **_optimization(training),
        per_device_train_batch_size=cut.rows,
        gradient_accumulation_steps=cut.passes,
        bf16=training.precision == "bf16",
        gradient_checkpointing=training.gradient_checkpointing,
        max_length=training.max_length if padded else None,  # longer rows are left out already
        padding_free=cut.end_to_end,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        pad_to_multiple_of=memory.WIDTH_MULTIPLE if on_gpu and padded else None,
        # Rows of about one length share a micro-batch; which ones share an optimizer step stays random.
        train_sampling_strategy="batch_rebalance" if cut.passes * cut.world > 1 and padded else "random",
        use_liger_kernel=on_gpu and is_liger_kernel_available(),
        use_cpu=not on_gpu,
        save_steps=training.checkpoint_steps,
        save_total_limit=2,
        logging_steps=max(1, min(10, steps // 20)),
        logging_nan_inf_filter=False,
        report_to=list(training.report_to),
        run_name=folder.parent.name,
        project="distill",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )


def _optimization(training: Training) -> dict[str, Any]:
    """What decides the steps, by TRL's names."""
    return {
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": training.final_learning_rate_share},
        "warmup_steps": training.warmup_share,
        "num_train_epochs": training.epochs,
        "weight_decay": training.weight_decay,
        "adam_beta2": training.beta2,
        "max_grad_norm": training.max_grad_norm,
        "optim": "adamw_torch_8bit" if training.optimizer == "adamw_8bit" else "adamw_torch_fused",
        "neftune_noise_alpha": training.neftune_alpha,
        "loss_type": "nll",
        "seed": training.seed,
        "data_seed": training.seed,
    }


def _mixed(precision: str) -> Any:
    """FSDP's formats: gradients are summed in fp32, over GPUs and passes, whatever is computed in bf16."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    computed = torch.bfloat16 if precision == "bf16" else torch.float32
    return MixedPrecisionPolicy(param_dtype=computed, reduce_dtype=torch.float32)


def _lora(training: Training) -> Any:
    """The LoRA configuration of a recipe, or None for full fine-tuning."""
    if training.lora_rank is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=training.lora_rank,
        lora_alpha=training.lora_alpha or 2 * training.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
