r"""Words in an answer: units and things beside a number, and answers that are words.

A unit may be left off or added; another unit fails. `6 apples` and `6` agree, `5 cm` and `5 m` do not, `5 mW`
and `5 MW` do not, `5 kJ` and `5 kilojoules` do; no unit is converted into another (`100 cm` is not `1 m`).
Phrases that mean the same, days of the year and digits that are no arithmetic have one spelling. The table is
closed, no dictionary: other words are compared letter by letter.
"""

import re
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
"""Words and spellings of answers."""
_PHRASES = {phrase: re.compile(pattern) for phrase, pattern in TABLE["phrases"].items()}
_MONTHS = ("january february march april may june july august september october november december").split()  # noqa: SIM905
_MONTH = rf"(?P<month>{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in _MONTHS)}|sept)\.?"
_DAY = r"(?:the\s+)?(?P<day>\d{1,2})\s*(?:st|nd|rd|th)?"
_YEAR = r"(?:[\s,]+(?P<year>\d{4}))?"
_DATES = (
    re.compile(rf"{_MONTH}\s*{_DAY}{_YEAR}"),
    re.compile(rf"{_DAY}\s*(?:of\s+)?{_MONTH}{_YEAR}"),
    re.compile(r"(?:(?P<year>\d{4})年)?(?P<month>\d{1,2})月(?P<day>\d{1,2})[日号]"),
)
_LABEL = re.compile(r"\d+([-/.])\d+(?:\1\d+)+")
"""Three groups of digits or more, joined by one sign without spaces: a date, a version, a phone number, an
order; never `3/4` or `1.2`."""
_POINTED_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+")
_HAS_MONTH = re.compile(r"(?i)(?<![a-z\\])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)|月")
FILLER = frozenset(TABLE["filler"].split())
QUALIFIERS = frozenset(TABLE["qualifiers"].split())
"""Words that make another answer of the number beside them: `at least 5` is not 5."""
SYMBOLS: dict[str, str] = {}
"""Symbols of units, in which capitals count, and the one symbol of each."""
NAMES = {spelling: name for name, spellings in TABLE["units"].items() for spelling in spellings.split()}
"""Names of units in lower case, and abbreviations in which capitals do not count."""
_FOLDED: dict[str, set[str]] = {}
_TERMS = re.compile(rf"(?i)\b(?:{'|'.join(TABLE['terms'])})\b")
_WORD = re.compile(r"a\.m\.?|p\.m\.?|\\[A-Za-z]+|[^\W\d_]+|/|%|\^\{?-?\d\}?")
_SIGN = re.compile(r"\^\{\\circ\}|\\Omega|\\mu(?![a-z])\s*")
_SIGNS = {r"^{\circ}": " degree ", r"\Omega": "Ω", r"\mu": "µ"}
_PRODUCT = re.compile(r"(.*[WA])(h)|(.*N)(m)")
"""Symbols that are written without a space between them: `kWh`, `mAh`, `Nm`."""
_BARE = frozenset("cm mm km kg mg ml hz um".split())  # noqa: SIM905
"""Symbols of two letters that stand for a unit even outside `\\text`."""
_DEGREES = {"C": "celsius", "F": "fahrenheit"}
_NO_NOUNS = frozenset(("of", "in", "at"))


def _prefixed() -> None:
    """Fills the tables of symbols and names with those that have a prefix."""
    for symbol, (spellings, names, prefixes) in TABLE["prefixed"].items():
        allowed = TABLE["prefixes"] if prefixes == "all" else dict.fromkeys(prefixes.split(), "")
        for prefix, known in {"": ["", ""], **{p: TABLE["prefixes"][p] for p in allowed}}.items():
            for written in known[0].split() or [""]:
                SYMBOLS.update({written + one: prefix + symbol for one in spellings.split()})
            for name in names.split():
                NAMES.update({known[1] + name: prefix + symbol, known[1] + name + "s": prefix + symbol})
    SYMBOLS.update({one: name for name, row in TABLE["symbols"].items() for one in row.split()})
    for one, name in SYMBOLS.items():
        _FOLDED.setdefault(one.casefold(), set()).add(name)


_prefixed()


class Words(NamedTuple):
    """What stands beside a number."""

    measures: dict[str, int]
    """Units with their powers: `m / s^2` is m to 1 and s to -2."""
    things: frozenset[str]


def agree(gold: str, answer: str) -> bool:
    """True when the words beside two equal numbers name no different units or things."""
    if not gold and not answer:
        return True
    (gold_measures, gold_things), (answer_measures, answer_things) = _split(gold), _split(answer)
    if half_of_day(gold):
        return gold_measures == answer_measures
    if gold_measures and answer_measures and gold_measures != answer_measures:
        nameless = "unit" in gold_measures or "unit" in answer_measures
        return nameless and sorted(gold_measures.values()) == sorted(answer_measures.values())
    if bool(gold_measures) != bool(answer_measures):
        if bool(gold_things) != bool(answer_things) and bool(gold_measures) == bool(answer_things):
            return False  # 5 cm beside 5 apples
        if gold_things and answer_things and min((gold_measures | answer_measures).values()) < 0:
            return False  # 60 beats per minute beside 60 beats
    if any(_qualifies(thing) for thing in gold_things ^ answer_things):
        return False
    return gold_things <= answer_things or answer_things <= gold_things


def signs(text: str) -> str:
    """A text with its degree sign in words, and with the letters of units for their commands."""
    return text if "\\" not in text else _SIGN.sub(lambda m: _SIGNS[m.group().strip()], text)


