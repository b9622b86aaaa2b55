r"""Multiple choice: the letter, or the text of one option, in the last box or `<answer>`, the last statement
or the last line.

- A question has to list the option that the reference names among two or more: otherwise the reference is
  unparsed.
- A text counts when it is exactly one option's, after its spelling is made uniform: 0.5 is not 1/2. With a
  letter and a text, the letter counts. An answer that names several options is none of them alone. What an
  answer denies is no statement.
- A box that names no option leaves the word to the statements; one that a later statement contradicts is
  unparsed.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import takewhile
from time import perf_counter

from distill.recipe import Verification
from distill.records import Outcome, Problem, Verdict
from distill.text import boxed as boxes
from distill.verifiers.choice_options import Options, Patterns, fold, options, patterns, plain
from distill.verifiers.math import normalise

VERSION = "choice/4"
Letters = frozenset[str]
NONE: Letters = frozenset()
LAST_STATEMENTS = 20
"""So many statements, and lines, are read from the end; what stands before them is not what an answer ends
with."""
LONGEST_TEXT = 400
"""Characters of an option's text; what is longer is not compared."""

_DENIAL = re.compile(r"\b(?:not|never|neither|wrong|incorrect|false)\b|n't\b|[不非错]")
_LEFT_OPEN = re.compile(r"\bor\b|/|或")
_RELATION = re.compile(
    r"[=<>≈≤≥≠∈]|\\(?:approx|l[el]q?|g[eg]q?|ll|gg|neq?|in|to|sim|equiv|propto|rightarrow|implies)\b"
)

_UNSURE = (
    r"(?i:\b(?:if|whether|unless|suppose|assume|(?:not|n't) (?:say|think|believe|mean))"
    r"(?: that)?(?: the)?(?: (?:correct|right|best|final))? ?)"
)
_ANSWER_IS = (
    r"(?:(?i:\b(?:answer|option|choice|letter)\b)|答案|选项)"
    r"\s?(?:(?i:(?:is|would be|must be|should be|has to be)\b)\s?[:：]?"
    r"|(?:应该是|应该为|应为|应是|是|为|选)\s?[:：]?|[:：=])"
)
_CHOSEN = (
    r"(?:(?<!not )(?<!n't )(?i:\b(?:i|we)(?:'d| would| will)? "
    r"(?:choose|select|pick)\b)|(?<![不误])选择?)\s?[:：]?"
)
_FILLED = (
    r"(?:\s?(?:(?i:\b(?:therefore|thus|then|hence|clearly|indeed|option|choice|letter|answer)\b)"
    r"|选项|[:：]))*\s?"
)
_HEAD = re.compile(rf"({_UNSURE})?(?:{_ANSWER_IS}|{_CHOSEN}){_FILLED}")
_END = re.compile(
    r"\s?(?:[).,:;!|\n。，；：！]|(?i:because|since|as|which|where|due|for|given|with|not|rather)\b|因)|\s[-–—(]|\Z"
)
_SENTENCE = re.compile(r"[.;!。；！](?:\s|\Z)")
_TAG = re.compile(r"</?answer>")
_BOX = re.compile(r"\\f?boxed\s?\{([^{}]*)\}")


def judge(problem: Problem, answer: str, section: Verification) -> Verdict:
    """The verdict on the chosen option."""
    started = perf_counter()
    listed = options(problem.question)
    cause = unusable(problem.reference, listed)
    outcome: Outcome
    try:
        text, chosen = extract(answer, listed)
        extracted = ", ".join(sorted(chosen)) or (text and text[: section.max_answer_characters])
        outcome, detail = _compared(named(problem.reference or "", listed), chosen, text)
    except ValueError as error:
        extracted, outcome, detail = None, "unparsed_answer", str(error)
    if cause:
        outcome, detail = "unparsed_reference", cause
    return Verdict(outcome, extracted, detail, perf_counter() - started, VERSION)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """Correct when the reference names options that the question lists."""
    cause = unusable(problem.reference, options(problem.question))
    return Verdict("unparsed_reference" if cause else "correct", problem.reference, cause, 0.0, VERSION)


