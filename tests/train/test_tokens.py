"""Token ids on disk: encoded once, the ids of the tokenizer, and a trap in a row is found in it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.recipe import load
from distill.records import Example, Message
from distill.store import shards
from distill.text import chat_template as chat
from distill.train import rows, tokens
from distill.train.encoder import Encoder
from distill.train.tokens import Rows

ROOT = Path(__file__).parents[2]
TRAINING = load.load_student("tiny-qwen2").training
TYPED = "Why? <think> </think> <tool_call> <|fim_prefix|> <|im_end|>\n<|im_start|>assistant\n<|endoftext|>"


def example(number: int, question: str = "What is that + 1?", words: int = 3) -> Example:
    prompt = [Message("user", f"{number}: {question}")]
    said = [Message("assistant", f"<think>\n{'So. ' * words}\n</think>\n\n\\boxed{{{number + 1}}}")]
    name = str(number)
    turns = [*prompt, *said]
    return Example(name, name, "t", "math", "en", prompt, said, turns, None, None, None, "t", "x")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with tokens that are added and not special, as Qwen3 has them, and Qwen2's template."""
    from transformers import AddedToken, AutoTokenizer

    folder = tmp_path_factory.mktemp("base")
    made = AutoTokenizer.from_pretrained(ROOT / "data/models/tiny-qwen2", pad_token="<|endoftext|>")
    made.eos_token = "<|im_end|>"
    texts = ("<think>", "</think>", "<tool_call>", "<|fim_prefix|>")
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in texts])
    made.chat_template = (ROOT / "configs/chat/qwen2-think.jinja").read_text()
    made.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def encode(
    prepared: Path, paths: list[str], where: Path, load: Callable[[], Any] | None = None
) -> list[Path]:
    found = tokens.sources(prepared, paths, TRAINING, where)
    tokens.encode(load or (lambda: loaded(prepared)), found)
    return [source.folder for source in found]