def half_of_day(words: str) -> bool:
    """True for `a.m.`, `pm` and their like."""
    return re.search(r"(?i)\b[ap]\.?m\b|[上下]午", words) is not None


def order(words: str) -> list[str]:
    """The measures of a text as they follow each other."""
    return list(_split(words).measures)


def qualified(words: str) -> bool:
    """True for words that do not only lead to the number after them."""
    return any(map(_qualifies, _split(words).things))


def is_unit(word: str) -> bool:
    """True for a unit of two letters or more that is no product of variables, or of one Chinese character."""
    lower = word.casefold()
    return (lower in NAMES and (len(word) > 1 or not word.isascii())) or lower in _BARE


def measure(word: str) -> str | None:
    """The unit that a word names, by its exact spelling where other capitals make another unit."""
    if found := SYMBOLS.get(word) or NAMES.get(word.casefold()):
        return found
    folded = _FOLDED.get(word.casefold(), set())
    alike = len(folded) == 1 and (word.islower() or word.isupper()) and word != "k"  # 5k is 5,000
    return next(iter(folded)) if alike else None


def _split(words: str) -> Words:
    """The measures and other things of a text."""
    powers: dict[str, int] = {}
    things: set[str] = set()
    sign, factor, last = 1, 1, ""

    def put(unit: str) -> None:
        nonlocal sign, factor, last
        if unit == "per":
            sign = -1
        elif unit in TABLE["powers_before"]:
            factor = TABLE["powers_before"][unit]
        else:
            powers[unit] = powers.get(unit, 0) + sign * factor
            factor, last = 1, unit

    tokens = _WORD.findall(_TERMS.sub(lambda m: TABLE["terms"][m.group().casefold()], words))
    for token, after in pairwise([*tokens, ""]):
        lower = token.casefold()
        if token[0] == "^" or lower in TABLE["powers_after"]:
            if last:
                powers[last] *= TABLE["powers_after"].get(lower) or int(token.strip("^{}"))
        elif token[0] == "\\":
            continue
        elif token in {"A"} and after.isalpha() and not {after} & _NO_NOUNS and measure(after) is None:
            continue  # an article and no ampere
        elif token in _DEGREES and "degree" in powers:
            powers[_DEGREES[token]] = powers.pop("degree")
        elif unit := measure(token):
            put(unit)
        elif product := _PRODUCT.fullmatch(token):
            for part in filter(None, product.groups()):
                put(measure(part) or part)
        elif not token.isascii():
            things.update(_unknown_chinese(lower, put))
        elif not {lower, _singular(lower)} & FILLER:
            several = len(_FOLDED.get(lower, ())) > 1
            things.add(token if several else lower if lower in QUALIFIERS else _singular(lower))
    if "celsius" in powers or "fahrenheit" in powers:
        powers.pop("degree", None)
    if factor != 1:
        powers["1"] = factor  # `15 square` without its unit
    return Words(powers, frozenset(things))


def _qualifies(thing: str) -> bool:
    return thing in QUALIFIERS or (not thing.isascii() and any(word in thing for word in QUALIFIERS))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _unknown_chinese(token: str, put: Callable[[str], None]) -> list[str]:
    """The run of Chinese characters when it is more than filler and units; its units are put down."""
    rest = token
    while rest:
        for length in range(min(4, len(rest)), 0, -1):
            if rest[:length] in NAMES:
                put(NAMES[rest[:length]])
                break
            if rest[:length] in FILLER:
                break
        else:
            return [token]
        rest = rest[length:]
    return []


def is_label(text: str) -> bool:
    """True for digits that are joined to a text: `2019-03-01` is no difference, `1/2/2020` no quotient; `10 -
    3 - 2` is one."""
    return _LABEL.fullmatch(text) is not None and _POINTED_THOUSANDS.fullmatch(text) is None


def label(text: str) -> str:
    """The one spelling of joined digits: a date that begins with its year as `date` writes it, one that ends
    with it without zeros."""
    sign = next((sign for sign in "-/." if sign in text), "")
    groups = text.split(sign) if sign else []
    if len(groups) != 3 or not all(group.isdecimal() for group in groups):
        return text
    first, second, third = (int(group[:5]) for group in groups)
    if len(groups[0]) == 4 and len(groups[2]) < 3 and 1 <= second <= 12 and 1 <= third <= 31:
        return f"{_MONTHS[second - 1]} {third} {first}"
    return f"{first}{sign}{second}{sign}{third}" if len(groups[2]) == 4 and max(first, second) <= 31 else text


def no_solution(words: str) -> bool:
    """True for words that name the empty set of solutions."""
    return _PHRASES["no solution"].fullmatch(words.casefold()) is not None


def phrase(words: str) -> str:
    """The one spelling of a phrase."""
    words = words.casefold()
    return next((phrase for phrase, pattern in _PHRASES.items() if pattern.fullmatch(words)), words)


def date(text: str) -> str | None:
    """`june 20` for any way to write a day of the year, with the year where there is one; else None."""
    if not _HAS_MONTH.search(text):
        return None
    text = " ".join(re.sub(r"\\text|[{}^]", " ", text).casefold().strip(" .").split())
    match = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if match is None:
        return None
    written, day = match["month"], int(match["day"])
    month = int(written) if written.isdigit() else 1 + [name[:3] for name in _MONTHS].index(written[:3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{_MONTHS[month - 1]} {day}" + (f" {match['year']}" if match["year"] else "")
