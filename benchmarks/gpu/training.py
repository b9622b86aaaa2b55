"""Full fine-tuning of Qwen2.5 shapes by the training stage: tokens/s, MFU, memory, and whether all of it is
finite; a plain loop beside it.

    python benchmarks/gpu/training.py [--shape 0.5b] [--least 100] [--most 700] [--steps 300] [--batch 64]
    [--plain | --trl | --trl-half] [--folder DIR]

The base has random weights with a few heads of very low scores (see attention.py) and the embedded student's
tokenizer; the rows are random words. It goes through `distill.train.train`, as a student does, in its child
process with its own settings. Speed is taken between the first and the last logged step. MFU = tokens/s x (6
x parameters + 6 x layers x heads x head dimension x mean length) / peak. Two peers instead:

- `--plain`: a plain loop over rows sorted by length, padded micro-batches, bf16 autocast, fused AdamW, SDPA.
- `--trl`: TRL's trainer with packing, padding-free attention (FlashAttention 4 where installed), Liger where
  installed, bf16 autocast over fp32 weights, `--device-tokens` a pass; `--trl-half` with bf16 weights.

Needs one NVIDIA GPU, and what `pip install -e '.[train,gpu]'` brings.
"""

import argparse
import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention import SHAPE

from distill import hardware, train
from distill.recipe import Base, Training
from distill.records import Example, Message
from distill.store import shards

ROOT = Path(__file__).parents[2]
SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": SHAPE,
    "1.5b": SHAPE
    | {"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "intermediate_size": 8960},
    "7b": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18_944,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
    },
}
"""Qwen2.5's, from the config.json of each."""
TEXT = "so we add the two numbers and find that each part is three more than half of what was left before it"


