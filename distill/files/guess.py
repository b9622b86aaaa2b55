"""Guesses which column of anybody's rows is what, from names that public sets use and the shapes of values.

A guess is an offer: `distill inspect` shows it and writes it into a recipe, and files of traces are read by
it where they lack the names that data/README.md lists. Our own names come before those of others.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from distill.files import columns
from distill.files.columns import REASONING, Row
from distill.recipe import ProblemSource
from distill.records import Kind

QUESTIONS = (
    "question",
    "problem",
    "prompt",
    "query",
    "instruction",
    "problem_statement",
    "question_text",
    "Question",
    "question_content",
    "input",
)
"""Names under which public sets keep the question."""
CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "turns")
RESPONSES = (
    "response",
    "responses",
    "generation",
    "generations",
    "completion",
    "completions",
    "model_output",
    "model_response",
    "generated_solution",
    "deepseek_attempt",
    "attempt",
    "deepseek_solution",
    "r1_generation",
    "r1_solution",
    "r1_response",
    "output",
    "outputs",
    "generated_text",
    "model_completion",
)
"""Names under which they keep completions; a number at the end is one of several."""
REFERENCES = (
    "reference",
    "answer",
    "final_answer",
    "expected_answer",
    "ground_truth",
    "gold",
    "gold_answer",
    "reference_answer",
    "target",
    "correct_answer",
    "Correct Answer",
    "ground_truth_solution",
    "label",
    "answerKey",
    "answer.value",
    "reward_model.ground_truth",
    "extra_info.answer",
    "extra_info.reference_answer",
    "extra_info.ground_truth",
    "verification_info.ground_truth",
    "metadata.reference_answer",
    "metadata.answer",
    "messages.0.info.reference_answer",
    "solution",
)
TESTS = (
    "tests",
    "test_list",
    "verification_info",
    "input_output",
    "test_cases",
    "public_test_cases",
    "unit_tests",
)
OPTIONS = ("options", "choices", "endings")
SEPARATE_OPTIONS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
"""GPQA's columns."""
LOOKED_AT = 64
"""Rows that a guess is made from."""


class Guess(NamedTuple):
    """The column or path of each part of a row; empty where nothing holds it."""

    question: str
    reference: str
    response: tuple[str, ...]
    thinking: tuple[str, ...]
    tests: str
    options: tuple[str, ...]
    kind: Kind

    def said(self) -> str:
        """The guess in a line."""
        parts = {
            "question": self.question,
            "reference": self.reference,
            "response": ", ".join(self.response),
            "thinking": ", ".join(self.thinking),
            "tests": self.tests,
            "options": ", ".join(self.options),
        }
        return "; ".join(f"{part} from {name}" for part, name in parts.items() if name)


def guess(rows: Sequence[Row]) -> Guess:
    """What the columns of some rows are."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    turns = next((name for name in (*CONVERSATIONS, *names) if _held(rows, name, columns.is_turns)), "")
    question = next((name for name in QUESTIONS if _held(rows, name, _asks)), turns)
    if question == "instruction" and _held(rows, "input", _is_text):
        question = ""  # Alpaca's questions lie in two columns: one of them alone asks something else
    response = _responses(rows, names)
    if (
        not response
        and turns
        and (turns == question or _thinks(rows, turns))
        and _held(rows, turns, columns.replies)
    ):
        response = (turns,)
    thinking = _thinking(rows, response)
    if not response and thinking and _held(rows, "answer", _is_text):
        response = ("answer",)
    reference = reference_of(rows, {question, *response, *thinking})
    tests = next((one for one in TESTS if _held(rows, one, bool) and one != reference.split(".")[0]), "")
    options: tuple[str, ...] = next(((one,) for one in OPTIONS if _held(rows, one, bool)), ())
    if all(_held(rows, one, _is_text) for one in SEPARATE_OPTIONS):
        options = SEPARATE_OPTIONS
    kind: Kind = "code" if tests else "choice" if options else "math" if reference else "open"
    return Guess(question, reference, response, thinking if response else (), tests, options, kind)


def reference_of(rows: Sequence[Row], taken: Collection[str]) -> str:
    """The column or path of the reference among those that are not taken; empty where there is none."""
    return next((one for one in REFERENCES if one not in taken and _held(rows, one, _is_short)), "")


def remedy(source: ProblemSource, missing: Sequence[str], present: Sequence[str]) -> str:
    """What a source could say instead, by the names of the columns alone: the end of a message."""
    keys = {
        "question": (
            source.question if isinstance(source.question, str) else "",
            (*QUESTIONS, *CONVERSATIONS),
        ),
        "reference": (source.reference, REFERENCES),
        "tests": (source.tests, TESTS),
        "response": (source.response, (*RESPONSES, *CONVERSATIONS)),
    }
    found = {
        key: next((one for one in known if columns.holder(one, present)), None)
        for key, (said, known) in keys.items()
        if said in missing
    }
    offers = ", ".join(f'{key} = "{name}"' for key, name in found.items() if name)
    if found.get("reference", "") is None and source.kind == "math":
        offers += f'{", " if offers else ""}reference = "" and kind = "open"'
    return f"; write {offers}" if offers else ""


def listed(names: Iterable[str]) -> str:
    """Column names for a message, cut where they are many."""
    names = list(names)
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _responses(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """The columns of completions: one, or all that differ by the number at their end."""
    for name in RESPONSES:
        if _held(rows, name, bool):
            return (name,)
        numbered = [one for one in names if re.fullmatch(rf"{re.escape(name)}_?\d+", one)]
        if numbered and all(_held(rows, one, _is_text) for one in numbered):
            return tuple(numbered)
    return ()


def _thinking(rows: Sequence[Row], response: tuple[str, ...]) -> tuple[str, ...]:
    """The column of the thinking of one column of completions: of the same model where names say it."""
    if len(response) > 1 or (response and _thinks(rows, response[0])):
        return ()
    found = [one for one in REASONING if _held(rows, one, bool) and one not in response]
    model = response[0].split("_")[0] if response else ""
    found.sort(key=lambda one: not one.startswith(f"{model}_"))
    return tuple(found[:1])


def _held(rows: Sequence[Row], name: str, test: Callable[[Any], bool]) -> bool:
    return any((found := columns.value(row, name)) is not None and test(found) for row in rows)


def _asks(found: object) -> bool:
    return _is_text(found) or columns.is_turns(found)


def _is_text(found: object) -> bool:
    return isinstance(found, str) and bool(found.strip())


def _is_short(found: object) -> bool:
    """Whether a value may be a reference: a text, a number, or a list of them, and no conversation."""
    if isinstance(found, (list, tuple)):
        return bool(found) and not isinstance(found[0], (dict, list))
    return isinstance(found, (str, int, float)) and found != ""


def _completions(rows: Sequence[Row], name: str) -> list[str]:
    found: list[str] = []
    for row in rows:
        try:
            found += [one.text for one in columns.completions(row, (name,))]
        except ValueError:
            continue
    return found


def _thinks(rows: Sequence[Row], name: str) -> bool:
    """Whether completions bring their thinking with them."""
    return any("</think>" in text for text in _completions(rows, name))
