r"""Plain numbers as exact fractions: integers, decimals, fractions, mixed and repeating numbers, powers of
ten.

What is not plain (`\sqrt{2}`, `2^{100}`) is None here and left to symbolic algebra.
"""

import re
from fractions import Fraction
from functools import lru_cache

LARGEST_EXPONENT = 400
MOST_CHARACTERS = 4300
"""Python refuses to read longer integers."""
_INTEGER = r"\d+"
_DECIMAL = r"(?:\d+\.\d*|\.\d+|\d+)"
_PATTERNS = (
    ("decimal", re.compile(rf"({_DECIMAL})")),
    (
        "fraction",
        re.compile(rf"\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL})"),
    ),
    (
        "mixed",
        re.compile(
            rf"({_INTEGER})\\frac\{{({_INTEGER})\}}\{{({_INTEGER})\}}|({_INTEGER}) ({_INTEGER})/({_INTEGER})"
        ),
    ),
    ("repeating", re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\{(\d+)\}")),
    (
        "scientific",
        re.compile(
            rf"({_DECIMAL})(?:\\times|\\cdot|\*)10\^\{{([+-]?\d{{1,4}})\}}|({_DECIMAL})[eE]([+-]?\d{{1,4}})"
        ),
    ),
    ("power of ten", re.compile(r"10\^\{([+-]?\d{1,4})\}")),
)
_WRITTEN = re.compile(r"[+-]?(\d*)(?:\.(\d+))?(?:(?:\\times|\\cdot)10\^\{([+-]?\d{1,4})\})?")


@lru_cache(maxsize=8192)
def plain(text: str) -> Fraction | None:
    """The value of a plain number in canonical spelling, or None."""
    if len(text) > MOST_CHARACTERS:
        return None
    sign = 1
    while text[:1] in ("+", "-") and text:
        sign, text = (-sign if text[0] == "-" else sign), text[1:]
    for form, pattern in _PATTERNS:
        if match := pattern.fullmatch(text):
            value = _value(form, [group for group in match.groups() if group is not None])
            return None if value is None else sign * value
    return None


def decimals(text: str) -> int | None:
    """Digits after the point of a plain decimal number; None for other texts."""
    match = re.fullmatch(r"[+-]?\d*\.(\d+)", text)
    return len(match.group(1)) if match else None


def last_place(text: str) -> Fraction | None:
    """What a unit in the last written place of a decimal, scientific or whole number is worth; else None."""
    match = _WRITTEN.fullmatch(text)
    if match is None or abs(int(match[3] or 0)) > LARGEST_EXPONENT:
        return None
    zeros = len(match[1]) - len(match[1].rstrip("0")) if match[2] is None else 0
    return Fraction(10) ** (int(match[3] or 0) + zeros - len(match[2] or ""))


def based(text: str) -> tuple[str, str] | None:
    """(digits, base) of a number such as `1011_2`; base 10 is None, like a number without base."""
    match = re.fullmatch(r"[(]?(-?[0-9A-Fa-f.]+)[)]?_\{?(\d+)\}?", text)
    return (match.group(1).upper(), match.group(2)) if match else None


def _value(form: str, groups: list[str]) -> Fraction | None:
    match form, groups:
        case "decimal", [number]:
            return Fraction(number)
        case "fraction", [above, below]:
            return Fraction(above) / Fraction(below) if Fraction(below) else None
        case "mixed", [whole, above, below]:
            return int(whole) + Fraction(int(above), int(below)) if int(below) else None
        case "repeating", [whole, fixed, repeated]:
            shift, period = 10 ** len(fixed), 10 ** len(repeated) - 1
            return Fraction(int((whole + fixed) or 0), shift) + Fraction(int(repeated), shift * period)
        case "scientific", [number, exponent] if abs(int(exponent)) <= LARGEST_EXPONENT:
            return Fraction(number) * Fraction(10) ** int(exponent)
        case "power of ten", [exponent] if abs(int(exponent)) <= LARGEST_EXPONENT:
            return Fraction(10) ** int(exponent)
    return None
