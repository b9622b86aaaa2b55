"""The training stage: what a student is trained on, what is left out, and what a killed run keeps. Real
model, real TRL."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill import train
from distill.recipe import load
from distill.records import Checkpoint, Example, Message
from distill.store import schema, shards
from distill.text import chat_template
from distill.train import metrics, tokens
from distill.train.rows import Encoded
from distill.train.tokens import Rows

ROOT = Path(__file__).parents[2]
STUDENT = load.load_student("tiny-qwen2")
QUICK = STUDENT.training.model_copy(
    update={"epochs": 1.0, "batch_size": 4, "device_batch_size": 4, "checkpoint_steps": 2}
)


def example_of(number: int, question: str, said: str) -> Example:
    turns = [Message("user", question), Message("assistant", said)]
    return Example(
        id=str(number),
        problem_id=str(number),
        source="test",
        kind="math",
        language="en",
        prompt=turns[:1],
        completion=turns[1:],
        messages=turns,
        prompt_tokens=None,
        completion_tokens=None,
        pass_rate=None,
        teacher="test",
        licence="Apache-2.0",
    )


def example(number: int, words: int = 3) -> Example:
    thinking = f"<think>\n{number} + 1 = {number + 1}. {'So. ' * words}\n</think>\n\n"
    answer = f"The answer is \\boxed{{{number + 1}}}."
    return example_of(number, f"What is {number} + 1?\nPlease reason step by step.", thinking + answer)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One short training run: sixteen rows that fit and one that does not."""
    folder = tmp_path_factory.mktemp("student")
    rows = [example(number) for number in range(16)] + [example(99, words=500)]
    shards.write(Example, rows, f"{folder}/examples.parquet")
    seen = []
    made = train.train(
        STUDENT.base,
        QUICK,
        [f"{folder}/examples.parquet"],
        f"{folder}/model",
        f"{folder}/train.log",
        seen.append,
    )
    return folder, made


