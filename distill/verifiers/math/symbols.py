r"""What stands before the `=` of an answer: a variable, a function, or a quantity that a problem asks the
value of.

Quantities are sums, products and ratios of several letters, values of functions, combined sets, integrals,
extremes. An equation that is still to be solved (`2x = 10`, `x^{2} = 9`) begins with none of these, and is no
value.
"""

import re

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