def main() -> None:
    """Trains and prints the figures."""
    options = arguments()
    shape = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        model = folder / f"random-{options.shape}"
        parameters = make_base(model, shape)
        attended = shape["num_hidden_layers"] * shape["hidden_size"] * (options.least + options.most) / 2
        flops, peak = 6 * (parameters + attended), hardware.device_of(hardware.gpus()[0]).tflops * 1e12
        if options.plain:
            name, rate = "plain loop: ", plain_loop(model, options)
        elif options.trl or options.trl_half:
            name, rate = trl(model, options)
        else:
            name, rate = "", stage(folder, model, parameters, options)
        print(f"{name}{rate:,.0f} tokens/s, MFU {rate * flops / peak:.1%}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="0.5b")
    parser.add_argument("--least", type=int, default=100, help="tokens of the shortest row")
    parser.add_argument("--most", type=int, default=700, help="tokens of the longest row")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device-batch", type=int, default=32)
    parser.add_argument("--device-tokens", type=int, default=65_536)
    parser.add_argument("--optimizer", choices=["adamw", "adamw_8bit"], default=None)
    parser.add_argument("--checkpoint-steps", type=int, default=10_000)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--trl", action="store_true")
    parser.add_argument("--trl-half", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    return parser.parse_args()


def stage(folder: Path, model: Path, parameters: int, options: argparse.Namespace) -> float:
    """Tokens a second of the training stage; prints its losses and its memory."""
    tokens = make_rows(folder / "examples.parquet", model, options)
    tokenizer = {"chat_template": "qwen2-think", "end_of_turn": "<|im_end|>", "pad_token": "<|endoftext|>"}
    base = Base.model_validate({"model": str(model), "parameters": parameters} | tokenizer)
    training = Training(
        learning_rate=1e-4,
        epochs=1,
        batch_size=options.batch,
        device_batch_size=options.device_batch,
        max_length=max(8192, options.most + 64),
        device_tokens=options.device_tokens,
        gradient_checkpointing=options.checkpointing,
        optimizer=options.optimizer,
        checkpoint_steps=options.checkpoint_steps,
    )
    seen, started = list[tuple[float, Mapping[str, Any]]](), time.monotonic()

    def heard(event: Mapping[str, Any]) -> None:
        seen.append((time.monotonic(), event))
        if "step" in event:
            print(f"{seen[-1][0] - started:.0f} s: step {event['step']}", file=sys.stderr, flush=True)

    files, log = [str(folder / "examples.parquet")], str(folder / "train.log")
    made = train.train(base, training, files, str(folder / "model"), log, heard)
    logged = [(when, event["step"], event["loss"]) for when, event in seen if "loss" in event]
    (began, first, loss), (ended, last, last_loss) = logged[0], logged[-1]
    finite = all(math.isfinite(loss) for _, _, loss in logged)
    row = f"{made.steps} steps of {made.tokens_per_step:,.0f} tokens ({tokens / made.rows_trained:.0f} a row)"
    print(f"{row}, {made.seconds:.0f} s")
    print(f"losses {loss:.3f} ... {last_loss:.3f}, all finite: {finite}")
    print(f"GPU memory: {made.peak_memory_gib:.1f} GiB allocated, {made.peak_memory_taken_gib} GiB taken")
    return made.tokens_per_step * (last - first) / (ended - began)


def plain_loop(folder: Path, options: argparse.Namespace) -> float:
    """Tokens a second of a plain PyTorch loop over rows sorted by length, padding left out of the count."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.backends.cuda.enable_cudnn_sdp(False)
    chosen = random.Random(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    lengths = sorted(
        chosen.randint(options.least, options.most) for _ in range(options.steps * options.batch)
    )
    micro = [lengths[at : at + options.device_batch] for at in range(0, len(lengths), options.device_batch)]
    chosen.shuffle(micro)
    each, done, started = max(1, options.batch // options.device_batch), 0, 0.0
    for number, rows in enumerate(micro):
        ids = torch.randint(0, model.config.vocab_size, (len(rows), max(rows)), device="cuda")
        mask = (torch.arange(max(rows))[None, :] < torch.tensor(rows)[:, None]).cuda()
        with torch.autocast("cuda", torch.bfloat16):
            (
                model(input_ids=ids, attention_mask=mask.long(), labels=ids.masked_fill(~mask, -100)).loss
                / each
            ).backward()
        if number % each == each - 1:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if number == 4 * each:
            torch.cuda.synchronize()
            done, started = 0, time.monotonic()
        done += sum(rows)
    torch.cuda.synchronize()
    return done / (time.monotonic() - started)


def trl(folder: Path, options: argparse.Namespace) -> tuple[str, float]:
    """Its settings, and tokens a second of TRL's own trainer with packing, over the same lengths."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from transformers.utils.import_utils import is_flash_attn_4_available, is_liger_kernel_available
    from trl import SFTConfig, SFTTrainer

    from distill.train import attention

    torch.backends.cuda.enable_cudnn_sdp(False)
    chosen = random.Random(0)
    weights = torch.bfloat16 if options.trl_half else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=weights)
    kernel = "flash_attention_4" if is_flash_attn_4_available() else attention.register(model.config, "bf16")
    model.set_attn_implementation(kernel)
    packed = max(16_384, options.most)
    rows, marks = [], list[float]()
    for _ in range(options.steps * options.batch):
        length = chosen.randint(options.least, options.most)
        rows.append({"input_ids": [chosen.randrange(1000, 100_000) for _ in range(length)]})

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            marks.append(time.monotonic())

    each = max(1, options.device_tokens // packed)
    arguments = SFTConfig(
        output_dir=str(folder.with_name("trl")),
        max_length=packed,
        packing=True,
        per_device_train_batch_size=each,
        num_train_epochs=1,
        learning_rate=1e-5,
        bf16=True,
        gradient_checkpointing=options.checkpointing,
        use_liger_kernel=is_liger_kernel_available(),
        optim="adamw_torch_8bit" if options.optimizer == "adamw_8bit" else "adamw_torch_fused",
        dataset_kwargs={"skip_prepare_dataset": False},
        save_strategy="no",
        report_to=[],
        logging_steps=10_000,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[Clock()],
    )
    trainer.train()
    first = min(3, len(marks) - 2)
    tokens = sum(len(row["input_ids"]) for row in rows) / len(marks)
    rate = tokens * (len(marks) - 1 - first) / (marks[-1] - marks[first])
    taken = torch.cuda.max_memory_reserved() / 2**30
    what = f"TRL ({kernel}, weights {weights}, {each} x {packed} tokens, {len(marks)} steps, {taken:.1f} GiB taken): "
    return what, rate


def make_base(folder: Path, shape: dict[str, Any]) -> int:
    """A base of a shape with random weights; returns its number of parameters."""
    import torch
    from attention import plant_low_scores
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data/models/tiny-qwen2")
    config = Qwen2Config(
        **shape, max_position_embeddings=32_768, rope_theta=1e6, eos_token_id=tokenizer.eos_token_id
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plant_low_scores(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def make_rows(path: Path, base: Path, options: argparse.Namespace) -> int:
    """Writes rows of random lengths and returns how many tokens they have together."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    chosen = random.Random(0)
    words = re.findall(r"\w+", TEXT)
    each = sum(len(tokenizer.encode(" " + word)) for word in words) / len(words)
    examples, total = [], 0
    for number in range(options.steps * options.batch):
        tokens = chosen.randint(options.least, options.most)
        text = " ".join(chosen.choice(words) for _ in range(int((tokens - 40) / each)))
        prompt = [Message("user", f"What is {number} + 1?")]
        said = [Message("assistant", f"<think>\n{text}\n</think>\n\n\\boxed{{{number + 1}}}")]
        examples.append(
            Example(
                str(number),
                str(number),
                "random",
                "math",
                "en",
                prompt,
                said,
                [*prompt, *said],
                None,
                None,
                None,
                "none",
                "CC0-1.0",
            )
        )
        total += tokens
    shards.write(Example, examples, str(path))
    return total


if __name__ == "__main__":
    main()
