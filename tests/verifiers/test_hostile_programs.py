import json
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from distill.recipe import Sandbox, Verification
from distill.records import Problem, Verdict
from distill.verifiers import code, sql
from distill.verifiers.code import blocks

HONEST = Verification(workers=2, sandbox=Sandbox(timeout_seconds=5.0, memory_mb=512))
HOSTILE = Verification(workers=2, sandbox=Sandbox(timeout_seconds=0.6, memory_mb=512))
SHORT = Verification(workers=2, sandbox=Sandbox(timeout_seconds=0.3, memory_mb=512))
LONGEST_DETAIL = 2200
CASES = Path(__file__).parents[1].joinpath("cases")

LINKED = """
class Node:
    def __init__(self, value, next=None):
        self.value = value
        self.next = next
def values(head):
    found = []
    while head is not None:
        found.append(head.value)
        head = head.next
    return found
"""


def asserting(source: str, setup: str = "", entry_point: str | None = None) -> dict[str, object]:
    return {"mode": "assert", "source": source, "setup": setup, "entry_point": entry_point}


PROBLEMS: dict[str, dict[str, object]] = {
    "asserts": asserting(
        "assert squares(3) == [1, 4, 9]\nassert squares(0) == []\nassert len(squares(5)) == 5\n"
        "assert sorted(squares(4)) == [1, 4, 9, 16]\nassert list(squares(1)) == [1]\nassert "
        "abs(sum(squares(2)) - 5) < 1e-9"
    ),
    "check": asserting(
        "def check(candidate):\n    assert candidate(7) == True\n    assert candidate(8) == False, 'eight'\n"
        "    assert candidate(1) is False\n    assert all(map(candidate, [2, 3, 5])) and not "
        "any(map(candidate, [4, 6]))\n",
        "def is_prime(n):\n    '''True for primes.'''\n",
        "is_prime",
    ),
    "call": {
        "mode": "call",
        "entry_point": "total",
        "cases": [
            {"input": [[1, 2, 3]], "output": 6},
            {"input": [[1]], "output": 1},
            {"input": [[]], "output": 0},
        ],
    },
    "stdio": {
        "mode": "stdio",
        "cases": [{"input": "3\n1 2 3\n", "output": "6\n"}, {"input": "2\n10 20\n", "output": "30\n"}],
    },
    "words": asserting(
        "assert reverse('hello') == 'olleh'\nassert len(reverse('abc')) == 3\nassert reverse('') == ''"
    ),
    "floats": asserting(
        "assert math.isclose(mean([1, 2, 4]), 7 / 3)\nassert abs(mean([0.5, 0.5]) - 0.5) < 1e-9\nassert "
        "mean([2]) == 2"
    ),
    "raises": asserting(
        "try:\n    parse('x')\n    assert False\nexcept ValueError as error:\n    assert 'x' in "
        "str(error)\nassert parse('7') == 7"
    ),
    "swallow": asserting(
        "try:\n    value = parse('7')\nexcept:\n    value = 7\nassert value == 7\nassert True"
    ),
    "many": asserting("for number in range(300):\n    assert identity(number) == number"),
    "mutation": asserting(
        "data = [3, 1, 2]\nassert ordered(data) == sorted(data)\nassert ordered([2, 1]) == [1, 2]"
    ),
    "contains": asserting("assert 3 in divisors(6)\nassert 6 in divisors(6) and 1 in divisors(6)"),
    "object": asserting(
        "stack = Stack()\nstack.push(4)\nstack.push(5)\nassert stack.pop() == 5\nassert len(stack) == "
        "1\nassert stack.items == [4]\n"
        "assert isinstance(stack, Stack)\ntry:\n    Stack().pop()\n    assert False\nexcept IndexError:\n    "
        "pass"
    ),
    "sorts": asserting(
        "data = [3, 1, 2]\nassert sort_in_place(data) is None\nassert data == [1, 2, 3]\nsort_in_place([])"
    ),
    "higher": asserting(
        "assert list(apply(lambda x: x + 1, [1, 2])) == [2, 3]\nassert list(apply(str, (1,))) == ['1']"
    ),
    "generator": asserting(
        "numbers = naturals()\nassert [next(numbers) for _ in range(3)] == [0, 1, 2]\nassert next(numbers) "
        "== 3"
    ),
    "plain": asserting("assert answer(1) == 2\nassert answer(2) == 5"),
    "nested": asserting("assert answer(1) == [1, {'a': 1}]\nassert answer(2) == [2, {'a': 2}]"),
    "through": asserting("assert sorted(answer(3)) == [1, 2, 3]\nassert len(answer(4)) == 4"),
    "close": asserting("assert math.isclose(answer(1), 1.5)\nassert math.isclose(answer(2), 3.0)"),
    "checked": asserting(
        "import unittest\ncase = unittest.TestCase()\ncase.assertEqual(answer(1), "
        "2)\ncase.assertEqual(answer(2), 3)"
    ),
    "unequal": asserting("assert answer(1) != 1\nassert answer(2) - 2 == 1"),
    "less": asserting("assert 2 < answer(1) < 4\nassert answer(2) > 5 and answer(2) < 7"),
    "usual_name": asserting("assert mul(2, 3) == 6\nassert mul(4, 5) == 20"),
    "usual_call": {"mode": "call", "entry_point": "mul", "cases": [{"input": [2, 3], "output": 6}]},
    "in_place": {"fn_name": "turn", "inputs": [[[1, 2, 3]], [[4, 4]]], "outputs": [[3, 2, 1], [4, 4]]},
    "json_values": {"fn_name": "upto", "inputs": [[2], [3]], "outputs": ["[1, 2]", "[1, 2, 3]"]},
    "rounded": {"fn_name": "third", "inputs": [[2], [4]], "outputs": [0.6667, 1.3333]},
    "pytest": asserting(
        "from solution import minus\ndef test_more():\n    assert minus(9, 4) == 5\ndef test_less():\n    "
        "assert minus(1, 3) == -2\n"
    ),
    "unittest": asserting(
        "import unittest\nfrom solution import minus\nclass TestCases(unittest.TestCase):\n    def "
        "test_more(self):\n"
        "        self.assertEqual(minus(9, 4), 5)\n    def test_near(self):\n        "
        "self.assertAlmostEqual(minus(0.5, 0.2), 0.3)\n"
    ),
    "approx": asserting(
        "import pytest\nfrom solution import minus\n@pytest.mark.parametrize('a, b, c', [(9, 4, 5), (0.5, "
        "0.2, 0.3)])\n"
        "def test_rows(a, b, c):\n    assert minus(a, b) == pytest.approx(c)\n"
    ),
    "evalplus": asserting(
        "import numpy as np\ndef check(candidate):\n    for given, wanted in [([9, 4], 5), ([0.5, 0.2], "
        "0.3)]:\n"
        "        assert np.allclose(candidate(*given), wanted, rtol=1e-07, atol=1e-6)\n",
        "",
        "minus",
    ),
    "linked": asserting(
        "assert values(flip(Node(1, Node(2, Node(3))))) == [3, 2, 1]\nassert flip(None) is None\nassert "
        "flip(Node(1)).next is None",
        LINKED,
    ),
}


