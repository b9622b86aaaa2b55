r"""What is too large to be read or for symbolic algebra, and is refused before it is tried: long or deep
texts, power towers."""

import math
import re

DEEPEST = 60
"""Brackets inside brackets."""
MOST_LINKS = 40
r"""Of a chain in which each link holds the next, such as `1 \pmod{2} \pmod{3}`, `x \in y \in z` and `\text{it
is} \text{it is} 5`."""
MOST_POWERS = 200
MOST_DIGITS = 20_000
LARGEST_POWER_OF_A_SUM = 400
LARGEST_FACTORIAL = 3_000
_POWER = re.compile(r"(?<!\d)(\d+)\^(?:\{\(?(\d+)\)?\}|(\d))")
_SUM_POWER = re.compile(r"[)}]\^\{?(\d+)")
_LINK = re.compile(r"\\p?mod|\\bmod|\\in(?![a-z])|\\text\{\s*\([A-E]\)|(?:\b(?:is|are)|[:：为是])\s*\}")
_FACTORIAL = re.compile(r"(?<!\d)(\d+)\)?!")


def too_large(text: str, most_characters: int) -> str | None:
    """Why a text is not given to symbolic algebra, or None."""
    if len(text) > most_characters:
        return f"longer than {most_characters} characters"
    if cause := too_deep(text):
        return cause
    if any(int(n[:9]) > LARGEST_FACTORIAL for n in _FACTORIAL.findall(text)):
        return f"a factorial above {LARGEST_FACTORIAL}!"
    if any(int(n[:9]) > LARGEST_POWER_OF_A_SUM for n in _SUM_POWER.findall(text)):
        return f"an expression to a power above {LARGEST_POWER_OF_A_SUM}"
    return f"a number of more than {MOST_DIGITS} digits" if _tower(text) else None


def too_deep(text: str) -> str | None:
    """Why a text in its one spelling is not read at all, or None: reading and comparing take Python's stack
    for each level."""
    if sum(map(text.count, "({[")) > DEEPEST:
        depth = deepest = 0
        for character in text:
            depth += (character in "({[") - (character in ")}]")
            deepest = max(deepest, depth)
        if deepest > DEEPEST:
            return f"more than {DEEPEST} brackets deep"
    if text.count("\\") > MOST_LINKS and len(_LINK.findall(text)) > MOST_LINKS:
        return rf"more than {MOST_LINKS} links of \pmod, \in or words"
    return None


def _tower(text: str) -> bool:
    """True when some power of plain numbers has more than MOST_DIGITS digits, or there are many; innermost
    powers are worked out first."""
    for _ in range(MOST_POWERS):
        match = max(_POWER.finditer(text), key=re.Match.start, default=None)
        if match is None:
            return any(len(digits) > MOST_DIGITS for digits in re.findall(r"\d+", text))
        base, exponent = match.group(1), match.group(2) or match.group(3)
        if len(exponent) > 7:
            return True
        digits = math.ceil(int(exponent) * (math.log10(max(int(base[:15]), 1)) + len(base[15:])))
        if digits > MOST_DIGITS:
            return True
        power = "9" * digits if digits > 15 else str(int(base) ** int(exponent))  # longer ones are refused
        text = text[: match.start()] + power + text[match.end() :]
    return True