def test_rows_on_disk_are_those_of_the_tokenizer_at_four_bytes_a_token(
    prepared: Path, tmp_path: Path
) -> None:
    examples = [example(number, TYPED, 300 * (number % 3)) for number in range(9)]
    paths = [f"{tmp_path}/{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        shards.write(Example, examples[3 * number : 3 * number + 3], path)
    folders = encode(prepared, paths, tmp_path / "encoded")
    read = Rows(folders, 100_000)
    tokenizer = loaded(prepared)
    for one, row in zip(examples, (read[number] for number in range(len(read))), strict=True):
        pair = rows._pair(tokenizer, one)
        assert row["input_ids"].tolist() == pair.prompt + pair.completion
        assert row["labels"].tolist() == [-100] * len(pair.prompt) + pair.completion
    size = sum(file.stat().st_size for folder in folders for file in folder.glob("tokens.npy"))
    assert size - 128 * 3 == 4 * read.lengths.sum()
    assert read.trained_tokens == sum(len(rows._pair(tokenizer, one).completion) for one in examples)


def test_what_is_encoded_is_found_again_by_content_whatever_the_length_and_the_path(
    prepared: Path, tmp_path: Path
) -> None:
    shards.write(Example, [example(1), example(2, words=100)], f"{tmp_path}/a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes())

    def never() -> Any:
        raise AssertionError("nothing is encoded a second time")

    first = encode(prepared, [f"{tmp_path}/a.parquet"], tmp_path / "encoded")
    assert encode(prepared, [f"{tmp_path}/b.parquet"], tmp_path / "encoded", never) == first
    assert [len(Rows(first, length)) for length in (100, 10_000)] == [1, 2]
    assert Rows(first, 100).counts["rows_too_long"] == 1


def test_a_choice_of_rows_is_the_seeded_one_over_all_shards(prepared: Path, tmp_path: Path) -> None:
    paths = [f"{tmp_path}/{number}.parquet" for number in range(2)]
    for number, path in enumerate(paths):
        shards.write(Example, [example(10 * number + row) for row in range(10)], path)
    training = TRAINING.model_copy(update={"max_rows": 6})
    import random

    kept = sorted(random.Random(training.seed).sample(range(20), 6))
    found = tokens.sources(prepared, paths, training, tmp_path)
    assert [10 * at + row for at, source in enumerate(found) for row in source.chosen or ()] == kept
    tokens.encode(lambda: loaded(prepared), found)
    assert len(Rows([source.folder for source in found], 1000)) == 6


@pytest.mark.parametrize("added", ["<|im_end|>", "<think>", "<tool_call>", "<|fim_prefix|>"])
def test_a_control_token_typed_in_a_problem_stays_text_and_one_that_gets_in_is_found(
    prepared: Path, added: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(loaded(prepared))
    typed, plain = (rows.encode_rows(encoder, [example(1, text)]) for text in (f"a {added} b", "a b"))
    number = encoder.get_added_vocab()[added]
    counts = [int((made.tokens[: made.prompts[0]] == number).sum()) for made in (typed, plain)]
    assert not typed.failures and counts[0] == counts[1]
    monkeypatch.setattr(chat, "special_texts", lambda tokenizer: [])
    (failure,) = rows.encode_rows(encoder, [example(1, f"a {added} b")]).failures
    assert failure.cause.startswith("1: the row has the control tokens")


def test_two_runs_at_once_make_each_shard_once_and_a_torn_one_is_made_anew(
    prepared: Path, tmp_path: Path
) -> None:
    paths = [f"{tmp_path}/{number}.parquet" for number in range(6)]
    for number, path in enumerate(paths):
        shards.write(Example, [example(300 * number + row) for row in range(300)], path)
    wanted = tokens.sources(prepared, paths, TRAINING, tmp_path / "encoded")
    script = (
        "import os, sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from transformers import AutoTokenizer\n"
        "from distill.recipe import load; from distill.train import tokens\n"
        f"paths, base = {paths!r}, Path({str(prepared)!r})\n"
        "training = load.load_student('tiny-qwen2').training\n"
        f"wanted = tokens.sources(base, paths, training, Path({str(tmp_path / 'encoded')!r}))\n"
        "kill = lambda done, of: os.killpg(0, 9) if len(sys.argv) > 1 and done == 2 else None\n"
        "seen = []\n"
        "tokens.encode(lambda: AutoTokenizer.from_pretrained(base), wanted, lambda *one: (seen.append(one), "
        "kill(*one)))\n"
        "print(len(seen))\n"
    )

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)

    killed = start("kill")
    killed.communicate()
    assert killed.returncode == -9
    torn = wanted[-1].folder.with_name(".torn.tmp")
    torn.mkdir(parents=True)
    there = sum(source.folder.exists() for source in wanted)
    assert 2 <= there < 6
    both = [start(), start()]
    made = [int(run.communicate()[0].splitlines()[-1]) for run in both]
    assert sum(made) == 6 - there and all(source.folder.exists() for source in wanted) and not torn.exists()
    again = [tokens.Source(one.examples, None, tmp_path / "again" / one.folder.name) for one in wanted]
    tokens.encode(lambda: loaded(prepared), again)
    for one, other in zip(wanted, again, strict=True):
        for name in ("tokens", "ends", "prompts"):
            left, right = (np.load(source.folder / f"{name}.npy") for source in (one, other))
            assert np.array_equal(left, right)


@pytest.mark.parametrize("most", [None, 700])
def test_a_shard_in_parts_for_several_processes_has_the_ids_and_failures_of_one(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    def fails_once() -> Any:
        tokenizer = loaded(prepared)
        tokenizer.chat_template += "{% if messages[0].content.startswith('850:') %}{{ 1 / 0 }}{% endif %}"
        return tokenizer

    examples = [example(number, words=number % 7) for number in range(900)]
    shards.write(Example, examples, f"{tmp_path}/a.parquet")
    training, made = TRAINING.model_copy(update={"max_rows": most}), []
    for cores in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        found = tokens.sources(prepared, [f"{tmp_path}/a.parquet"], training, tmp_path / f"{cores}")
        done: list[tuple[int, int]] = []
        tokens.encode(fails_once, found, lambda *one, done=done: done.append(one))
        assert len(done) == min(cores, (most or 900) // tokens.PART_ROWS)
        folder = found[0].folder
        told = json.loads((folder / tokens.TOLD).read_text())
        arrays = [np.load(folder / f"{name}.npy").tolist() for name in ("tokens", "ends", "prompts")]
        made.append((told, arrays))
    assert made[0] == made[1]
    if most is None:
        assert [failure[0] for failure in made[0][0]["failures"]] == [850]


def test_ids_that_no_training_has_used_for_a_while_are_removed_with_what_is_torn_left_alone(
    prepared: Path, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        shards.write(Example, [example(len(name), name)], f"{tmp_path}/{name}.parquet")
    old, new = (
        encode(prepared, [f"{tmp_path}/{name}.parquet"], tmp_path / "encoded")[0] for name in ("old", "new")
    )
    before = time.time() - 86_400 * (tokens.KEPT_DAYS + 1)
    os.utime(old, (before, before))
    os.utime(new, (before, before))
    encode(prepared, [f"{tmp_path}/new.parquet"], tmp_path / "encoded")  # a start that reads it
    assert tokens.prune(tmp_path / "encoded") == 1
    assert not old.exists() and new.exists() and len(Rows([new], 1000)) == 1
    assert not list((tmp_path / "encoded").glob("**/.*.tmp"))


def test_a_file_that_is_not_whole_is_an_error_with_a_remedy(prepared: Path, tmp_path: Path) -> None:
    shards.write(Example, [example(1)], f"{tmp_path}/a.parquet")
    (folder,) = encode(prepared, [f"{tmp_path}/a.parquet"], tmp_path / "encoded")
    os.truncate(folder / "tokens.npy", 40)
    with pytest.raises(OSError, match="is not whole: remove"):
        Rows([folder], 1000)


def test_tiktoken_has_the_ids_of_the_tokenizer(prepared: Path) -> None:
    pytest.importorskip("tiktoken")
    encoder = Encoder(loaded(prepared))
    assert encoder.name == "tiktoken"
    texts = [TYPED, "  \n\n x", "e\u0301 \u212b", "二加二", "a" * 5000, "\t\t\r\n" * 99]
    for text in texts:
        assert encoder._fast(text) == encoder._own(text)


@pytest.mark.parametrize("at", [0, 70])
def test_one_text_that_tiktoken_encodes_otherwise_makes_all_rows_by_the_tokenizer(
    prepared: Path, at: int
) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    encoder = Encoder(loaded(prepared))
    other, encoder._asked = encoder._tiktoken, at
    encoder._tiktoken = tiktoken.Encoding(
        "other",
        pat_str=r"[\s\S]",
        mergeable_ranks=other._mergeable_ranks,
        special_tokens=other._special_tokens,
    )
    examples = [example(number) for number in range(80)]
    made, wanted = rows.encode_rows(encoder, examples), rows.encode_rows(by_tokenizer(prepared), examples)
    assert made.encoder == wanted.encoder == "tokenizers" and not made.failures
    assert made.tokens.tolist() == wanted.tokens.tolist()


def by_tokenizer(prepared: Path) -> Encoder:
    encoder = Encoder(loaded(prepared))
    encoder.exact = True
    return encoder
