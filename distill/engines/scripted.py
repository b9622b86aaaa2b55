"""A fake teacher for dry runs and tests: no model, no network, and it says so (its model name is `scripted`).

It knows the reference, so it can write a right trace for a problem, and it writes every failure that real
teachers are known for in fixed shares. What it writes depends on the problem, the sample index and the
sampling seed only. The texts are composed of the stock sentences of `scripted.toml`: they exercise the
pipeline and teach nothing. Tokens are counted as four characters each.
"""

import json
import random
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from distill.engines.protocol import Completion, Request, failed, waited_for
from distill.recipe import Sampling, Teacher
from distill.records import Problem
from distill.store import digest

MODEL = "scripted"
CHARACTERS_PER_TOKEN = 4
RIGHT_SHARE = 0.55
FAILURES: dict[str, str | None] = {
    "only_closing_tag": None,
    "two_opening_tags": None,
    "reasoning_field": None,
    "two_boxes": None,
    "nested_box": None,
    "null_content": "failed",
    "empty": "failed",
    "truncated": "truncated",
    "never_closed": "truncated",
    "no_thinking": "malformed",
    "wrong": "wrong",
    "box_only_in_thinking": "no_answer",
    "refusal": "no_answer",
    "loop": "repetition",
    "language_switch": "mixed_language",
    "duplicate": "exact_duplicate",
}
"""Every way in which a scripted completion differs from a plain right one, with the reason it must be dropped
for, or None where it must be kept: `two_boxes` says a wrong box before the right one, `duplicate` repeats
sample 0 of its problem."""


@cache
def _said() -> dict[str, dict[str, Any]]:
    """The sentences and phrases of `scripted.toml` by language."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class ScriptedEngine:
    """Writes completions from a script; a context manager only because engines are."""

    def __init__(self, teacher: Teacher) -> None:
        self._prefill = teacher.prefill

    def __enter__(self) -> "ScriptedEngine":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """The scripted completion of each request, in order."""
        for request in waited_for(requests):
            yield write(request, choose(request.problem, request.sample_index, sampling.seed), sampling)

    def drain(self) -> None:
        """Nothing is ever tried again here."""


def choose(problem: Problem, index: int, seed: int) -> str:
    """Which of `FAILURES` a sample shows, or `"right"`; a duplicate has a right sample 0 to repeat."""
    dice = _dice(problem, index, seed, "choice")
    if dice.random() < RIGHT_SHARE:
        return "right"
    name = dice.choice(list(FAILURES))
    if name == "duplicate" and (index == 0 or choose(problem, 0, seed) != "right"):
        return "right"
    return name


def write(request: Request, name: str, sampling: Sampling) -> Completion:
    """The completion of a request that shows one of `FAILURES`, or `"right"`; cut at `max_tokens`."""
    problem, index = request.problem, request.sample_index
    if name in ("null_content", "empty"):
        found = failed(request.key, name, MODEL, prompt_tokens=_tokens(problem.question))
        return found if name == "null_content" else replace(found, content="")
    dice = _dice(problem, 0 if name == "duplicate" else index, sampling.seed, "text")
    thinking, answer = _sentences(_stock(problem)["sentences"], dice, 9), final_answer(problem)
    if name == "reasoning_field":
        return _complete(request, answer, thinking)
    if name == "truncated":
        return _complete(request, f"<think>\n{thinking}".removeprefix(request.prefill), cut=True)
    text = _text(name, problem, thinking, answer, dice)
    return _complete(request, text.removeprefix(request.prefill))


def final_answer(problem: Problem) -> str:
    """An answer that the problem's verifier accepts, where the fake can write one."""
    return f"{_stock(problem)['result']}\n\n{_solution(problem)}"


