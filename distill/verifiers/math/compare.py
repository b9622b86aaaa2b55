r"""Comparing two expressions by their spelling and as plain numbers: exact, in microseconds, without symbolic
algebra.

An exact reference needs an exact answer: 0.333 is not 1/3. A decimal reference of six places or more stands
for what rounds to it.
"""

import re
from dataclasses import replace
from fractions import Fraction

from distill.text import numbers
from distill.verifiers.math import words
from distill.verifiers.math.tree import Leaf

ROUNDED_DECIMALS = 6
"""math_verify's `float_rounding`."""
ROUNDED_OR_CUT = Fraction(999, 1000)
"""Of a unit in the last place: what rounding and cutting off stay below."""
RELATIONS = re.compile(r"=|<|>|\\leq|\\geq|\\neq")
_LETTERS = re.compile(r"[^\W\d_]{2,3}")
_SHORT_WORDS = frozenset(words.TABLE["short_words"].split())
_UNIT = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]{1,5})((?:/[A-Za-z]{1,4})?(?:\^\{\d\})?)")
_NAMED_FIGURE = re.compile(
    r"\\(?:angle|triangle|overline|overrightarrow|overleftrightarrow|overset|widehat|vec|hat)"
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
_SEVERAL = re.compile(r"\d+(?:\.\d+)?(?: \d+(?:\.\d+)?)+")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?::\d+(?:\.\d+)?)+")


def by_spelling(gold: Leaf, answer: Leaf, trust_equal_texts: bool = True) -> bool | None:
    """True or False where spelling or plain numbers decide, else None."""
    if gold.label or answer.label:
        return words.label(gold.text or gold.words) == words.label(answer.text or answer.words)
    gold, answer = _with_unit(gold, answer), _with_unit(answer, gold)
    if ":" in gold.text + answer.text:
        gold, answer = _in_24_hours(gold, answer), _in_24_hours(answer, gold)
    if answer.rounded and not gold.nearly and numbers.decimals(gold.text) is None:
        return False  # an exact reference needs an exact answer
    if (
        not gold.text
        or not answer.text
        or (_LETTERS.fullmatch(gold.text) and _LETTERS.fullmatch(answer.text))
    ):
        return _words(gold, answer)
    beside = gold.words + answer.words
    if not words.agree(gold.words, answer.words) or (gold.percent != answer.percent and beside):
        return False
    is_time = ":" in gold.text and _CLOCK.fullmatch(gold.text)
    if is_time and words.half_of_day(gold.words) != words.half_of_day(answer.words):
        return False
    if gold.words and _SEVERAL.fullmatch(gold.text):  # 2 hours 30 minutes
        return gold.text == answer.text and words.order(gold.words) == words.order(answer.words)
    bases = numbers.based(gold.text), numbers.based(answer.text)
    if any(bases):
        return _in_base(gold.text, bases[0]) == _in_base(answer.text, bases[1])
    left, right = numbers.plain(gold.text), numbers.plain(answer.text)
    if left is not None and right is not None:
        return _same_number(gold, left, answer, right)
    if trust_equal_texts and gold.text == answer.text and gold.percent == answer.percent:
        in_degrees = ("degree" in gold.words, "degree" in answer.words)
        return r"\pi" not in gold.text or in_degrees[0] == in_degrees[1]  # else one is in radians
    if _NAMED_FIGURE.search(gold.text + answer.text):
        return False  # the order of letters counts, and algebra would take them for a product
    if ":" in gold.text or ":" in answer.text:
        return _ratio(_on_the_hour(gold), _on_the_hour(answer), left, right)
    if gold.text.count("'") != answer.text.count("'"):
        return False
    return None


def tolerance(gold: Leaf, answer: Leaf) -> Fraction | None:
    r"""How far two numbers may differ: half a unit in the last place of a reference long enough to be a
    rounded one, and a unit in the last place of either beside `\approx`; None where they may not."""
    if gold.nearly:
        return max(numbers.last_place(leaf.text) or Fraction(0) for leaf in (gold, answer)) * ROUNDED_OR_CUT
    places = numbers.decimals(gold.text)
    return Fraction(1, 2 * 10**places) if places is not None and places >= ROUNDED_DECIMALS else None


