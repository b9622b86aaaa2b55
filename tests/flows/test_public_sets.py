"""Public sets come in: a small file with the columns of each goes through collect, sample, verify and curate."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill.collect import collect
from distill.files import guess
from distill.files.readers import read_rows
from distill.recipe import Verification, load_dataset, names_in
from distill.recipe.dataset import CONFIGS
from distill.store import shards
from flows.cli import main

THOUGHT = "I add the numbers one after another and check the sum by counting up from the first one."
GOOD = f"<think>\n{THOUGHT}\n</think>\n\nThe sum is $\\boxed{{{{}}}}$."


def trace(number: int) -> str:
    return GOOD.replace("{{}}", f"{{{number + 7}}}").replace("{{", "{").replace("}}", "}")


def question(number: int) -> str:
    return f"A farmer has {number} hens and buys 7 more at the market. How many hens are there now?"


def turns(number: int, **info: Any) -> list[dict[str, Any]]:
    said = [("user", question(number)), ("assistant", trace(number))]
    return [{"role": role, "content": text, **info} for role, text in said]


ROWS = {
    "mixture-of-thoughts": lambda n: {"messages": turns(n), "num_tokens": 40, "source": "own"},
    "openthoughts3": lambda n: {
        "difficulty": 7,
        "source": "own",
        "domain": "math",
        "conversations": [{"from": "human", "value": question(n)}, {"from": "gpt", "value": trace(n)}],
    },
    "s1k": lambda n: {
        "solution": str(n + 7),
        "question": question(n),
        "cot_type": "math",
        "source_type": "own",
        "metadata": "{}",
        "cot": None,
        "thinking_trajectories": [THOUGHT],
        "attempt": f"The sum is $\\boxed{{{n + 7}}}$.",
    },
    "s1k-1.1": lambda n: {
        "solution": str(n + 7),
        "question": question(n),
        "cot_type": "math",
        "source_type": "own",
        "metadata": "{}",
        "gemini_thinking_trajectory": "No.",
        "gemini_attempt": "1",
        "deepseek_thinking_trajectory": THOUGHT,
        "deepseek_attempt": f"The sum is $\\boxed{{{n + 7}}}$.",
        "gemini_grade": "No",
        "deepseek_grade": "Yes",
    },
    "deepmath": lambda n: {
        "question": question(n),
        "final_answer": str(n + 7),
        "difficulty": 5.0,
        "topic": "Arithmetic",
        **{f"r1_solution_{one}": trace(n).removeprefix("<think>\n") for one in (1, 2, 3)},
    },
    "openmathreasoning": lambda n: {
        "expected_answer": str(n + 7),
        "problem_type": "has_answer_extracted",
        "problem_source": "own",
        "generation_model": "DeepSeek-R1",
        "pass_rate_72b_tir": "0.5",
        "problem": question(n),
        "generated_solution": trace(n),
        "inference_mode": "cot",
    },
    "am-deepseek-r1": lambda n: {
        "messages": turns(n, info={"source": "own", "reference_answer": str(n + 7)})
    },
    "numinamath-cot": lambda n: {
        "source": "own",
        "problem": question(n),
        "solution": f"We add: $\\boxed{{{n + 7}}}$.",
        "messages": turns(n),
    },
    "numinamath-1.5": lambda n: {
        "problem": question(n),
        "solution": "We add.",
        "answer": str(n + 7),
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "problem_is_valid": "Yes",
        "solution_is_valid": "Yes",
        "source": "own",
        "synthetic": False,
    },
}
"""A row of each set, with the columns that its card names."""
WITH_TRACES = [name for name in ROWS if not name.startswith("numinamath")]


def written(folder: Path, name: str) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(ROWS[name](n)) + "\n" for n in range(2, 8)), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_the_recipe_of_a_public_set_reads_its_columns(tmp_path: Path, name: str) -> None:
    recipe = load_dataset(name, (f"problems.0.path={written(tmp_path, name)}",))
    (source,) = recipe.problems
    found = list(collect(read_rows(source), source, Verification(workers=1)))
    assert [problem.unusable for problem in found] == [None] * 6
    assert [problem.question for problem in found] == [question(n) for n in range(2, 8)]


@pytest.mark.parametrize("name", WITH_TRACES)
def test_a_file_of_a_public_set_is_verified_and_curated(tmp_path: Path, name: str) -> None:
    path, verdicts = written(tmp_path, name), str(tmp_path / "verdicts.parquet")
    known = load_dataset(name).problems[0].kind == "math"
    code = main(["verify", "--input", str(path), "--output", verdicts])
    outcomes = [row["outcome"] for row in shards.read_rows(verdicts)]
    per_row = 3 if name == "deepmath" else 1
    assert len(outcomes) == 6 * per_row
    if known:
        assert code == 0 and set(outcomes) == {"correct"}
        assert main(["curate", "--input", verdicts, "--output", str(tmp_path / "out")]) == 0
        (example, *_) = list(shards.read_rows(str(next((tmp_path / "out/examples").glob("*.parquet")))))
        assert "How many hens" in str(example["prompt"]) and "one after another" in str(example["completion"])


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("name", ROWS)
def test_a_shipped_recipe_goes_from_its_columns_to_examples(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Each stage by its command with the recipe's own settings; only the places are those of a small file."""
    path = str(written(tmp_path, name))
    given = [f"problems.0.path={path}", "curation.benchmarks=[]", "verification.workers=1"]
    if name in WITH_TRACES:
        given.append(f"teacher.model={path}")
    else:
        given += ['teacher={engine="scripted", model="scripted"}']
    settings = [part for one in given for part in ("--set", one)]
    for stage in ("collect", "sample", "verify", "curate"):
        assert main([stage, "--dataset", name, *settings]) == 0, stage
    made = Path(capsys.readouterr().out.split()[-1])
    kept = [row for file in (made / "examples").glob("*.parquet") for row in shards.read_rows(str(file))]
    if name in WITH_TRACES:
        assert {row["prompt"][-1]["content"].splitlines()[0] for row in kept} == {
            question(n) for n in range(2, 8)
        }
        assert all("one after another" in row["completion"][0]["content"] for row in kept)
    assert kept


@pytest.mark.parametrize("name", ROWS)
def test_a_shipped_recipe_says_where_its_columns_are_from(name: str) -> None:
    (source,) = load_dataset(name).problems
    said = (CONFIGS / "datasets" / f"{name}.toml").read_text(encoding="utf-8").split('description = "')[0]
    assert f"distill inspect --hub {source.path}" in said and "card" in said
    assert f"`{source.question}`" in load_dataset(name).description


@pytest.mark.parametrize("name", ROWS)
def test_inspect_reads_a_set_as_its_recipe_does(tmp_path: Path, name: str) -> None:
    (wanted,), teacher = load_dataset(name).problems, load_dataset(name).teacher
    found = guess.guess([ROWS[name](n) for n in range(2, 8)])
    assert found.question == wanted.question
    if name in WITH_TRACES:
        assert found.response == names_in(teacher.response) and found.thinking == names_in(teacher.thinking)
    if name != "numinamath-cot":
        assert found.reference == (wanted.reference or "")
