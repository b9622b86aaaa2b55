"""Supervised fine-tuning: a TRL trainer for rows of token ids on disk.

It ends before a value that is not finite reaches the weights.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from distill.hardware.memory import PASS_TOKENS, WIDTH_MULTIPLE
from distill.recipe import Training
from distill.train import attention, batches, metrics
from distill.train.rows import Ints
from distill.train.tokens import Rows

LAST_SHARE = 0.1
"""The final loss is the mean of what was logged in this last share of the steps."""


def trainer(
    model: Any,
    tokenizer: Any,
    rows: Rows,
    training: Training,
    folder: Path,
    reporter: Any,
    validation: Rows | None = None,
) -> Any:
    """A TRL trainer for rows that are already token ids; a batch reads its rows from their files.

    `validation` are rows whose loss is taken where the reporter asks for an evaluation.
    """
    import torch
    from datasets import Dataset
    from transformers.trainer_pt_utils import BatchRebalanceSampler
    from trl import SFTTrainer

    world = int(os.environ.get("WORLD_SIZE", "1"))
    kernel = attention.register(model.config.get_text_config(), training.precision)
    end_to_end = kernel is not None or training.packing
    if kernel is not None:
        model.set_attn_implementation(kernel)
    lengths = rows.lengths

    def read(asked: dict[str, list[int]]) -> dict[str, list[Any]]:
        found = [rows[row] for row in asked["row"]]
        return {name: [row[name] for row in found] for name in ("input_ids", "labels")}

    device_batch, accumulation = _passes(training, lengths, world, end_to_end)
    arguments = _arguments(training, folder, len(rows), device_batch, accumulation, world, end_to_end)

    class FiniteTrainer(SFTTrainer):
        """Ends the training before a loss or a gradient that is not finite reaches the weights."""

        def training_step(self, *inputs: Any, **named: Any) -> Any:
            parent: Any = super()
            self.step_loss = parent.training_step(*inputs, **named)
            return self.step_loss

        def _get_grad_norm(self, *inputs: Any, **named: Any) -> Any:
            parent: Any = super()
            norm = parent._get_grad_norm(*inputs, **named)
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            checked = torch.stack(
                [
                    torch.as_tensor(value, device=self.step_loss.device).float()
                    for value in (self.step_loss, norm)
                ]
            )
            if not bool(torch.isfinite(checked).all()):
                loss, gradient = checked.tolist()
                raise ValueError(
                    f"training stopped before step {self.state.global_step + 1} of {self.state.max_steps}: "
                    f"loss {loss}, gradient norm "
                    f"{gradient}, learning rate {self._get_learning_rate():.2g}. No student was saved. Lower "
                    "training.learning_rate (now "
                    f"{training.learning_rate:.2g}) or raise training.warmup_share, and run the same command "
                    "again"
                )
            return norm

        def _get_train_sampler(self, *inputs: Any, **named: Any) -> Any:
            if end_to_end:
                return batches.sampler(
                    lengths, training.batch_size, world, self.args.process_index, accumulation, training.seed
                )
            if self.args.train_sampling_strategy == "batch_rebalance":
                return BatchRebalanceSampler(
                    lengths=lengths.tolist(),
                    effective_batch_size=device_batch * accumulation * world,
                    dp_size=world,
                    grad_accum=accumulation,
                    seed=training.seed,
                    rank=self.args.process_index if world > 1 else 0,
                    drop_last=self.args.dataloader_drop_last,
                )
            return super()._get_train_sampler(*inputs, **named)

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            """The mean loss of a trained token of `validation`; each process takes its share of the rows."""
            assert validation is not None
            rank, sums = self.args.process_index, torch.zeros(2, dtype=torch.float64)
            for at in range(0, len(validation), world):  # as many passes in every process
                row = validation[min(at + rank, len(validation) - 1)]
                inputs = self._prepare_inputs(self.data_collator([row]))
                self.model_wrapped.eval()
                with torch.no_grad():
                    own: Any = self
                    loss = own.compute_loss(self.model_wrapped, inputs)
                self.model_wrapped.train()
                if at + rank < len(validation):
                    count = int((row["labels"] != -100).sum())
                    sums += torch.tensor([float(loss) * count, count], dtype=torch.float64)
            self._metrics["eval"].clear()
            total = self.accelerator.reduce(sums.to(self.args.device), "sum")
            found = {metrics.VALIDATION: float(total[0] / total[1])}
            self.log(found)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
            return found

    made = FiniteTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"row": np.arange(len(rows))}).with_transform(read),
        processing_class=tokenizer,
        peft_config=_lora(training),
        callbacks=[reporter],
    )
    if sharded := getattr(made.accelerator.state, "fsdp_plugin", None):
        sharded.mixed_precision_policy = _mixed(training.precision)
    return made


def _passes(training: Training, lengths: Ints, world: int, end_to_end: bool) -> tuple[int, int]:
    """How many rows a process has in a pass, and how many passes make a step; raises ValueError where a step
    cannot be cut so."""
    if end_to_end:
        tokens = training.device_tokens or PASS_TOKENS[-1]
        passes = batches.passes_of_a_step(lengths, training.batch_size, world, tokens, training.seed)
        return max(2, training.batch_size // (passes * world)), passes
    rows = min(training.device_batch_size, max(1, training.batch_size // world))
    passes = training.batch_size // (rows * world)
    if passes * rows * world != training.batch_size:
        raise ValueError(
            f"training.batch_size={training.batch_size} is no multiple of {world} devices x {rows} sequences"
        )
    return rows, passes


def _arguments(
    training: Training,
    folder: Path,
    rows: int,
    device_batch: int,
    accumulation: int,
    world: int,
    end_to_end: bool,
) -> Any:
    """What TRL is told: a recipe's section, and what fits this device."""
    import torch
    from transformers.utils.import_utils import is_liger_kernel_available
    from trl import SFTConfig

    on_gpu = torch.cuda.is_available()
    steps = math.ceil(rows / training.batch_size * training.epochs)
    return SFTConfig(
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
        remove_unused_columns=False,
        pad_to_multiple_of=WIDTH_MULTIPLE if on_gpu and not end_to_end else None,
        # Rows of about one length share a micro-batch; which rows share an optimizer step stays a random
        # draw.
        train_sampling_strategy="batch_rebalance"
        if accumulation * world > 1 and not end_to_end
        else "random",
        loss_type="nll",
        use_liger_kernel=on_gpu and is_liger_kernel_available(),
        optim="adamw_torch_8bit" if training.optimizer == "adamw_8bit" else "adamw_torch_fused",
        neftune_noise_alpha=training.neftune_alpha,
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
        seed=training.seed,
        data_seed=training.seed,
    )


def _mixed(precision: str) -> Any:
    """FSDP's formats: gradients are summed in fp32, over GPUs and passes, whatever is computed in bf16."""
    import torch
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


def final_loss(history: list[dict[str, float]], steps: int) -> float:
    """Mean of the losses that were logged in the last tenth of the steps, or the last one that was."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    last = [loss for step, loss in logged if step > (1 - LAST_SHARE) * steps] or [
        loss for _, loss in logged[-1:]
    ]
    return sum(last) / len(last)
