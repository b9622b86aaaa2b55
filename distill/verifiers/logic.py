r"""Logic puzzles and other answers that are one short text, a number, a list, a set or an assignment of
values to keys.

The answer is the last box, the last `<answer>`, the last fenced or closing JSON, what follows the last "the
answer is", or the last line. A line of prose is no answer: without a marker it may have `MORE_WORDS` words
more than the reference (or than the question's longest option) at most. Texts are equal without case, outer
quotes, commas, spaces and full stop, numbers by value; lists are ordered, `{a, b}` is a set, and keys are
compared one by one. Logically equivalent formulas in another spelling are not equal.
"""

import re
from collections.abc import Mapping
from time import perf_counter

from distill.recipe import Verification
from distill.records import Outcome, Problem, Verdict
from distill.text import boxed as boxes
from distill.verifiers import choice_options
from distill.verifiers import structured as structures
from distill.verifiers.structured import plain, unwrapped

VERSION = "logic/2"
MORE_WORDS = 3
_SAID = re.compile(
    r"\b(?i:answer|solution)\b\s?(?:(?i:is|are|would be|must "
    r"be)\b|[:：])\s?[:：]?|答案(?:应该是|应为|是|为|[:：])\s?[:：]?"
)
_FENCE = re.compile(r"^```[A-Za-z]*\n|^```", re.MULTILINE)
_TAG = re.compile(r"</?answer>")
_OPTION = re.compile(r"\(?([a-r])\)?")
_SENTENCE = re.compile(r"[.!?](?=\s)|[。！？]")


def judge(problem: Problem, answer: str, section: Verification) -> Verdict:
    """The verdict on a short text or a structure."""
    started, extracted = perf_counter(), None
    reference = (problem.reference or "").strip()
    listed = choice_options.options(problem.question) if _OPTION.fullmatch(plain(reference)) else {}
    outcome: Outcome
    try:
        extracted = extract(answer, reference, listed)
        outcome, detail = _outcome(reference, extracted, listed, section.max_answer_characters)
    except ValueError as error:
        outcome, detail = "unparsed_answer", str(error)
    shown = None if extracted and len(extracted) > section.max_answer_characters else extracted
    return Verdict(outcome, shown, detail, perf_counter() - started, VERSION)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """Correct when the reference is there, not too long, and equal to itself."""
    reference = (problem.reference or "").strip()
    if len(reference) > section.max_answer_characters:
        cause = f"longer than {section.max_answer_characters} characters"
        return Verdict("unparsed_reference", None, cause, 0.0, VERSION)
    outcome, detail = _outcome(reference, reference or "-", {}, section.max_answer_characters)
    return Verdict(outcome, reference or None, detail, 0.0, VERSION)


def extract(answer: str, reference: str, listed: Mapping[str, str]) -> str | None:
    """The final answer's text, or None; raises ValueError for a box that is never closed."""
    opened = answer.rpartition(r"\boxed{")[2].partition("\n")[0]
    if r"\boxed{" in answer and "}" in opened and structures.only_brackets(reference):
        boxed: str | None = opened[: opened.rfind("}")].strip()  # in `\boxed{] }}` braces do not pair
    else:
        boxed = boxes.last_boxed(answer)
    if boxed is None and "</answer>" in answer:
        boxed = _TAG.split(answer[: answer.rfind("</answer>")])[-1]
    if boxed is not None:
        return boxed.strip() or None
    if (written := _written_json(answer)) is not None:
        return written
    text = unwrapped(answer).strip()
    longest = max(len(words.split()) for words in (reference, *listed.values())) if reference else MORE_WORDS
    most_words = MORE_WORDS + longest
    structured = bool(reference) and not isinstance(structures.read(reference), str)
    if heads := list(_SAID.finditer(text)):  # the block or line after it, or its first sentence
        block = text[heads[-1].end() :].strip().partition("\n\n")[0].strip()
        said = block.partition("\n")[0].strip()
        closes = structured and structures.closing_block(block) == block
        if closes or structures.json_value(block) is not None:
            return block
        return (said if len(said.split()) <= most_words else _SENTENCE.split(said)[0].strip()) or None
    if structured and (ending := structures.closing_block(text)):
        return ending
    lines = [line for line in text.splitlines() if line]
    last = "\n".join(lines[-1 - reference.count("\n") :]).strip()
    return last if last and len(last.split()) <= most_words else None


def _written_json(answer: str) -> str | None:
    """The JSON list or object of the last fence, or the one that the answer ends with."""
    fenced = _FENCE.split(answer)
    starts = (answer.rfind("\n{"), answer.rfind("\n["), 0)
    for text in (fenced[-2] if len(fenced) > 2 else "", answer[max(starts[:2]) + 1 :], answer):
        if structures.json_value(text.strip()) is not None:
            return text.strip()
    return None


def _outcome(
    reference: str, extracted: str | None, listed: Mapping[str, str], most_characters: int
) -> tuple[Outcome, str]:
    """(outcome, detail) of an answer's text."""
    if not extracted:
        return "no_answer", "no box, no <answer>, no 'answer is', and the last line is none or prose"
    if len(extracted) > most_characters:
        return "unparsed_answer", f"longer than {most_characters} characters"
    if not reference:
        return "unparsed_reference", "no reference"
    wanted = structures.read(reference)
    if not isinstance(wanted, str):
        return structures.compared(wanted, extracted)
    return ("correct" if _same(reference, extracted, listed) else "wrong"), ""


def _same(reference: str, answer: str, listed: Mapping[str, str]) -> bool:
    """Equality of two short texts."""
    if structures.same_text(reference, answer):
        return True
    option, second = _OPTION.fullmatch(plain(reference)), plain(answer)
    if option is None:
        return False
    if other := _OPTION.match(second):
        ends = other.end() == len(second) or (second[other.end()] in " .:" and second[0] == "(")
        return ends and option.group(1) == other.group(1)
    named = [letter for letter, text in listed.items() if plain(text) == second]
    return named == [option.group(1).upper()]