def _same_number(gold: Leaf, left: Fraction, answer: Leaf, right: Fraction) -> bool:
    if gold.percent != answer.percent:
        if left == right and abs(left) >= 1:
            return True  # the percent sign as a unit that was left off or added
        left, right = (left / 100 if gold.percent else left), (right / 100 if answer.percent else right)
    allowed = tolerance(gold, answer)
    return left == right or (allowed is not None and abs(left - right) <= allowed)


def _with_unit(leaf: Leaf, other: Leaf) -> Leaf:
    """The leaf with its unit apart from its number, where the other has one: `3 m` beside `3 meters`."""
    match = _UNIT.fullmatch(leaf.text)
    if match is None or leaf.words or not other.words or _UNIT.fullmatch(other.text):
        return leaf
    return Leaf(match[1], match[2] + match[3], leaf.name, leaf.percent) if match[2] in words.SYMBOLS else leaf


def _in_24_hours(leaf: Leaf, other: Leaf) -> Leaf:
    """`15:45` for `3:45 p.m.` beside a time that only a clock of 24 hours has, such as `15:45` or `0:15`."""
    time, another = _on_the_hour(leaf), other.text
    if not (_CLOCK.fullmatch(time) and _CLOCK.fullmatch(another)) or words.half_of_day(other.words):
        return leaf
    hour, theirs = (int(text.partition(":")[0]) for text in (time, another))
    if not words.half_of_day(leaf.words) or not 1 <= hour <= 12 or 1 <= theirs <= 12:
        return leaf
    afternoon = re.search(r"(?i)\bp\.?m\b|下午", leaf.words) is not None
    rest = re.sub(r"(?i)\b[ap]\.?m\b\.?|[上下]午", "", leaf.words).strip()
    return replace(leaf, text=f"{hour % 12 + 12 * afternoon}:{time.partition(':')[2]}", words=rest)


def _words(gold: Leaf, answer: Leaf) -> bool | None:
    """Answers that are words, or two or three letters, which may also be a product of variables."""
    first, second = (leaf.text or leaf.words for leaf in (gold, answer))
    empty = [text == r"\emptyset" or words.no_solution(text) for text in (first, second)]
    if any(empty):
        return all(empty)
    if gold.text and answer.text:
        if first.isupper() and second.isupper():
            return first == second  # a figure, a name or choices: no product
        if first == second:
            return True
        folded = first.casefold(), second.casefold()
        return folded[0] == folded[1] if _SHORT_WORDS.intersection(folded) else None
    if any(leaf.text and len(leaf.text) > 1 and not _LETTERS.fullmatch(leaf.text) for leaf in (gold, answer)):
        return False
    if words.phrase(first) == words.phrase(second):
        return True
    stems = {re.sub(r"^(?:the|an|a) |[^\w]", "", text.casefold()).rstrip("s") for text in (first, second)}
    return len(stems) == 1 and words.agree(first, second)


def _on_the_hour(leaf: Leaf) -> str:
    """`10:00` for the 10 of `10 a.m.`."""
    return f"{leaf.text}:00" if leaf.text.isdigit() and words.half_of_day(leaf.words) else leaf.text


def _in_base(text: str, based: tuple[str, str] | None) -> tuple[str, str]:
    digits, base = based or (text.upper(), "10")
    return digits.lstrip("0") or "0", base


def _ratio(gold: str, answer: str, left: Fraction | None, right: Fraction | None) -> bool | None:
    """Times of day by spelling, ratios by proportion, a ratio of two also as a fraction; None for other uses
    of a colon."""
    if (":" in gold) != (":" in answer) and (left is not None or right is not None):
        value, ratio = (left, answer) if right is None else (right, gold)
        terms = [Fraction(part) for part in ratio.split(":")] if _RATIO.fullmatch(ratio) else []
        return len(terms) == 2 and terms[0] == Fraction(value or 0) * terms[1] != 0
    if _CLOCK.fullmatch(gold) and _CLOCK.fullmatch(answer):
        return gold.lstrip("0") == answer.lstrip("0")
    if not (_RATIO.fullmatch(gold) and _RATIO.fullmatch(answer)):
        return False if _RATIO.fullmatch(gold) or _RATIO.fullmatch(answer) else None
    first, second = ([Fraction(part) for part in text.split(":")] for text in (gold, answer))
    return len(first) == len(second) and all(
        a * second[0] == b * first[0] for a, b in zip(first, second, strict=True)
    )
