r"""Logic puzzles and other answers that are one short text, a list or a small object.

The answer is the last box, what follows the last "the answer is", or the last line. Texts are compared without case,
outer quotes, spaces and full stop; where the reference is a JSON list or object, values are compared as JSON.
"""

import json
import re
from time import perf_counter
from typing import Any

from distill.recipe import Verification
from distill.records import Problem, Verdict
from distill.verifiers import boxes

VERSION = "logic/1"
_SAID = re.compile(r"answer\s*(?:is|:)\s*:?\s*(.+)", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s*\{([^{}]*)\}|\$|\*\*|`+(?:json)?|</?answer>")
_OPTION = re.compile(r"\(?([a-r])\)?")


def judge(problem: Problem, answer: str, section: Verification) -> Verdict:
    """The verdict on a short text or JSON value."""
    started = perf_counter()
    if not (problem.reference or "").strip():
        return Verdict("unparsed_reference", None, "no reference", perf_counter() - started, VERSION)
    try:
        extracted = extract(answer)
    except ValueError as error:
        return Verdict("unparsed_answer", None, str(error), perf_counter() - started, VERSION)
    if not extracted:
        return Verdict("no_answer", None, "no box and no last line", perf_counter() - started, VERSION)
    if len(extracted) > section.max_answer_characters:
        return Verdict(
            "unparsed_answer", None, f"longer than {section.max_answer_characters} characters", perf_counter() - started, VERSION
        )
    outcome = "correct" if _same(problem.reference or "", extracted) else "wrong"
    return Verdict(outcome, extracted, "", perf_counter() - started, VERSION)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """Correct when there is a reference that is found again as an answer."""
    return judge(problem, problem.reference or "", section)


def extract(answer: str) -> str | None:
    """The final text of an answer, or None; raises ValueError for a box that is never closed."""
    boxed = boxes.last_boxed(answer)
    if boxed is not None:
        return boxed
    plain = _unwrapped(answer).strip()
    if _json(plain) is not None:
        return plain
    said = _SAID.findall(plain)
    lines = plain.splitlines()
    return (said[-1] if said else lines[-1] if lines else "").strip() or None


def _same(reference: str, answer: str) -> bool:
    wanted, given = _json(_unwrapped(reference)), _json(_unwrapped(answer))
    if isinstance(wanted, (list, dict)):
        return _equal(wanted, given)
    first, second = _plain(reference), _plain(answer)
    option = _OPTION.fullmatch(first)
    if option and (other := _OPTION.match(second)):
        return option.group(1) == other.group(1) and (other.end() == len(second) or (second[other.end()] in " .:" and second[0] == "("))
    return first == second


def _plain(text: str) -> str:
    text = re.sub(r"\s+", " ", _unwrapped(text)).strip().casefold()
    return text.rstrip(".").strip().strip("\"'").strip() or text


def _unwrapped(text: str) -> str:
    return _WRAPPED.sub(lambda match: match.group(1) or "", text).replace("\\{", "{").replace("\\}", "}")


def _json(text: str) -> Any:
    if text.strip()[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _equal(wanted: Any, given: Any) -> bool:
    """Equality of JSON values: texts without case, true is not 1."""
    match wanted, given:
        case dict(), dict():
            return wanted.keys() == given.keys() and all(_equal(wanted[key], given[key]) for key in wanted)
        case list(), list():
            return len(wanted) == len(given) and all(_equal(a, b) for a, b in zip(wanted, given, strict=True))
        case str(), str():
            return _plain(wanted) == _plain(given)
    return isinstance(wanted, bool) == isinstance(given, bool) and bool(wanted == given)
