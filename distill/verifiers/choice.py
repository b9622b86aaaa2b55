r"""Multiple choice: the letter, or the text of one option, in the last box or `<answer>`, the last statement or the last line.

A letter is A to J; several are a set. Options are read from the question ("A. x", "(A) x", "A) x", "- A: x"); a text counts when
it is exactly one option's, after its spelling is made uniform: 0.5 is not 1/2. With a letter and a text, the letter counts. An
answer that names several options is none of them alone. Letters elsewhere in prose and what an answer denies are no statement.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import takewhile
from time import perf_counter

from distill.recipe.dataset import Verification
from distill.records import Problem, Verdict
from distill.text import boxed as boxes
from distill.verifiers.math import normalise

VERSION = "choice/2"
Letters = frozenset[str]
NONE: Letters = frozenset()
LAST_STATEMENTS = 20
"""So many statements, and lines, are read from the end; what stands before them is not what an answer ends with."""
LONGEST_TEXT = 400
"""Characters of an option's text; what is longer is not compared."""

_SPACES = re.compile(r"\s+")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s?\{([^{}]*)\}|\$|\*+|__|`|\\[()\[\]]|\\(?:qquad|quad|[ ,;:!])|~")
_LETTER = r"(?:\([A-J]\)|（[A-J]）|[A-J](?![A-Za-z0-9_'])\)?)"
_ITEMS = rf"{_LETTER}(?:(?:\s?[,;/&、，]\s?(?:(?:and|or)\s)?|\s(?:and|or)\s|\s?[和与或]\s?|\s){_LETTER})*"
_LIST = re.compile(_ITEMS)
_IN_ORDER = "A?B?C?D?E?F?G?H?I?J?"
_RUN = re.compile(_IN_ORDER)
_SAID = re.compile(rf"{_ITEMS}|(?=[A-J]{{2}}){_IN_ORDER}(?![A-Za-z0-9])")
_WORD = r"(?i:(?:the\s)?(?:options?|choices?|answers?|letters?|选项|选择|答案))"
_NAMED = re.compile(rf"(?:{_WORD}\s?(?:[:：]\s?|(?i:is)\s)?)?(?:({_ITEMS})|(\([A-J]\)|[A-J][).:、．])\s?(\S.*))", re.DOTALL)
_MARKER = re.compile(r"\(([A-J])\)|(?<![A-Za-z0-9])([A-J])[).:、．](?![A-Za-z0-9])")
_OPTION = re.compile(r"(?<![A-Za-z0-9_'\\(（\[])([(（\[]?)([A-J])([)）\]:：.．、])(?:(?<=[.:])(?=[\s\u0080-\uffff])|(?<![.:]))")
_DENIAL = re.compile(r"\b(?:not|never|neither|wrong|incorrect|false)\b|n't\b|[不非错]")
_LEFT_OPEN = re.compile(r"\bor\b|/|或")

_UNSURE = (
    r"(?i:\b(?:if|whether|unless|suppose|assume|(?:not|n't) (?:say|think|believe|mean))"
    r"(?: that)?(?: the)?(?: (?:correct|right|best|final))? ?)"
)
_ANSWER_IS = (
    r"(?:(?i:\b(?:answer|option|choice|letter)\b)|答案|选项)"
    r"\s?(?:(?i:(?:is|would be|must be|should be|has to be)\b)\s?[:：]?|(?:应该是|应该为|应为|应是|是|为|选)\s?[:：]?|[:：=])"
)
_CHOSEN = r"(?:(?<!not )(?<!n't )(?i:\b(?:i|we)(?:'d| would| will)? (?:choose|select|pick)\b)|(?<![不误])选择?)\s?[:：]?"
_FILLED = r"(?:\s?(?:(?i:\b(?:therefore|thus|then|hence|clearly|indeed|option|choice|letter|answer)\b)|选项|[:：]))*\s?"
_HEAD = re.compile(rf"({_UNSURE})?(?:{_ANSWER_IS}|{_CHOSEN}){_FILLED}")
_END = re.compile(r"\s?(?:[).,:;!|\n。，；：！）]|(?i:because|since|as|which|where|due|for|given|with|not|rather)\b|因)|\s[-–—(（]|\Z")
_CONFIRMED = re.compile(
    rf"(?i:\b(?:option|choice|answer)\s)({_LETTER})\s(?i:(?:is|must be) (?:therefore |thus |indeed |clearly )?"
    rf"(?:the )?(?:only |best )?(?:correct|right|answer)\b)"
    rf"|(?<![A-Za-z0-9(])({_LETTER})\s(?i:(?:is|must be) (?:therefore |thus )?"
    rf"the (?:only )?(?:correct |right |best )?(?:answer|option|choice)\b)"
)
_SENTENCE = re.compile(r"[.;!。；！](?:\s|\Z)")
_TAG = re.compile(r"</?answer>")


def judge(problem: Problem, answer: str, section: Verification) -> Verdict:
    """The verdict on the chosen option."""
    started = perf_counter()
    listed = options(problem.question)
    wanted = named(problem.reference or "", listed)
    try:
        text, chosen = extract(answer, listed)
    except ValueError as error:
        return Verdict("unparsed_answer", None, str(error), perf_counter() - started, VERSION)
    extracted = ", ".join(sorted(chosen)) or (text and text[: section.max_answer_characters])
    outcome, detail = _compared(wanted, chosen, text)
    return Verdict(outcome, extracted, detail, perf_counter() - started, VERSION)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """Correct when the reference is a letter or the text of one option."""
    wanted = named(problem.reference or "", options(problem.question))
    outcome, detail = ("correct", "") if wanted else _compared(wanted, frozenset("A"), "A")
    return Verdict(outcome, problem.reference, detail, 0.0, VERSION)


def extract(answer: str, listed: Mapping[str, str]) -> tuple[str | None, Letters]:
    """The text that states the choice, or None, and the letters that it names; raises ValueError for a box that is never closed."""
    boxed = boxes.last_boxed(answer)
    if boxed is None and "</answer>" in answer:
        boxed = _TAG.split(answer[: answer.rfind("</answer>")])[-1]
    if boxed is not None:
        return boxed.strip() or None, named(boxed, listed) or _lower_case(boxed)
    plain = _plain(answer)
    final = [line for line in plain.splitlines() if line.strip()][-1:]
    if final and (letters := _letters_alone(final[0])) and not _listing(plain, listed)[1:]:
        return final[0], letters
    text, letters = _stated(plain, listed)
    if letters:
        return text, letters
    lines = _listing(plain, listed)
    return (lines[0], NONE.union(*(named(line, listed) for line in lines))) if lines else (text, NONE)


def _lower_case(boxed: str) -> Letters:
    """The letter when all that a box holds is one in lower case; elsewhere such a letter is a word or a variable."""
    letter = _plain(boxed).strip().strip("().")
    return frozenset(letter.upper()) if len(letter) == 1 and "a" <= letter <= "j" else NONE


def named(text: str, listed: Mapping[str, str]) -> Letters:
    """The letters that a short text names; empty when it is not clearly one option or several."""
    text = _plain(text).strip()
    if len(text) > 2 * LONGEST_TEXT:
        return NONE
    if letters := _letters_alone(text) or _by_text(text, listed):
        return letters
    if not (match := _NAMED.fullmatch(text.rstrip(".。"))):
        return NONE
    if match.group(1):
        return _letters_alone(match.group(1))
    letter, rest = match.group(2).strip("().:、．"), match.group(3)
    if letter in listed and _uniform(rest) == _uniform(listed[letter]):
        return frozenset(letter)
    others = (found.group(1) or found.group(2) for found in _MARKER.finditer(rest))
    return NONE if _DENIAL.search(rest) else frozenset(letter).union(others)


def options(question: str) -> dict[str, str]:
    """Letter and text of the options that a question lists, in order; empty without two of them."""
    runs: dict[str, list[re.Match[str]]] = {}
    longest: list[re.Match[str]] = []
    plain = _plain(question)
    for marker in _OPTION.finditer(plain):
        run = runs.setdefault(marker.group(1) + marker.group(3), [])
        if marker.group(2) == "A":
            run = runs[marker.group(1) + marker.group(3)] = []
        if ord(marker.group(2)) == ord("A") + len(run):
            run.append(marker)
            longest = run if len(run) >= len(longest) else longest
    if len(longest) < 2:
        return {}
    last = longest[-1]
    line_end = plain.find("\n", last.end())
    ends = [marker.start() for marker in longest[1:]] + [len(plain) if line_end < 0 else line_end]
    return {marker.group(2): plain[marker.end() : end].strip(" \n-*,;，；") for marker, end in zip(longest, ends, strict=True)}


def _compared(wanted: Letters, chosen: Letters, text: str | None) -> tuple[str, str]:
    """(outcome, detail) of what was chosen."""
    if text is None:
        return "no_answer", "no option in a box, in a statement or on the last line"
    if not chosen:
        return "unparsed_answer", "no letter A to J, and not the text of exactly one option"
    if not wanted:
        return "unparsed_reference", "the reference is no letter A to J and no option's text"
    if len(chosen) > 1 and _LEFT_OPEN.search(text):
        return "wrong", "several options are left open"
    return ("correct" if chosen == wanted else "wrong"), ""


def _stated(plain: str, listed: Mapping[str, str]) -> tuple[str | None, Letters]:
    """The text and letters of the last readable statement, else the text of the last one that could be one."""
    unread = None
    found = [*_HEAD.finditer(plain), *_CONFIRMED.finditer(plain)]
    for match in sorted(found, key=lambda match: match.start(), reverse=True)[:LAST_STATEMENTS]:
        if match.re is _CONFIRMED:
            return match.group(), _letters_alone(match.group(1) or match.group(2))
        said = plain[match.end() : match.end() + LONGEST_TEXT].partition("\n")[0]
        if match.group(1) or _DENIAL.match(said):
            continue
        items = _SAID.match(plain, match.end())
        if items and _END.match(plain, items.end()):
            return items.group(), _letters_alone(items.group())
        for text in (said, _SENTENCE.split(said)[0]) if listed else ():
            if letters := _by_text(text, listed):
                return text, letters
        unread = unread or (said.strip() if listed else "")
    return unread or None, NONE


def _listing(plain: str, listed: Mapping[str, str]) -> list[str]:
    """The lines at the end that each name an option, last first."""
    lines = [line.strip() for line in plain.splitlines() if line.strip()][-LAST_STATEMENTS:]
    return list(takewhile(lambda line: named(line, listed), reversed(lines)))


def _letters_alone(text: str) -> Letters:
    """The letters of a text that is nothing else: "C", "(C).", "A, C", "ACD"."""
    text = text.strip().rstrip(".。").strip()
    if _LIST.fullmatch(text):
        return frozenset(re.findall("[A-J]", text))
    return frozenset(text) if _RUN.fullmatch(text) else NONE


def _by_text(text: str, listed: Mapping[str, str]) -> Letters:
    """The letter of the one option that has this text."""
    if not listed or not (wanted := _uniform(text)):
        return NONE
    found = [letter for letter, option in listed.items() if _uniform(option) == wanted]
    return frozenset(found) if len(found) == 1 else NONE


@lru_cache(maxsize=4096)
def _uniform(text: str) -> str:
    return normalise.clean(text[:LONGEST_TEXT]).casefold().strip(" \"'.,;:!")


def _plain(text: str) -> str:
    """The text without markup, each run of white space one space or one line break."""
    text = _SPACES.sub(lambda match: "\n" if "\n" in match.group() else " ", text)
    for _ in range(2):  # \textbf{\text{C}}
        text = _WRAPPED.sub(lambda match: match.group(1) or " " * match.group().startswith(("\\q", "\\ ", "\\,", "~")), text)
    return text
