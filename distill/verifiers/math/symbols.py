r"""What stands before the `=` of an answer: a variable, a function, or a quantity that a problem asks the
value of.

Quantities are sums, products and ratios of several letters, values of functions, combined sets, integrals,
extremes. An equation that is still to be solved (`2x = 10`, `x^{2} = 9`) begins with none of these, and is no
value.

Labels of an answer's parts are here too: `\text{Ann: } 3, \text{Ben: } 5`, `(a) 3, (b) 5`, and what says that
a list is in order. A label is found only where every part has one and no two are the same.
"""

import re
from collections.abc import Sequence

from distill.verifiers.math.normalise import split_at

_INDEX = r"(?:_(?:\w|\{[^{}]*\}))?"
NAME = (
    rf"(?:\\?[A-Za-z]+(?:\^\{{-1\}})?{_INDEX}'*(?:\([A-Za-z](?:,[A-Za-z])*\))?|m?\\(?:angle|triangle)\s*[A-Z]+"
    r"|\(\\?[a-z]+(?:,\\?[a-z]+)+\)|P\([^()]*\)|\|[A-Z]{2}\||\\(?:overline|vec)\{[A-Za-z]{1,2}\}"
    r"|\\(?:sin|cos|tan|cot)(?:\^\{2\})?\s*\d?(?:\\angle)?\s*(?:[A-Z]{1,3}|\\[a-z]+|\([-+A-Z]+\)))"
)
_FIGURE = rf"(?:[A-Za-z]|\\(?:alpha|beta|gamma|theta|lambda|omega)){_INDEX}(?:\^\{{\d\}})?"
_TERM = rf"\d*(?:{_FIGURE})+"
_SUM = re.compile(rf"-?{_TERM}(?:[-+/:]{_TERM})+|\\frac\{{{_TERM}\}}\{{{_TERM}\}}")
_LETTER = re.compile(rf"[A-Za-z]{_INDEX}")
_SET = r"[()]*(?:(?:\\complement_|C_)[A-Z] ?)?[A-Z][()]*"
_QUANTITY = re.compile(
    rf"{_SET}(?:\\(?:cap|cup|setminus) ?{_SET})+"
    rf"|[A-Za-z]{_INDEX}'*\((?:[-+\d.,/{{}}()^ ]|\\[a-z]+|[fgh]\()+\)|[A-Z][a-z]{{0,2}}[(\[][^][=]*[)\]]"
    r"|\|(?:[A-Zz]|\\(?:vec|overline)\{[A-Za-z]+\}|\\(?:cap|cup) "
    r"?|[-+])+\||\\(?:sum|prod|int|lim|max|min|gcd|sup|inf|det)(?![a-z]).*",
    re.DOTALL,
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_CONSTANTS = frozenset((r"\pi", r"\infty", r"\emptyset"))
_NAMED = re.compile(
    r"\\text\{([^{}]*)\}\s*([:：=]?)\s*(\S.*)|([A-Za-z ]{3,40})\s?([:：=])\s*(\S.*)", re.DOTALL
)
_LEADS = re.compile(r"[:：]$|(?<=\s)(?:is|are)$")
_PART = re.compile(
    r"(?:\\text\{\s*)?(?:[Pp]art\s*)?\(([a-h]|i{1,3}|iv|v|[1-9])\)\s*:?\s*(?:\}\s*|(?<=[\s:}]))(\S.*)",
    re.DOTALL,
)
_SERIES = ("abcdefgh", "123456789", ("i", "ii", "iii", "iv", "v"))
_IN_ORDER = re.compile(
    r"(?:\\text\{[\s,(]{0,9}|\()?(?:respectively|in (?:that|this|the given) order)[\s.)]{0,9}\}?$"
)


def variable(text: str) -> bool:
    """True for the name of a variable."""
    return re.fullmatch(r"\\?[A-Za-z]+(?:_\{?\w\}?)?", text) is not None and text not in _CONSTANTS


def named_sum(text: str) -> bool:
    """True for `m+n` and `a:b`, but not for `x+y`, which with a value is the equation of a line."""
    letters = set(_LETTER.findall(text.replace("frac", ""))) if len(text) > 2 and _SUM.fullmatch(text) else ()
    return len(letters) > 1 and (":" in text or not set("xyz").issuperset(letters))


def quantity(text: str) -> bool:
    """True for what a problem asks the value of."""
    return named_sum(text) or _QUANTITY.fullmatch(text) is not None


def numeric(text: str) -> bool:
    """True for a side of an equation with digits and without letters other than those of commands."""
    bare = _COMMAND.sub("", re.sub(r"\\text\{[^{}]*\}", "", text))
    return any(map(str.isdigit, bare)) and not any(letter.isascii() and letter.isalpha() for letter in bare)


def labelled(parts: Sequence[str]) -> list[tuple[str, str]] | None:
    """(label, value) of each part, or None."""
    if len(parts) < 2:
        return None
    numbered = [(match[1], match[2]) for part in parts if (match := _PART.fullmatch(part.strip()))]
    in_words = [pair for part in parts if (pair := _named(part.strip()))]
    for found, series in ((numbered, _SERIES), (in_words, ())):
        labels = [label for label, _ in found]
        in_series = not series or any(labels == list(one[: len(labels)]) for one in series)
        if len(set(labels)) == len(parts) and in_series:
            return [(rf"\text{{{label}}}", value) for label, value in found]
    return None


def _named(text: str) -> tuple[str, str] | None:
    match = _NAMED.fullmatch(text)
    if match is None:
        return None
    written, sign, value = (match[group] or match[group + 3] for group in (1, 2, 3))
    label = _LEADS.sub("", (written or "").strip())
    if not (sign or label != (written or "").strip()) or not re.search(r"[^\W\d_]", label):
        return None
    if match[4] and not re.search(r"[a-z]{2}", label):
        return None  # AB = 3 and AB:CD are no words
    return " ".join(label.casefold().removeprefix("the ").split()), value


def in_order(text: str) -> str:
    """`3, 5 respectively` as a tuple; another text as it is."""
    ending = _IN_ORDER.search(text) if "respectively" in text or " order" in text else None
    head = text[: ending.start()] if ending else ""
    if not ending or head.count("{") != head.count("}"):
        return text
    parts = split_at(head.rstrip(" ,"), ",", r"\text{and}")
    return f"({','.join(part.strip() for part in parts)})" if len(parts) > 1 else head
