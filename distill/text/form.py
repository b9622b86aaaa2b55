r"""The form of a completion: stray tags, two final answers, an answer that the thinking did not reach.

All of it is read off tags, phrases and boxes, and what could be read in two ways is no finding: better an odd
trace kept than a sound one lost. Answers are compared as numbers and, for multiple choice, as letters; no
algebra is done. Numbers that rounding, a sign, a change of units or a percent sign may explain do not differ.
Boxes around intermediate results are no second answer.
"""

import re
from fractions import Fraction

from distill.records import Trace
from distill.text import boxed, numbers, think_tags

VERSION = 2
TAIL_CHARACTERS = 300
"""What a thinking concludes, and what an answer says beside its box, stands in so many characters at its
end."""
NEAR_CHARACTERS = 80
CLAUSE_CHARACTERS = 40
LONGEST_NUMBER = 60
FACTORS = frozenset(map(Fraction, (7, 12, 24, 30, 52, 60, 365, 3600)))
"""Beside powers of ten, what one number is of another that means the same: days, dozens, hours, months,
weeks, minutes, seconds."""

_STRAY = re.compile(rf"{think_tags.STRAY}|<\uff5c[^\uff5c\n]{{1,40}}\uff5c>", re.IGNORECASE)
_NUMBER = (
    r"[-\u2212]?\\?\$?\s?(?:\d[\d,]*(?:\.\d+)?(?:\s?/\s?\d+)?|\.\d+|\\[dt]?frac\{\d+\}\{\d+\})(?:\s?\\?%)?"
)
_OPEN, _CLOSE = r"(?:[\s:：*$]|\\[(\[])*", r"(?:[\s*$]|\\[)\]])*"
_END = rf"{_CLOSE}(?:[.!。！](?=\s|\Z|<)|\Z|(?<=\n))"
_UNIT = (
    r"(?:(?:\\text\{)?\s?(?!(?:more|less|times|or|and|to|of|if|plus|minus|million|billion|thousand|hundred)\b)"
    r"[A-Za-z]{1,12}\}?)?"
)
_IS = (
    r"\s?(?:is|should be|must be|has to be|will be|would be|=|:)(?: "
    r"(?:therefore|thus|then|indeed|simply|just|equal to))?"
)
_SAYS = (
    rf"(?:(?:the|our|my|final|correct|right)\s(?:final\s|correct\s|right\s)?answer{_IS}"
    r"|答案(?:应该)?就?[是为：:]|la respuesta (?:final |correcta )?(?:es|:)|la réponse (?:finale )?(?:est|:)"
    r"|die (?:endgültige )?antwort (?:ist|lautet|:))"
)
_STATEMENT = re.compile(
    rf"(?i:{_SAYS}){_OPEN}(?:(?P<number>{_NUMBER})(?i:{_UNIT})|\(?(?P<letter>[A-J])\)?){_END}"
)
_BOXED_STATEMENT = re.compile(rf"(?i:{_SAYS}){_OPEN}\\boxed\{{(?P<box>[^{{}}\n]{{1,60}})\}}{_END}")
_OPEN_QUESTION = re.compile(
    r"(?:\b(?:if|not|suppose|assume|maybe|perhaps|whether|unless|might|could|think|thought|guess|say|says|said|claims?|expect\w*|try)\b"
    r"|n't\b|如果|假设|也许|不)[^.!?。！？\n]*\Z",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\b(?:wait|but|however|hmm|actually|alternatively|let "
    r"me|check|mistake|error|wrong|round|instead|if|unless|except|otherwise|convert)"
    r"|等等|但|不过|检查|验证|或者|四舍五入|\bpero\b|\bmais\b|\baber\b",
    re.IGNORECASE,
)
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_LETTER = re.compile(r"(?:\\text\{)?\(?([A-J])\)?[.}]?")
_NAME = re.compile(r"\\?[A-Za-z]\w{0,8}\s?=\s?")
_UNITS = re.compile(r"\\(?:text|mathrm|textbf|mbox)\{[^{}]*\}|\^\{?\\circ\}?|\\degree|[$*~]")
_THIN = re.compile(r"\\[,!; ]|\{,\}|(?<=\d),(?=\d{3}(?!\d))")
_APART = re.compile(r"\d\s+\d")
_DIGITS = re.compile(r"\d[\d,]*(?:\.\d+)?")
_DECIMAL = re.compile(r"\.(\d+)")
_NOUNS = ("nswer", "答案", "espuesta", "éponse", "ntwort")


def fault(trace: Trace) -> str | None:
    """What is wrong with the form of thinking and answer beyond their lengths, or None; code has no box to
    agree with."""
    for part, text in (("thinking", trace.thinking or ""), ("answer", trace.answer)):
        if (
            stray := _STRAY.search(text)
            if "<" in text or "[/THINK]" in text or "[THINK]" in text or "◁" in text
            else None
        ):
            return f"{stray.group()} inside the {part}"
    return None if trace.problem.kind in ("code", "sql") else _two_answers(trace)


def mismatch(trace: Trace) -> str | None:
    """How the last conclusion of the thinking differs from the answer, or None; a thinking that goes on after
    it has none."""
    thinking, given = trace.thinking, _given(trace.answer)
    if thinking is None or given is None or trace.problem.kind in ("code", "sql"):
        return None
    tail = thinking.rstrip()[-TAIL_CHARACTERS:]
    found = _conclusion(tail)
    if found is None:
        return None
    concluded, start = found
    if not _differ(concluded, given, trace.problem.kind) or _TURN.search(tail, start):
        return None
    if _named(given, tail[max(0, start - NEAR_CHARACTERS) :]) or _named(concluded, trace.answer):
        return None  # one of them is a step to the other: m/n = 1/6, so m + n = 7
    return f"the thinking concludes {concluded!r}, the answer is {given!r}"


def _two_answers(trace: Trace) -> str | None:
    """Two final answers: a statement after the last box, a little before it, or a box that is called the
    answer, too."""
    answer = trace.answer
    last = answer.rfind(r"\boxed")
    given = boxed.any_boxed(answer) if last >= 0 else None
    if given is None:
        return None
    start = (
        last if trace.thinking is None else max(0, last - TAIL_CHARACTERS)
    )  # reasoning goes before a box where it has no block
    stated = _statements(answer, start)
    if answer.find(r"\boxed") < last:
        stated += [
            (match.group("box"), match.start()) for match in _BOXED_STATEMENT.finditer(answer, 0, last)
        ]
    for other, place in stated:
        if _differ(other, given, trace.problem.kind) and not _open(answer, place):
            return f"two final answers: {other!r} and {given!r}"
    return None


def _statements(text: str, start: int) -> list[tuple[str, int]]:
    """What a text says from there on that the answer is, with the places."""
    if not any(text.find(noun, start) >= 0 for noun in _NOUNS):
        return []
    return [
        (match.group("number") or match.group("letter"), match.start())
        for match in _STATEMENT.finditer(text, start)
    ]


def _given(answer: str) -> str | None:
    """The text of the last box, or of the last `<answer>`."""
    if r"\boxed" in answer or r"\fbox" in answer:
        return boxed.any_boxed(answer)
    tagged = _TAGGED.findall(answer) if "<answer>" in answer else []
    return tagged[-1].strip() if tagged else None


def _conclusion(tail: str) -> tuple[str, int] | None:
    """The last box or statement of an answer in the end of a thinking, with its place; None where it is said
    under a condition."""
    stated = _statements(tail, 0)
    box = tail.rfind(r"\boxed{")
    found = stated[-1] if stated else None
    if box >= 0 and (found is None or box > found[1]):
        found = (boxed.any_boxed(tail) or "", box)
    return None if found is None or _open(tail, found[1]) else found


def _open(text: str, place: int) -> bool:
    """Whether what is said at a place is said under a condition, denied or guessed, by the words before
    it."""
    return _OPEN_QUESTION.search(text[max(0, place - CLAUSE_CHARACTERS) : place]) is not None


def _differ(one: str, other: str, kind: str) -> bool:
    """Whether two answers are surely not the same: letters of a choice, or numbers that nothing explains."""
    if kind == "choice":
        letters = [found.group(1) for text in (one, other) if (found := _LETTER.fullmatch(text.strip()))]
        return len(letters) == 2 and letters[0] != letters[1]
    left, right = _number(one), _number(other)
    if left is None or right is None or abs(abs(left) - abs(right)) <= _rounding(one, other):
        return False
    low, high = sorted((abs(left), abs(right)))
    if not low or (ratio := high / low) in FACTORS:
        return not low
    power_of_ten = ratio.denominator == 1 and str(ratio.numerator).strip("0") == "1"
    return not power_of_ten


def _number(text: str) -> Fraction | None:
    """The number that a short text is, its unit, currency and name apart; None for any other text and for two
    numbers."""
    if len(text) > LONGEST_NUMBER:
        return None
    plain = _THIN.sub("", _UNITS.sub(" ", _NAME.sub("", text.strip().rstrip("."), count=1)))
    if _APART.search(plain):
        return None
    plain = plain.replace("\u2212", "-").replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    return numbers.plain("".join(plain.split()).strip("\\%()[]"))


def _rounding(one: str, other: str) -> Fraction:
    """How far two numbers may be apart when one of them is a decimal: a unit in the last place of the
    shorter; 0 for exact ones."""
    if not _DECIMAL.search(one + " " + other):
        return Fraction(0)
    places = [_DECIMAL.search(text) for text in (one, other) if "/" not in text and "frac" not in text]
    return max(
        (Fraction(1, 10 ** len(place.group(1))) if place else Fraction(1) for place in places),
        default=Fraction(0),
    )


def _named(given: str, passage: str) -> bool:
    """Whether a passage names an answer, as it is written or as a number."""
    wanted = _number(given)
    if wanted is None or wanted.denominator != 1:
        return given in passage
    return any(_number(number.rstrip(",")) == wanted for number in _DIGITS.findall(passage))
