"""CONTRIBUTING is true: its verifier judges its table, and each package of the tree has a line."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from distill import verifiers, verify
from distill.recipe import Majority, Verification
from distill.records import Kind, Problem, Trace

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = Verification()


def block(language: str) -> str:
    *_, found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def verifier() -> ModuleType:
    module = ModuleType("dates")
    exec(block("python"), module.__dict__)
    return module


def problem(reference: str) -> Problem:
    return Problem("p", "s", "logic", "When was it?", reference)


@pytest.mark.parametrize("line", block("json").splitlines(), ids=lambda line: json.loads(line)["why"])
def test_the_verifier_of_the_page_judges_its_table(verifier: ModuleType, line: str) -> None:
    case = json.loads(line)
    assert verifier.judge(problem(case["reference"]), case["answer"], SECTION).outcome == case["outcome"]


def test_its_row_of_the_table_is_all_that_other_modules_need(verifier: ModuleType, monkeypatch) -> None:
    row = eval(f"{{{block('py')}}}", {"Rules": verifiers.Rules, "dates": verifier})
    monkeypatch.setitem(verifiers.KINDS, "dates", row["dates"])
    asked = replace(problem("2019-03-01"), kind="dates")
    traces = [
        Trace(asked, str(n), n, None, rf"\boxed{{{day}}}", True, "stop")
        for n, day in enumerate(["2019-03-01", "2019-03-02"])
    ]
    assert [verdict.outcome for _, verdict in verifiers.by_rules(traces, SECTION)] == ["correct", "wrong"]
    assert verifiers.judge_reference(asked, SECTION).outcome == "correct"
    assert verify.versions(["dates"], SECTION) == {"dates": "date/1"}
    assert verifiers.by_majority("dates", None, Verification(majority=Majority()))


def test_every_kind_has_a_row() -> None:
    assert set(verifiers.KINDS) == set(get_args(Kind))


def test_it_asks_no_problem_whose_reference_is_no_date(verifier: ModuleType) -> None:
    assert verifier.judge_reference(problem("2019-03-01"), SECTION).outcome == "correct"
    assert verifier.judge_reference(problem("in spring"), SECTION).outcome == "unparsed_reference"


def test_every_package_has_a_line_and_no_other_is_named() -> None:
    table = PAGE.split("| package of `distill/` |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+/|[a-z_]+\.py)`", table)) - {
        "server/",
        "vllm/",
        "transformers/",
        "inside/",
    }
    there = {f"{path.name}/" for path in (ROOT / "distill").iterdir() if (path / "__init__.py").is_file()}
    there |= {path.name for path in (ROOT / "distill").glob("*.py") if not path.name.startswith("__")}
    assert named == there


def test_one_section_for_each_thing_to_add() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert len(titles) == len(set(titles))