def unusable(reference: str | None, listed: Options) -> str:
    """Why no answer can be judged by a reference, or nothing."""
    if not listed:
        return "the question lists no options"
    wanted = named(reference or "", listed)
    names = ", ".join(listed)
    if wanted and wanted <= set(listed):
        return ""
    return (
        f"the reference is none of the options that the question lists ({names}), nor the text of one of them"
    )


def extract(answer: str, listed: Options) -> tuple[str | None, Letters]:
    """The text that states the choice, or None, and the options that it names; raises ValueError for a box
    that is never closed."""
    boxed = boxes.last_boxed(answer)
    if boxed is None and "</answer>" in answer:
        boxed = _TAG.split(answer[: answer.rfind("</answer>")])[-1]
    if boxed is None:
        return _from_words(plain(answer), listed)
    letters, inside = named(boxed, listed), plain(boxed)
    if not letters and len(letter := inside.strip().strip("().")) == 1 and "a" <= letter <= "z":
        letters = frozenset(letter.upper()) & frozenset(listed)  # elsewhere it is a word or a variable
    if letters:
        later = plain(answer[answer.rfind(boxed) + len(boxed) :])
        contradicts = letters != (_stated(later, listed)[1] or letters)
        return boxed.strip(), NONE if contradicts else letters
    hints = not _RELATION.search(inside) and _names(listed).name.search(inside)
    if not boxed.strip() or hints:  # it speaks of options in a way that nothing beside it may settle
        return boxed.strip() or None, NONE
    text, letters = _from_words(_BOX.sub(r" \1 ", plain(answer)), listed)
    return (text, letters) if letters else (boxed.strip(), NONE)


def _from_words(text: str, listed: Options) -> tuple[str | None, Letters]:
    """The choice in a last line that is one, in the last statement, or in the lines at the end."""
    final = [line for line in text.splitlines() if line.strip()][-1:]
    if final and (letters := _letters_alone(final[0], listed)) and not _listing(text, listed)[1:]:
        return final[0], letters
    said, letters = _stated(text, listed)
    if letters:
        return said, letters
    lines = _listing(text, listed)
    return (lines[0], NONE.union(*(named(line, listed) for line in lines))) if lines else (said, NONE)


def named(text: str, listed: Options) -> Letters:
    """The options that a short text names; empty when it is not clearly one option or several."""
    text = plain(text).strip()
    if len(text) > 2 * LONGEST_TEXT:
        return NONE
    by_name, by_text = _letters_alone(text, listed), _by_text(text, listed)
    if by_name and by_text and by_name != by_text and listed.style != "upper":
        return NONE  # 3 is the third option, and the text of another one
    if letters := by_name or by_text:
        return letters
    read = _names(listed)
    match = read.named.fullmatch(text.rstrip(".。"))
    if match and match.group(1):
        return _letters_alone(match.group(1), listed)
    if match:
        letter, rest = fold(match.group(2).strip("().:、"), listed.style), match.group(3)
        if letter in listed and _uniform(rest) == _uniform(listed[letter]):
            return frozenset((letter,))
        if letter in listed and _by_text(rest.strip().strip("().:、-–— "), listed):
            return NONE  # the letter of one option with the text of another
        others = (fold(found[1] or found[2], listed.style) for found in read.marker.finditer(rest))
        return NONE if _DENIAL.search(rest) else frozenset((letter,)).union(others)
    shorter = without_texts(text, listed)
    said = read.said.match(shorter) if shorter != text else None
    return _letters_alone(said.group(), listed) if said and _END.match(shorter, said.end()) else NONE


def without_texts(text: str, listed: Options) -> str:
    """The text with each option's name in place of the name with its own text: "C" for "C) Jupiter" and for
    "Jupiter (option C)"."""
    for pattern in _own_texts(tuple(listed.items()), listed.style):
        text = pattern.sub(lambda match: next(filter(None, match.groups())), text)
    return text


