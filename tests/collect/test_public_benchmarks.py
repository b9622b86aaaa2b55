"""A row of each public benchmark, in the columns that harnesses read, becomes a problem whose right answer is
correct."""

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from distill.collect import collect
from distill.recipe import Evaluation, Verification, tables
from distill.records import Verdict
from distill.verifiers import rules

VERIFICATION = Verification(workers=1)
SOLVED = "```python\ndef f(x):\n    return x\n```"
CHECK = "def check(candidate):\n    assert candidate(1) == 1\n"


def packed(*cases: dict[str, str]) -> str:
    """Tests as LiveCodeBench has them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


HUMANEVAL = {
    "prompt": 'def f(x):\n    """The same."""\n',
    "canonical_solution": "    return x\n",
    "test": CHECK,
    "entry_point": "f",
}
FUNCTIONAL = {
    "question_content": "Add two numbers.",
    "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        ",
    "private_test_cases": packed({"input": "1\n2", "output": "3", "testtype": "functional"}),
    "metadata": '{"func_name": "add"}',
}
STDIN = {
    "question_content": "Read n, print n + 1.",
    "starter_code": "",
    "private_test_cases": packed({"input": "4\n", "output": "5\n", "testtype": "stdin"}),
    "metadata": "{}",
}
ROWS: list[tuple[str, dict[str, Any], str, str]] = [
    # benchmark, row, an answer that is right, what its question ends with
    ("aime24", {"problem": "Q?", "answer": "073"}, r"\boxed{73}", "Q?"),
    ("aime25", {"problem": "Q?", "answer": 70}, r"\boxed{070}", "Q?"),
    ("hmmt-feb-2025", {"problem": "Q?", "answer": r"\frac{1}{2}"}, r"\boxed{0.5}", "Q?"),
    ("amc23", {"question": "Q?", "answer": "27.0"}, r"\boxed{27}", "Q?"),
    ("math-500", {"problem": "Q?", "answer": r"\frac12"}, r"\boxed{\frac{1}{2}}", "Q?"),
    ("gsm8k", {"question": "Q?", "answer": "<<a>>\n#### 1,000"}, r"\boxed{1000}", "Q?"),
    ("minerva-math", {"question": "Q?", "answer": "2"}, r"\boxed{2}", "Q?"),
    ("olympiadbench", {"question": "Q?", "final_answer": ["$2$"]}, r"\boxed{2}", "Q?"),
    ("mmlu", {"question": "Q?", "choices": ["w", "x", "y", "z"], "answer": 2}, r"\boxed{C}", "D) z"),
    ("mmlu-pro", {"question": "Q?", "options": ["w", "x", "N/A"], "answer": "B"}, r"\boxed{B}", "B) x"),
    (
        "arc-challenge",
        {"question": "Q?", "choices": {"text": ["w", "x"], "label": ["1", "2"]}, "answerKey": "2"},
        r"\boxed{B}",
        "B) x",
    ),
    ("bbh-logic", {"input": "not ( True ) is", "target": "False"}, r"\boxed{False}", "is"),
    ("humaneval", HUMANEVAL, SOLVED, '"""The same."""'),
    ("humaneval-plus", HUMANEVAL, SOLVED, '"""The same."""'),
    (
        "mbpp",
        {
            "text": "Write f.",
            "code": "def f(x):\n    return x",
            "test_list": ["assert f(1) == 1", "assert f(2) == 2"],
            "test_setup_code": "",
        },
        SOLVED,
        "Write f.\n\nassert f(1) == 1",
    ),
    (
        "mbpp-plus",
        {
            "prompt": "Write f.",
            "code": "def f(x):\n    return x",
            "test_list": ["assert f(1) == 1"],
            "test_imports": ["import math"],
            "test": "for x in range(9):\n    assert f(x) == x + math.floor(0)",
        },
        SOLVED,
        "Write f.\n\nassert f(1) == 1",
    ),
    (
        "livecodebench",
        FUNCTIONAL,
        "```python\nclass Solution:\n    def add(self, a, b):\n        return a + b\n```",
        "-> int:",
    ),
    ("livecodebench", STDIN, "```python\nprint(int(input()) + 1)\n```", "n + 1."),
    (
        "text-to-sql",
        {
            "sql_context": "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);",
            "sql_prompt": "How many?",
            "sql": "SELECT COUNT(*) FROM t;",
        },
        "```sql\nSELECT SUM(1) FROM t\n```",
        "How many?",
    ),
]
GPQA = {"Question": "Q?", "Correct Answer": "right"} | {
    f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)
}


@pytest.mark.parametrize(("name", "row", "answer", "ends"), ROWS, ids=[row[0] for row in ROWS])
def test_a_right_answer_to_a_row_of_a_benchmark_is_correct(
    name: str, row: dict[str, Any], answer: str, ends: str
) -> None:
    source = Evaluation.model_validate({"targets": [name]}).targets[0].problems[0]
    (problem,) = collect([row], source, VERIFICATION)
    assert problem.unusable is None, problem.detail_unusable
    assert problem.question.endswith(ends)
    judge = rules(problem.kind).judge
    assert judge is not None
    found = judge(problem, answer, VERIFICATION)
    verdict = found if isinstance(found, Verdict) else found.result()
    assert verdict.outcome == "correct", verdict


def test_the_options_of_gpqa_stand_in_an_order_that_is_drawn_from_the_question() -> None:
    source = Evaluation.model_validate({"targets": ["gpqa-diamond"]}).targets[0].problems[0]
    rows = [GPQA | {"Question": f"Question {number}?"} for number in range(12)]
    first, again = (list(collect(rows, source, VERIFICATION)) for _ in range(2))
    assert first == again
    places = {problem.reference for problem in first}
    assert len(places) > 2 and all(f"{one.reference}) right" in one.question for one in first)


def test_every_benchmark_that_is_scored_on_has_a_row_here() -> None:
    tables_of = {name: tables.read(f"benchmarks/{name}.toml") for name in tables.names("benchmarks")}
    scored = {name for name, table in tables_of.items() if table.get("evaluation") is not False}
    assert scored == {row[0] for row in ROWS} | {"gpqa-diamond"}