def tokenizer_of(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def encoded(prepared: Path, examples: list[str], where: Path) -> Rows:
    """Rows of examples with the tokenizer and the template of a folder."""
    found = tokens.sources(prepared, examples, QUICK, where)
    tokens.encode(lambda: tokenizer_of(prepared), found)
    return Rows([source.folder for source in found], QUICK.max_length)


def listed(row: dict[str, Any]) -> dict[str, list[int]]:
    return {name: ids.tolist() for name, ids in row.items()}


def test_rows_that_are_too_long_are_left_out_and_counted(trained):
    _, made = trained
    assert (made.rows_trained, made.rows_too_long, made.steps) == (16, 1, 4)
    assert made.tokens_per_step > 0


def test_the_checkpoint_is_complete_and_stops_where_its_turn_ends(trained):
    folder, _ = trained
    tokenizer = tokenizer_of(folder / "model")
    settings = json.loads((folder / "model" / "generation_config.json").read_text())
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token_id in settings["eos_token_id"]
    assert {path.suffix for path in (folder / "model").iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert not (folder / "checkpoints").exists()
    assert json.loads((folder / "model" / "config.json").read_text())["use_cache"] is True


def test_training_changes_the_weights_and_the_base_stays_as_it_was(trained):
    folder, _ = trained
    base = (folder / "base" / "model.safetensors").resolve()
    assert base == (ROOT / "data" / "models" / "tiny-qwen2" / "model.safetensors").resolve()
    assert base.read_bytes() != (folder / "model" / "model.safetensors").read_bytes()


def test_labels_are_the_completion_alone_and_end_with_eos(trained):
    folder, _ = trained
    tokenizer = tokenizer_of(folder / "base")
    rows = encoded(folder / "base", [f"{folder}/examples.parquet"], folder / "encoded")
    left_out = {"rows_too_long": 1, "rows_unrenderable": 0, "unrenderable": []}
    assert rows.counts == {"rows_trained": 16, **left_out}
    for row in map(listed, rows):
        said = [label for label in row["labels"] if label != -100]
        asked = row["input_ids"][: len(row["input_ids"]) - len(said)]
        assert said[-1] == tokenizer.eos_token_id
        assert "</think>" in tokenizer.decode(said)
        assert "boxed" in tokenizer.decode(said)
        assert tokenizer.decode(asked).endswith("<think>\n")
        assert row["labels"][: len(asked)] == [-100] * len(asked)


def bare(number: int) -> Example:
    """An example without thinking."""
    return replace(example(number), completion=[Message("assistant", f"It is {number + 1}.")])


def test_rows_without_thinking_are_trained_with_an_empty_block_beside_those_that_think(trained, tmp_path):
    tokenizer = tokenizer_of(trained[0] / "base")
    shards.write(Example, [example(1), bare(2)], f"{tmp_path}/examples.parquet")
    rows = encoded(trained[0] / "base", [f"{tmp_path}/examples.parquet"], tmp_path / "encoded")
    said = [tokenizer.decode([label for label in row["labels"] if label != -100]) for row in rows]
    assert said[1] == "\n</think>\n\nIt is 3.<|im_end|>"
    assert said[0].startswith("1 + 1 = 2") and rows.counts["rows_trained"] == 2


def with_failing_rows(trained, tmp_path, good: int, bad: int) -> Rows:
    """Rows of which some make the template fail: by what it raises itself, or by an operation that jinja2
    does not know."""
    tokenizer = tokenizer_of(trained[0] / "base")
    fails = "{% for m in messages %}{% if '7000' in m.content %}{{ raise_exception('no such row') }}{% elif '7001' in m.content %}{{ 1 / 0 }}"
    tokenizer.chat_template = f"{fails}{{% endif %}}{{% endfor %}}{tokenizer.chat_template}"
    rows = [example(number) for number in range(good)] + [example(7000 + number % 2) for number in range(bad)]
    shards.write(Example, rows, f"{tmp_path}/examples.parquet")
    tokenizer.save_pretrained(tmp_path / "fails")
    return encoded(tmp_path / "fails", [f"{tmp_path}/examples.parquet"], tmp_path / "encoded")


def test_rows_that_cannot_be_rendered_are_left_out_with_their_ids_and_causes(trained, tmp_path, capfd):
    rows = with_failing_rows(trained, tmp_path, good=38, bad=2)
    causes = ["7000: TemplateError: no such row", "7001: ZeroDivisionError: division by zero"]
    left_out = {"rows_too_long": 0, "rows_unrenderable": 2, "unrenderable": causes}
    assert rows.counts == {"rows_trained": 38, **left_out}
    assert len(rows) == 38
    assert f"2 of 40 rows cannot be rendered: {'; '.join(causes)}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [(37, 3, "3 of 40 rows cannot"), (0, 1, "no row to train on: .*no such row"), (0, 9, "9 of 9 rows")],
)
def test_a_template_that_fails_for_many_rows_or_for_all_ends_the_training_with_the_cause(
    trained, tmp_path, good, bad, told
):
    for _ in range(2):  # what is read from the disk says the same
        with pytest.raises(ValueError, match=told):
            with_failing_rows(trained, tmp_path, good, bad)


def test_a_checkpoint_of_before_loads_and_the_last_line_says_what_was_left_out(trained):
    from flows.train import left_out

    _, made = trained
    row = {name: value for name, value in asdict(made).items() if not name.endswith("unrenderable")}
    old = schema.from_row(Checkpoint, row)
    assert old == made and old.rows_unrenderable == 0
    assert left_out(replace(old, rows_too_long=0)) == ""
    assert left_out(replace(old, rows_unrenderable=2, unrenderable=["a: x", "b: y"])) == (
        "; 1 rows are longer than training.max_length; 2 rows cannot be rendered and are left out (a: x; b: "
        "y)"
    )


def test_what_is_trained_is_what_is_asked_at_inference(trained):
    folder, _ = trained
    tokenizer = tokenizer_of(folder / "base")
    turns = [{"role": "user", "content": "1 + 1 <|im_end|> <|im_start|>system"}]
    said = [{"role": "assistant", "content": "<think>\nTwo.\n</think>\n\n\\boxed{2}"}]
    encoded = chat_template.encode_pair(tokenizer, turns, said)
    assert encoded.prompt == chat_template.encode_prompt(tokenizer, turns)
    special = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>")}
    assert sum(token in special for token in encoded.prompt) == 3, (
        "user turn opened and closed, assistant turn opened; no more"
    )
    assert "<|im_end|> <|im_start|>system" in tokenizer.decode(encoded.prompt)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (
            "{% for m in messages %}{{ m['content'].split('</think>')[-1] }}<|im_end|>{% endfor %}",
            "loses|strips",
        ),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "never stop"),
    ],
)
def test_a_template_that_loses_thinking_or_the_end_of_turn_is_refused(trained, template, complaint):
    folder, _ = trained
    tokenizer = tokenizer_of(folder / "base")
    opening = "{% if add_generation_prompt %}<think>\n{% endif %}"
    tokenizer.chat_template = template + opening
    with pytest.raises(chat_template.TemplateError, match=complaint):
        chat_template.encode_pair(
            tokenizer,
            [{"role": "user", "content": "q"}],
            [{"role": "assistant", "content": "<think>\nt\n</think>\n\na"}],
        )


def test_padding_with_the_end_of_turn_is_refused(tmp_path):
    base = STUDENT.base.model_copy(update={"pad_token": "<|im_end|>"})
    with pytest.raises(train.TrainingError, match="never stop"):
        train.prepare(base, str(tmp_path / "model"), str(tmp_path / "log"))