@lru_cache(maxsize=256)
def _own_texts(items: tuple[tuple[str, str], ...], style: str) -> tuple[re.Pattern[str], ...]:
    """Two patterns: of an option's name with its text behind it, and before it."""
    behind, before = [], []
    for name, option in items:
        text = r"\s".join(map(re.escape, option.strip(" .。;,\"'").split()))
        if not text or len(text) > LONGEST_TEXT or option.strip(" .") in dict(items):
            continue
        called = f"(?i:{name})" if style != "upper" else name
        joint = r"(?=[^A-Za-z0-9])\)?[):.、]?\s?(?:[-–—:,(]\s?)?[\"']?"
        behind.append(rf"({called}){joint}(?i:{text})[\"']?\s?\)?")
        before.append(
            rf"(?i:{text})[\"']?\s?(?:,?\s(?:which|that)\sis\s|[,(]\s?|\sis\s)(?=\(|(?<=\()|(?i:option|choice|letter))"
            rf"(?i:(?:option|choice|letter)\s)?\(?({called})(?![A-Za-z0-9])\)?"
        )
    if not behind:
        return ()
    follows = (
        r"(?=\s?(?:[.,;:!|\n]|[。，；！]|\Z"
        r"|(?i:is|was|must|because|since|as|which|due|for|given|with)\b|[是因])|\s[-–—(])"
    )
    return (
        re.compile(rf"(?<![A-Za-z0-9_'])\(?(?:{'|'.join(behind)}){follows}"),
        re.compile(rf"(?<![A-Za-z0-9_'])(?:{'|'.join(before)})"),
    )


def _compared(wanted: Letters, chosen: Letters, text: str | None) -> tuple[Outcome, str]:
    """(outcome, detail) of what was chosen."""
    if text is None:
        return "no_answer", "no option in a box, in a statement or on the last line"
    if not chosen:
        return "unparsed_answer", "not clearly one option, by its name or by its text"
    if len(chosen) > 1 and _LEFT_OPEN.search(text):
        return "wrong", "several options are left open"
    return ("correct" if chosen == wanted else "wrong"), ""


def _stated(text: str, listed: Options) -> tuple[str | None, Letters]:
    """The text and options of the last readable statement, else the text of the last one that could be
    one."""
    unread = None
    text, read = without_texts(text, listed), _names(listed)
    found = [*_HEAD.finditer(text), *read.confirmed.finditer(text)]
    for match in sorted(found, key=lambda match: match.start(), reverse=True)[:LAST_STATEMENTS]:
        if match.re is read.confirmed:
            return match.group(), _letters_alone(match.group(1) or match.group(2), listed)
        said = text[match.end() : match.end() + LONGEST_TEXT].partition("\n")[0]
        if match.group(1) or _DENIAL.match(said):
            continue
        items = read.said.match(text, match.end())
        if items and _END.match(text, items.end()):
            return items.group(), _letters_alone(items.group(), listed)
        for part in (said, _SENTENCE.split(said)[0]) if listed else ():
            if letters := _by_text(part, listed):
                return part, letters
        unread = unread or (said.strip() if listed else "")
    return unread or None, NONE


def _listing(text: str, listed: Options) -> list[str]:
    """The lines at the end that each name an option, last first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][-LAST_STATEMENTS:]
    return list(takewhile(lambda line: named(line, listed), reversed(lines)))


def _names(listed: Options) -> Patterns:
    return patterns(listed.style, len(listed))


def _letters_alone(text: str, listed: Options) -> Letters:
    """The options of a text that is nothing but their names: "C", "(C).", "A, C", "ACD"."""
    text, read = text.strip().rstrip(".。").strip(), _names(listed)
    if read.items.fullmatch(text):
        return frozenset(fold(match.group(1), listed.style) for match in read.name.finditer(text))
    return frozenset(text) if text.isalpha() and read.said.fullmatch(text) else NONE


def _by_text(text: str, listed: Mapping[str, str]) -> Letters:
    """The one option that has this text."""
    if not listed or not (wanted := _uniform(text)):
        return NONE
    found = [letter for letter, option in listed.items() if _uniform(option) == wanted]
    return frozenset(found) if len(found) == 1 else NONE


@lru_cache(maxsize=4096)
def _uniform(text: str) -> str:
    return normalise.clean(text[:LONGEST_TEXT]).casefold().strip(" \"'.,;:!")
