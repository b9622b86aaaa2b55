r"""Multiple choice: the letter in the last box, after "the answer is", or alone on the last line.

A letter is A to J. Several letters in the reference are a set. Without a letter in one of these places there is no
answer: letters elsewhere in prose are not looked at.
"""

import re
from time import perf_counter

from distill.recipe import Verification
from distill.records import Problem, Verdict
from distill.verifiers import boxes

VERSION = "choice/1"
_LETTERS = r"\(?([A-J])\)?(?:\s*(?:,|and|&|\s)\s*\(?([A-J])\)?)*"
_ONE = re.compile(r"\(?\b([A-J])\b\)?")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s*\{([^{}]*)\}|\$|\*\*|__|\\[()\[\]]")
_LIST = re.compile(rf"{_LETTERS}\s*\.?")
_WITH_TEXT = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:\(([A-J])\)|([A-J])[).:])(?:[\s\\:,].*)?|(?:(?:option|choice|answer)\s*:?\s*)([A-J])\.?",
    re.DOTALL | re.IGNORECASE,
)
_SAID = re.compile(
    r"(?:answer|option|choice)\s*(?:is|:)\s*:?\s*(?:option\s+|choice\s+)?(\([A-J]\)|[A-J](?=\s*(?:[).,:;*\n]|$)))", re.IGNORECASE
)


def judge(problem: Problem, answer: str, section: Verification) -> Verdict:
    """The verdict on the chosen letter."""
    started = perf_counter()
    wanted = letters(problem.reference or "")
    if not wanted:
        return Verdict("unparsed_reference", None, "the reference is no letter A to J", perf_counter() - started, VERSION)
    try:
        chosen = extract(answer)
    except ValueError as error:
        return Verdict("unparsed_answer", None, str(error), perf_counter() - started, VERSION)
    if chosen is None:
        return Verdict("no_answer", None, "no letter in a box, after 'answer is' or on the last line", perf_counter() - started, VERSION)
    found = letters(chosen)
    outcome = "unparsed_answer" if not found else "correct" if found == wanted else "wrong"
    return Verdict(outcome, chosen, "" if found else "the box holds no letter A to J", perf_counter() - started, VERSION)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """Correct when the reference is a letter."""
    return judge(problem, rf"\boxed{{{problem.reference or ''}}}", section)


def extract(answer: str) -> str | None:
    """The text with the chosen letter, or None; raises ValueError for a box that is never closed."""
    boxed = boxes.last_boxed(answer)
    if boxed is not None:
        return boxed or None
    plain = _unwrapped(answer)
    said = [match.group(1) for match in _SAID.finditer(plain) if match.group(1).strip("()").isupper()]
    if said:
        return said[-1]
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return lines[-1] if lines and letters(lines[-1]) else None


def letters(text: str) -> frozenset[str]:
    """The letters that a short text names; empty when it is not clearly one or several of them."""
    text = _unwrapped(text).strip()
    if _LIST.fullmatch(text):
        return frozenset(_ONE.findall(text))
    if match := _WITH_TEXT.fullmatch(text):
        letter = match.group(1) or match.group(2) or match.group(3)
        return frozenset(letter) if letter.isupper() else frozenset()
    return frozenset()


def _unwrapped(text: str) -> str:
    return _WRAPPED.sub(lambda match: match.group(1) or "", text)
