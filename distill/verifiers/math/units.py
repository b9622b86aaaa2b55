"""Units and other words that stand beside a number in an answer.

A unit may be left off or added; another unit fails. `6 apples` and `6` agree, `5 cm` and `5 m` do not, and no
unit is converted into another (`100 cm` is not `1 m` here).
"""

import re
from collections.abc import Callable

from distill.verifiers.math.words import TABLE

MEASURES = {spelling: name for name, spellings in TABLE["units"].items() for spelling in spellings.split()}
FILLER = frozenset(TABLE["filler"].split())
QUALIFIERS = frozenset(TABLE["qualifiers"].split())
"""Words that make another answer of the number beside them: `at least 5` is not 5."""
_RATIO = re.compile(rf"\b(?:{'|'.join(TABLE['ratios'])})\b")
_WORD = re.compile(r"a\.m\.?|p\.m\.?|[^\W\d_]+|/|%|\^\{?-?\d\}?")


def agree(gold: str, answer: str) -> bool:
    """True when the words beside two equal numbers name no different units or things."""
    gold_measures, gold_things = _split(gold)
    answer_measures, answer_things = _split(answer)
    if "am" in gold_measures or "pm" in gold_measures:
        return gold_measures == answer_measures
    if gold_measures and answer_measures and gold_measures != answer_measures:
        nameless = "unit" in gold_measures or "unit" in answer_measures
        return nameless and sorted(gold_measures.values()) == sorted(answer_measures.values())
    if (
        bool(gold_measures) != bool(answer_measures)
        and bool(gold_things) != bool(answer_things)
        and bool(gold_measures) == bool(answer_things)
    ):
        return False  # 5 cm beside 5 apples
    if any(_qualifies(thing) for thing in gold_things ^ answer_things):
        return False
    return gold_things <= answer_things or answer_things <= gold_things


def order(words: str) -> list[str]:
    """The measures of a text as they follow each other."""
    return list(_split(words)[0])


def qualified(words: str) -> bool:
    """True for words that do not only lead to the number after them."""
    return any(map(_qualifies, _split(words)[1]))


def is_unit(word: str) -> bool:
    """True for a known spelling of a unit of two letters or more, or of one Chinese character."""
    return word.casefold() in MEASURES and (len(word) > 1 or not word.isascii())


def _split(words: str) -> tuple[dict[str, int], frozenset[str]]:
    """Measures with their powers, and other things of a text: `m / s^2` is m to 1 and s to -2."""
    powers: dict[str, int] = {}
    things: set[str] = set()
    sign, factor, last = 1, 1, ""

    def put(measure: str) -> None:
        nonlocal sign, factor, last
        if measure == "per":
            sign = -1
        elif measure in TABLE["powers_before"]:
            factor = TABLE["powers_before"][measure]
        else:
            powers[measure] = powers.get(measure, 0) + sign * factor
            factor, last = 1, measure

    for token in _WORD.findall(_RATIO.sub(lambda m: TABLE["ratios"][m.group()], words.casefold())):
        singular = _singular(token)
        if token[0] == "^" or token in TABLE["powers_after"]:
            power = TABLE["powers_after"].get(token) or int(token.strip("^{}"))
            if last:
                powers[last] *= power
        elif token in MEASURES:
            put(MEASURES[token])
        elif not token.isascii():
            things.update(_unknown_chinese(token, put))
        elif singular not in FILLER and token not in FILLER:
            things.add(token if token in QUALIFIERS else singular)
    if factor != 1:
        powers["1"] = factor  # `15 square` without its unit
    return powers, frozenset(things)


def _qualifies(thing: str) -> bool:
    return thing in QUALIFIERS or (not thing.isascii() and any(word in thing for word in QUALIFIERS))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _unknown_chinese(token: str, put: Callable[[str], None]) -> list[str]:
    """The run of Chinese characters when it is more than filler and units; its units are put down."""
    rest = token
    while rest:
        for length in range(min(4, len(rest)), 0, -1):
            if rest[:length] in MEASURES:
                put(MEASURES[rest[:length]])
                break
            if rest[:length] in FILLER:
                break
        else:
            return [token]
        rest = rest[length:]
    return []