def programs(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def judged(
    programs: list[dict[str, str]], section: Verification, problem: str | None = None
) -> list[tuple[str, Verdict]]:
    pending = []
    for program in programs:
        tests = json.dumps(PROBLEMS[problem or program["problem"]])
        answer = f"Here it is.\n~~~~~~python\n{program['source']}\n~~~~~~\n"
        pending.append(
            (program["id"], code.judge(Problem("p", "s", "code", "q", None, tests), answer, section))
        )
    return [(name, verdict.result() if isinstance(verdict, Future) else verdict) for name, verdict in pending]


def test_no_program_that_cheats_is_correct_and_none_breaks_the_harness():
    verdicts = judged(programs("hostile_cheats"), HOSTILE)
    assert len(verdicts) >= 100
    assert [
        (name, verdict) for name, verdict in verdicts if verdict.outcome not in ("wrong", "timeout")
    ] == []
    assert [name for name, verdict in verdicts if len(verdict.detail) > LONGEST_DETAIL] == []


def test_every_honest_program_is_correct():
    verdicts = judged(programs("honest_programs"), HONEST)
    assert {
        problem
        for problem in PROBLEMS
        if not any(one["problem"] == problem for one in programs("honest_programs"))
    } == set()
    assert [
        (name, verdict.outcome, verdict.detail) for name, verdict in verdicts if verdict.outcome != "correct"
    ] == []


def test_no_program_that_attacks_the_system_is_correct():
    verdicts = judged(programs("hostile_system"), SHORT, "stdio")
    assert len(verdicts) >= 90
    assert [
        (name, verdict) for name, verdict in verdicts if verdict.outcome not in ("wrong", "timeout")
    ] == []


@pytest.mark.parametrize(
    "line", ["```" + " " * 200_000 + "`", "~" * 200_000 + "`", "- " * 100_000, "a, " * 70_000, "--" * 100_000]
)
def test_an_answer_of_one_long_line_is_read_in_linear_time(line: str):
    started = time.process_time()
    assert blocks.python(line) is None and sql.extract(line) is None
    assert time.process_time() - started < 5  # minutes where it is not linear


@pytest.mark.parametrize(
    "problem", sorted(set(PROBLEMS) - {"swallow"})
)  # whose tests catch even a missing name
def test_an_empty_program_solves_no_problem(problem: str):
    ((_, verdict),) = judged([{"id": "empty", "source": "pass"}], HONEST, problem)
    assert verdict.outcome == "wrong", verdict
