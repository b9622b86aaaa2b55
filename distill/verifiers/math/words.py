"""Answers that are words: one spelling for phrases that mean the same, for days of the year, and for digits
that are no arithmetic.

A closed list, not a dictionary: other words are compared letter by letter.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

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
    return (
        sign.join(map(str, (first, second, third)))
        if len(groups[2]) == 4 and max(first, second) <= 31
        else text
    )


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
    month = (
        int(match["month"])
        if match["month"].isdigit()
        else 1 + [name[:3] for name in _MONTHS].index(match["month"][:3])
    )
    if not (1 <= month <= 12 and 1 <= int(match["day"]) <= 31):
        return None
    return f"{_MONTHS[month - 1]} {int(match['day'])}" + (f" {match['year']}" if match["year"] else "")
