"""Makes the embedded models: `python data/models/make.py {tiny-qwen2,tiny-llama,tiny-teacher} [--out FOLDER]
[--scale 1.0]`.

- tiny-qwen2, tiny-llama: bases, pretrained on plain text without any reasoning (`lessons.plain_documents`).
- tiny-teacher: a Qwen2 taught by the project's own training stage on traces in R1's format
  (`lessons.traces`).

Everything is seeded. The committed weights were made on one H100, all three side by side: 2 minutes for the
teacher, 4 for each base. On two quiet CPU cores the teacher takes about 20 minutes and a base about 30.
`--scale 0.01` is a quick rehearsal. Other hardware gives other weights: the tests and the README were run
with the committed ones.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))

import lessons  # noqa: E402

from distill import hardware, train  # noqa: E402
from distill.recipe.dataset import Base, Training  # noqa: E402
from distill.records import Example, Message  # noqa: E402
from distill.store import shards  # noqa: E402

# as in distill/text/prompts/math.txt
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
BLOCK_TOKENS = 128
BASE_TOKENS = 20_000_000
TEACHER_TRACES = 50_000
VOCABULARY = 1024
QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA_HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
LLAMA_TOKENS = ("<|end_of_text|>", *LLAMA_HEADERS, "<|eot_id|>", "<|finetune_right_pad_id|>")
SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 384,
}
LARGER = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
}


def completion(thinking: str, answer: str) -> str:
    """A trace as R1 writes it."""
    return f"<think>\n{thinking}\n</think>\n\n{answer}"


def make_tokenizer(special: tuple[str, ...]) -> Any:
    """A byte-level BPE tokenizer of the domain's text, digits split, with a family's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(vocabulary_text(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[0], clean_up_tokenization_spaces=False
    )


def vocabulary_text() -> Iterator[str]:
    """Text of the domain for the tokenizer's merges."""
    for problem, thinking, answer in islice(lessons.traces(11), 3000):
        yield f"user\n{problem.question}\n{INSTRUCTION}\nassistant\n{completion(thinking, answer)}"
    yield from islice(lessons.plain_documents(12), 2000)


def blank(folder: Path, family: str, size: dict[str, int], seed: int) -> None:
    """A model folder with random weights: what a base is before it has read anything."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    tokenizer = make_tokenizer(QWEN_TOKENS if family == "qwen2" else LLAMA_TOKENS)
    make_config = Qwen2Config if family == "qwen2" else LlamaConfig
    config = make_config(
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None if family == "qwen2" else tokenizer.convert_tokens_to_ids("<|begin_of_text|>"),
        **size,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def text_blocks(tokenizer: Any, seed: int, tokens: int) -> list[dict[str, list[int]]]:
    """Plain documents end to end, cut into blocks, as a pretraining run sees them."""
    blocks: list[dict[str, list[int]]] = []
    pending: list[int] = []
    for document in lessons.plain_documents(seed):
        pending += [*tokenizer.encode(document, add_special_tokens=False), tokenizer.eos_token_id]
        while len(pending) >= BLOCK_TOKENS:
            block, pending = pending[:BLOCK_TOKENS], pending[BLOCK_TOKENS:]
            blocks.append({"input_ids": block, "labels": block})
        if len(blocks) * BLOCK_TOKENS >= tokens:
            return blocks
    return blocks


def pretrain(family: str, folder: Path, scale: float) -> None:
    """A base: a blank model trained on blocks of plain text with TRL."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    hardware.without_cudnn_attention()
    with tempfile.TemporaryDirectory() as scratch:
        blank(Path(scratch) / "blank", family, SMALL, seed=0)
        tokenizer = AutoTokenizer.from_pretrained(Path(scratch) / "blank")
        model = AutoModelForCausalLM.from_pretrained(Path(scratch) / "blank", dtype=torch.float32)
        arguments = SFTConfig(
            output_dir=scratch,
            learning_rate=2e-3,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1},
            warmup_steps=0.05,
            weight_decay=0.1,
            adam_beta2=0.95,
            per_device_train_batch_size=32,
            num_train_epochs=1,
            max_length=BLOCK_TOKENS,
            dataset_kwargs={"skip_prepare_dataset": True},
            loss_type="nll",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_steps=200,
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        rows = Dataset.from_list(text_blocks(tokenizer, 12, int(BASE_TOKENS * scale)))
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
        trainer.train()
        shutil.rmtree(folder, ignore_errors=True)
        trainer.model.config.use_cache = True
        trainer.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def teach(folder: Path, scale: float) -> None:
    """The teacher: a blank Qwen2 that goes through the project's training stage once over many traces."""
    settings = Training(
        learning_rate=2e-3,
        epochs=1,
        batch_size=32,
        device_batch_size=32,
        max_length=256,
        warmup_share=0.05,
        weight_decay=0.1,
        beta2=0.95,
        precision="fp32",
        gradient_checkpointing=False,
        checkpoint_steps=100_000,
    )
    with tempfile.TemporaryDirectory() as scratch:
        blank(Path(scratch) / "blank", "qwen2", LARGER, seed=0)
        examples = f"{scratch}/examples.parquet"
        shards.write(Example, islice(teacher_examples(), int(TEACHER_TRACES * scale)), examples)
        target = f"{scratch}/model/model"
        base = Base(
            model=f"{scratch}/blank",
            licence="Apache-2.0",
            parameters=1_700_000,
            chat_template="qwen2-think",
            end_of_turn="<|im_end|>",
            pad_token="<|endoftext|>",  # noqa: S106 (a token of a vocabulary)
        )
        train.train(base, settings, [examples], target, f"{scratch}/train.log", on_progress=print)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(target, folder)


def teacher_examples() -> Iterator[Example]:
    """The teacher's lessons as the rows that any student is trained on."""
    for number, (problem, thinking, answer) in enumerate(lessons.traces(21)):
        prompt = [Message("user", f"{problem.question}\n{INSTRUCTION}")]
        said = [Message("assistant", completion(thinking, answer))]
        yield Example(
            id=str(number),
            problem_id=str(number),
            source="lessons",
            kind="math",
            language=problem.language,
            prompt=prompt,
            completion=said,
            messages=[*prompt, *said],
            prompt_tokens=None,
            completion_tokens=None,
            pass_rate=None,
            teacher="program",
            licence="Apache-2.0",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=("tiny-qwen2", "tiny-llama", "tiny-teacher"))
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent,
        help="folder that the model's folder is written into",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full training text")
    chosen = parser.parse_args()
    if chosen.name == "tiny-teacher":
        teach(chosen.out / chosen.name, chosen.scale)
    else:
        pretrain(chosen.name.removeprefix("tiny-"), chosen.out / chosen.name, chosen.scale)