def _text(name: str, problem: Problem, thinking: str, answer: str, dice: random.Random) -> str:
    """The whole assistant turn of a script."""
    think = f"<think>\n{thinking}\n</think>\n\n"
    say = _stock(problem)
    scripts: dict[str, Callable[[], str]] = {
        "right": lambda: think + answer,
        "duplicate": lambda: think + answer,
        "only_closing_tag": lambda: think.removeprefix("<think>\n") + answer,
        "two_opening_tags": lambda: "<think>\n" + think + answer,
        "two_boxes": lambda: (
            f"{think}{say['guess']}\n\n{_wrong(problem)}\n\n{say['check']}\n\n{_solution(problem)}"
        ),
        "nested_box": lambda: (
            think + re.sub(r"\\boxed\{(.*)", r"\\boxed{\\boxed{\1}", answer, count=1, flags=re.DOTALL)
        ),
        "never_closed": lambda: f"<think>\n{thinking}\n\n{answer}",
        "no_thinking": lambda: answer,
        "wrong": lambda: f"{think}{say['result']}\n\n{_wrong(problem)}",
        "box_only_in_thinking": lambda: (
            f"<think>\n{thinking}\n\n{_solution(problem)}\n</think>\n\n{say['above']}"
        ),
        "refusal": lambda: think + say["refusal"],
        "loop": lambda: f"<think>\n{thinking}\n{say['again'] * 100}\n</think>\n\n{answer}",
        "language_switch": lambda: (
            f"<think>\n{thinking}\n{_sentences(_stock(problem, other=True)['sentences'], dice, 14)}\n"
            f"</think>\n\n{answer}"
        ),
    }
    return scripts[name]()


def _complete(request: Request, content: str, reasoning: str | None = None, cut: bool = False) -> Completion:
    budget = request.max_tokens * CHARACTERS_PER_TOKEN
    room = budget - len(reasoning or "")
    kept = None if reasoning is not None and room <= 0 else content[:room]
    cut = cut or len(content) > room
    reasoning = None if reasoning is None else reasoning[:budget]
    return Completion(
        request.key,
        kept,
        reasoning,
        finish_reason="length" if cut else "stop",
        prompt_tokens=sum(_tokens(message.content) for message in request.messages),
        completion_tokens=min(_tokens((reasoning or "") + (kept or "")), request.max_tokens),
        reasoning_tokens=None if reasoning is None else _tokens(reasoning),
        model=MODEL,
    )


def _stock(problem: Problem, other: bool = False) -> dict[str, Any]:
    """What is said in a problem's language, or in the `other` one."""
    return _said()["zh" if (problem.language == "zh") is not other else "en"]


def _sentences(stock: list[str], dice: random.Random, count: int) -> str:
    """So many sentences in random order with random numbers: no two traces are near-duplicates."""
    rounds = range(-(-count // len(stock)))
    chosen = [sentence for _ in rounds for sentence in dice.sample(stock, len(stock))][:count]
    return "\n".join(sentence.format(a=dice.randint(2, 9999), b=dice.randint(2, 9999)) for sentence in chosen)


def _solution(problem: Problem) -> str:
    """The reference, or a program that knows the tests by heart, in the form of the problem's kind."""
    match problem.kind:
        case "code":
            return f"```python\n{_program(problem)}\n```"
        case "sql":
            return f"```sql\n{problem.reference or 'SELECT 1'}\n```"
        case "open":
            return problem.reference or "It depends on the circumstances."
        case _:
            return f"\\boxed{{{problem.reference or ''}}}"


def _wrong(problem: Problem) -> str:
    """A well-formed answer that is not the reference."""
    match problem.kind:
        case "code":
            return "```python\nraise SystemExit('wrong')\n```"
        case "sql":
            return "```sql\nSELECT 'wrong'\n```"
        case "choice":
            return "\\boxed{B}" if (problem.reference or "").strip("() .") == "A" else "\\boxed{A}"
        case "open":
            return "Nobody can know that."
        case _:
            return "\\boxed{-987654321}"


def _program(problem: Problem) -> str:
    """The reference solution; without one, a program that looks the expected outputs up."""
    tests = json.loads(problem.tests) if problem.tests else {}
    if problem.reference:
        return problem.reference
    cases = [(case["input"], case["output"]) for case in tests.get("cases", [])]
    table = {given if isinstance(given, str) else repr(given): output for given, output in cases}
    if tests.get("mode") == "call":
        return f"def {tests['entry_point']}(*arguments):\n    return {table!r}[repr(list(arguments))]"
    return f"import sys\n\nprint({table!r}[sys.stdin.read()], end='')"


def _tokens(text: str) -> int:
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def _dice(problem: Problem, index: int, seed: int, purpose: str) -> random.Random:
    return random.Random(digest(f"{problem.problem_id}/{index}/{seed}/{purpose}"))
