"""Templates: their identities are fixed, variants in the problem's language are asked for by name, and files
of one's own work."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from distill.recipe import RecipeError, load
from distill.records import Kind, Problem
from distill.text import prompts

PROBLEM = Problem("p", "s", "math", "1 + 1?", "2", language="en")
CHINESE = replace(PROBLEM, question="1加1？", language="zh")
IDENTITIES = {
    "math": "65a959534a18",
    "open": "bf085a6e12c9",
    "sql": "4ee776cbc287",
    "by_kind": "dc4ab34fc344",
}


def text(problem: Problem, template: str) -> str:
    (message,) = prompts.render(problem, template)
    return message.content


@pytest.mark.parametrize("template", IDENTITIES)
def test_an_identity_that_journals_were_made_with_stays(template: str) -> None:
    assert prompts.identity(template) == IDENTITIES[template]


def test_the_instruction_is_english_unless_the_problems_language_is_asked_for() -> None:
    assert text(CHINESE, "math") == text(PROBLEM, "math").replace(PROBLEM.question, CHINESE.question)
    assert text(CHINESE, "math@problem") == "1加1？\n请逐步推理，并把最终答案放在 \\boxed{} 中。"
    assert text(PROBLEM, "math@problem") == text(PROBLEM, "math")
    assert text(replace(PROBLEM, language="de"), "math@problem") == text(PROBLEM, "math"), (
        "no such file: English"
    )


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_can_be_asked_in_chinese(kind: str) -> None:
    asked = text(replace(CHINESE, kind=kind), "by_kind@problem")
    assert asked == text(replace(CHINESE, kind=kind), f"{kind}@problem")
    assert asked.startswith(CHINESE.question)
    assert not any(word in asked for word in ("Please", "answer"))


def test_a_template_in_more_languages_is_another_one() -> None:
    names = [*prompts.names(), "by_kind"]
    assert not any("." in name for name in names)
    identities = {prompts.identity(name) for name in (*names, *(f"{name}@problem" for name in names))}
    assert len(identities) == 2 * len(names) - 1, "only math and logic ask in the same words"


def test_a_file_of_ones_own_is_a_template(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Solve:\n{question}\n", encoding="utf-8")
    (tmp_path / "mine.zh.txt").write_text("求解：{question}", encoding="utf-8")
    mine = str(tmp_path / "mine.txt")
    assert text(PROBLEM, mine) == "Solve:\n1 + 1?"
    assert text(CHINESE, f"{mine}@problem") == "求解：1加1？"
    assert prompts.identity(mine) not in {prompts.identity(f"{mine}@problem"), prompts.identity("math")}


def test_the_same_words_in_another_place_are_the_same_template(tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes((prompts.TEMPLATES / "math.txt").read_bytes())
    assert prompts.identity(str(copy)) == prompts.identity("math")


@pytest.mark.parametrize("content", [b"no place for it\n", b"{question} {question}", b"\xff{question}", None])
def test_a_file_that_is_no_template_is_told_by_its_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"sampling\.prompt: .*bad\.txt"):
        prompts.render(PROBLEM, str(path))


@pytest.mark.parametrize("template", ["nothing", "../math", "math.zh", "math@german", ""])
def test_an_unknown_name_says_what_there_is(template: str) -> None:
    with pytest.raises(RecipeError, match="choice, code, logic, math, open, sql, or by_kind"):
        prompts.identity(template)


def test_a_recipes_template_is_found_beside_the_recipe_and_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ask.txt").write_text("{question}!", encoding="utf-8")
    recipe = 'description = ""\nteacher = {model = "m"}\nproblems = [{name = "n", path = "p"}]\n[sampling]\nprompt = "ask.txt@problem"\n'
    (tmp_path / "mine.toml").write_text(recipe, encoding="utf-8")
    wanted = f"{tmp_path / 'ask.txt'}@problem"
    assert load.load_dataset(str(tmp_path / "mine.toml")).sampling.prompt == wanted
    monkeypatch.chdir(tmp_path)
    assert load.load_dataset("mine.toml").sampling.prompt == wanted
    assert load.load_dataset("gsm8k", ("sampling.prompt=ask.txt",)).sampling.prompt == str(
        tmp_path / "ask.txt"
    )
    assert load.load_dataset("gsm8k", ("sampling.prompt=by_kind",)).sampling.prompt == "by_kind"
