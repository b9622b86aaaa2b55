"""Full fine-tuning of a 0.5B on rows of 100 to 700 tokens by the training stage: speed, memory, and whether all of it is finite.

    python benchmarks/gpu/short_rows.py [--steps 300] [--batch 64] [--device-batch 32] [--folder DIR]

The base has Qwen2.5-0.5B's shape, random weights with a few heads of very low scores (see attention.py), and the embedded student's
tokenizer; the rows are random words. It goes through `distill.train.train`, as a student does, in its child process with its own
settings. Speed is taken between the first and the last logged step. MFU = tokens/s x 6 x parameters / peak: attention is left out,
it is below 3 % at these lengths. Needs one NVIDIA GPU, and what `pip install -e '.[train]'` brings.
"""

import argparse
import random
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill import hardware, train
from distill.recipe.dataset import Base, Training
from distill.records import Example, Message
from distill.store import shards

ROOT = Path(__file__).parents[2]
TEXT = "so we add the two numbers and find that each part is three more than half of what was left before it"


def main() -> None:
    """Trains and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device-batch", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        parameters = make_base(folder / "random-0.5b")
        tokens = make_rows(folder / "examples.parquet", folder / "random-0.5b", options.steps * options.batch)
        base = Base(
            model=str(folder / "random-0.5b"),
            parameters=parameters,
            chat_template="qwen2-think",
            end_of_turn="<|im_end|>",
            pad_token="<|endoftext|>",
        )
        training = Training(
            learning_rate=1e-4,
            epochs=1,
            batch_size=options.batch,
            device_batch_size=options.device_batch,
            max_length=8192,
            gradient_checkpointing=False,
            checkpoint_steps=10_000,
        )
        seen: list[tuple[float, Mapping[str, Any]]] = []
        files = [str(folder / "examples.parquet")]
        made = train.train(
            base, training, files, str(folder / "model"), str(folder / "train.log"), lambda e: seen.append((time.monotonic(), e))
        )
        losses = [event["loss"] for _, event in seen]
        (first, last) = seen[0], seen[-1]
        rate = made.tokens_per_step * (last[1]["step"] - first[1]["step"]) / (last[0] - first[0])
        peak = hardware.device_of(hardware.gpus()[0]).tflops * 1e12
        print(f"{made.steps} steps of {made.tokens_per_step:,.0f} tokens ({tokens / made.rows_trained:.0f} a row), {made.seconds:.0f} s")
        print(f"losses {losses[0]:.3f} ... {losses[-1]:.3f}, all finite: {all(loss == loss and abs(loss) < 1e30 for loss in losses)}")
        print(f"{rate:,.0f} tokens/s, MFU {rate * 6 * parameters / peak:.1%}")
        print(f"GPU memory: {made.peak_memory_gib:.1f} GiB allocated, {made.peak_memory_taken_gib} GiB taken")


def make_base(folder: Path) -> int:
    """A base of Qwen2.5-0.5B's shape with random weights; returns its number of parameters."""
    import torch
    from attention import SHAPE, plant_low_scores
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data/models/tiny-qwen2")
    config = Qwen2Config(**SHAPE, max_position_embeddings=32_768, rope_theta=1e6, eos_token_id=tokenizer.eos_token_id)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plant_low_scores(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def make_rows(path: Path, base: Path, rows: int) -> int:
    """Writes rows of 100 to 700 tokens and returns how many tokens they have together."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    chosen = random.Random(0)
    words = re.findall(r"\w+", TEXT)
    each = sum(len(tokenizer.encode(" " + word)) for word in words) / len(words)
    examples, total = [], 0
    for number in range(rows):
        tokens = chosen.randint(100, 700)
        text = " ".join(chosen.choice(words) for _ in range(int((tokens - 40) / each)))
        prompt = [Message("user", f"What is {number} + 1?")]
        said = [Message("assistant", f"<think>\n{text}\n</think>\n\n\\boxed{{{number + 1}}}")]
        examples.append(
            Example(str(number), str(number), "random", "math", "en", prompt, said, [*prompt, *said], None, None, None, "none", "CC0-1.0")
        )
        total += tokens
    shards.write(Example, examples, str(path))
    return total


if __name__ == "__main__":
    main()