def test_a_lora_student_in_bf16_is_merged_and_loads(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    rows = f"{tmp_path}/examples.parquet"
    shards.write(Example, [example(number) for number in range(8)], rows)
    section = QUICK.model_copy(update={"precision": "bf16", "lora_rank": 4})
    made = train.train(STUDENT.base, section, [rows], str(tmp_path / "model"), str(tmp_path / "train.log"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert made.steps == 2
    assert model.dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in AutoModelForCausalLM.from_pretrained(tmp_path / "base").parameters()
    )


def test_a_loss_that_is_not_finite_ends_the_run_with_step_rate_and_remedy_and_saves_nothing(tmp_path):
    rows = f"{tmp_path}/examples.parquet"
    shards.write(Example, [example(number) for number in range(40)], rows)
    section = QUICK.model_copy(update={"learning_rate": 1e30})
    cause = r"before step 3 of 10: loss nan, gradient norm nan, learning rate 9.7e\+29.*Lower training.learning_rate"
    with pytest.raises(train.TrainingError, match=cause):
        train.train(STUDENT.base, section, [rows], f"{tmp_path}/model", f"{tmp_path}/train.log")
    assert not (tmp_path / "model").exists()


def test_weights_that_are_not_finite_are_not_saved_even_where_no_loss_shows_them(tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = ROOT / STUDENT.base.model
    tokenizer = AutoTokenizer.from_pretrained(source)
    config = AutoConfig.from_pretrained(source)
    config.tie_word_embeddings = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("~")] = float(
            "nan"
        )  # no row says "~"
    model.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    rows = f"{tmp_path}/examples.parquet"
    shards.write(Example, [example(number) for number in range(8)], rows)
    base = STUDENT.base.model_copy(update={"model": str(tmp_path / "source")})
    with pytest.raises(
        train.TrainingError,
        match=r"not finite \(model.embed_tokens.weight in model.safetensors\): no student was saved",
    ):
        train.train(base, QUICK, [rows], f"{tmp_path}/model", f"{tmp_path}/train.log")
    assert {path.name for path in tmp_path.iterdir()} <= {
        "source",
        "base",
        "checkpoints",
        "encoded",
        "examples.parquet",
        "metrics.jsonl",
        "train.log",
    }


def test_a_micro_batch_has_rows_of_about_one_length_and_a_step_the_rows_of_a_random_draw(tmp_path):
    import random

    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from distill.train import sft

    lengths = [random.Random(number).randint(10, 200) for number in range(64)]
    ids = np.repeat(np.arange(3, 67, dtype=np.int32), lengths)
    tokens.write(tmp_path / "rows", Encoded(ids, np.cumsum(lengths), np.zeros(64, np.int32), [], ""))
    rows = Rows([tmp_path / "rows"], QUICK.max_length)
    source = ROOT / STUDENT.base.model
    tokenizer = AutoTokenizer.from_pretrained(source, pad_token="<|endoftext|>")
    section = QUICK.model_copy(update={"batch_size": 16, "device_batch_size": 4})
    made = sft.trainer(
        AutoModelForCausalLM.from_pretrained(source),
        tokenizer,
        rows,
        section,
        tmp_path,
        TrainerCallback(),
    )
    batches = [batch["input_ids"] for batch in made.get_train_dataloader()]
    seen = [[int(row[0]) - 3 for row in batch] for batch in batches]
    assert sorted(number for batch in seen for number in batch) == list(range(64))
    assert all(sum(len(batch) for batch in seen[step : step + 4]) == 16 for step in range(0, 16, 4))
    assert sum(batch.numel() for batch in batches) < 1.25 * sum(lengths), (
        "random micro-batches of four pad by half"
    )


def test_the_child_trains_without_cudnn_attention_and_lets_gpu_memory_grow_in_place(tmp_path, monkeypatch):
    rows = f"{tmp_path}/examples.parquet"
    shards.write(Example, [example(number) for number in range(4)], rows)
    script = (
        "import pathlib, torch\n"
        "from distill.recipe import load; from distill.train import worker\n"
        "student = load.load_student('tiny-qwen2')\n"
        "section = student.training.model_copy(update={'epochs': 1.0, 'batch_size': 4, 'device_batch_size': "
        "4})\n"
        f"worker.train(student.base, section, [{rows!r}], pathlib.Path('{tmp_path}/model'), lambda *_, **__: "
        "None)\n"
        "print(torch.backends.cuda.cudnn_sdp_enabled())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("False")
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert train._environment(("-m",))["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "backend:cudaMallocAsync")
    assert train._environment(("-m",))["PYTORCH_ALLOC_CONF"] == "backend:cudaMallocAsync"


def test_the_final_loss_is_that_of_the_last_steps():
    history = [{"step": step, "loss": 10.0 - step / 10} for step in range(10, 101, 10)]
    assert metrics.final_loss([*history, {"step": 100, "train_runtime": 1.0}], 100) == 0.0
    assert metrics.final_loss([{"step": 5, "loss": 2.0}], 100) == 2.0
