r"""Comparing two answers with symbolic algebra: what a worker process runs, under its limits.

Leaves are first compared by value: numbers to more digits than their texts have, expressions with variables
at fixed points. Only what has no value (equations, inequalities, sets) is left to `math_verify.verify`, whose
rounding to six decimals would accept different numbers. Decimals are turned into exact fractions before they
are parsed. This module may hang or run out of memory: it is never called in the process that judges.

Sets of real numbers that are written with unions, intersections and differences are compared by their
elements. Only sets whose ends and elements are numbers are; sets with a parameter are equal here when they
are written alike.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from distill.verifiers.math import parse
from distill.verifiers.math.compare import RELATIONS, by_spelling, tolerance
from distill.verifiers.math.tree import SET_OPERATORS, Group, Leaf, Node, Shape, whole

_NUMBERS = (
    "1.37 0.83 2.19 0.77 3.3 1.61 2.9 1.1 0.63 -0.71 1.93 -1.27 0.41 -2.3 3.7 -3.1 -0.57 0.29 5.3 4.1 -0.9"
)
POINTS = list(zip(*[iter(_NUMBERS.split())] * 3, strict=True))
"""Values for variables: positive and negative, none an integer or a root of anything usual."""
_PRODUCT = re.compile(r"(?<![_\d])\d+(?=\()|\\pi(?=\()|[)\]](?=[(\[\d]|\\frac|\\sqrt|\\pi)")
"""Where a product sign is missing between numbers: the parser takes `2(3)` for the mixed number 2 + 3."""
_BEFORE_FRACTION = re.compile(r"(?<=[}!])(?=\\frac)")
"""The same for fractions: the parser adds one to a whole number before it, as in `2^{3}\\frac{1}{2}`."""
_FUNCTION = re.compile(r"\\[A-Za-z]+(?:[_^](?:\{[^{}]*\}|\w))*$")
_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)")
EQUATION_DIGITS = 60
LIKELY_INTEGERS = ("3", "4", "7")
MOST_INTEGERS = 1000
Value = Callable[[str], Any]


class UnparsedError(Exception):
    """A text that symbolic algebra does not understand; `side` is reference or answer."""

    def __init__(self, side: str, text: str) -> None:
        super().__init__(text)
        self.side = side


def judge(reference: str, answer: str, strict: bool) -> tuple[str, str]:
    """(outcome, detail) for two written answers; `strict` asks for a parse even where spellings are equal."""
    gold = parse.read(reference)
    try:
        for leaf in parse.leaves(gold) if strict else ():
            if leaf.text and by_spelling(leaf, leaf, trust_equal_texts=False) is None:
                _parse(leaf.text, "reference")
        same = parse.compare(gold, parse.read(answer), _compare, _same_set)
    except UnparsedError as unparsed:
        return f"unparsed_{unparsed.side}", f"cannot read {str(unparsed)[:200]!r}"
    if same is None:
        return "error", "the two forms cannot be compared"
    return ("correct", "") if same else ("wrong", "")


def _compare(gold: Leaf, answer: Leaf) -> bool:
    from sympy import pi

    decided = by_spelling(gold, answer)
    if decided is not None:
        return decided
    gold_text, answer_text = gold.text, answer.text
    if bool(gold.name) != bool(answer.name) and RELATIONS.search(gold_text + answer_text):
        gold_text, answer_text = whole(gold).text, whole(answer).text
    left, right = _parse(gold_text, "reference"), _parse(_in_words_of(gold_text, answer_text), "answer")
    digits = 60 + len(gold_text) + len(answer_text)
    if gold.percent != answer.percent:
        left, right = (left / 100 if gold.percent else left), (right / 100 if answer.percent else right)
    one_in_degrees = "degree" in gold.words + answer.words and not (gold.words and answer.words)
    if one_in_degrees and r"\pi" in gold_text + answer_text:
        left, right = (left * pi / 180 if gold.words else left), (right * pi / 180 if answer.words else right)
    allowed = tolerance(gold, answer)
    if allowed is not None and _is_number(left) and _is_number(right):
        return bool(abs((left - right).evalf(30)) <= allowed)
    by_value = _equal_by_value(left, right, digits)
    return _verify(left, right) if by_value is None else by_value


def _same_set(gold: Group, answer: Group) -> bool:
    """Whether two sets of numbers are the same."""
    known: list[Any] = []

    def endpoint(text: str) -> Any:
        """The number that an element or an end of an interval stands for, one object for equal ones; None for
        what is no number."""
        value = _parsed(text)
        if not _is_number(value):
            return None
        known.append(value.doit())
        return next(
            number
            for number in known
            if number == known[-1] or _close(number, known[-1], EQUATION_DIGITS + len(text))
        )

    first, second = _set(gold, endpoint), _set(answer, endpoint)
    known_sets = first is not None and second is not None
    return known_sets and bool(first == second or first.symmetric_difference(second).is_empty)


def _set(node: Node, value: Value) -> Any:
    """The sympy set of a node, or None when an end or element is no number."""
    import sympy

    named = {r"\emptyset": sympy.EmptySet, r"\mathbb{Z}": sympy.Integers, r"\mathbb{R}": sympy.Reals}
    if isinstance(node, Leaf):
        return named.get(node.text)
    if node.left in SET_OPERATORS:
        return _set_operation(node.left, [_set(item, value) for item in node.items])
    ends: list[Any] = [
        value(item.text) if isinstance(item, Leaf) and item.text and not item.words else None
        for item in node.items
    ]
    if any(end is None or not end.is_extended_real for end in ends) or node.columns:
        return None
    if node.left in (r"\{", ""):
        return sympy.FiniteSet(*ends)
    closed = [end for end, side in zip(ends, (node.left, node.right), strict=False) if side in ("[", "]")]
    if node.left in ("(", "[") and len(ends) == 2 and not any(end.is_infinite for end in closed):
        return sympy.Interval(*ends, left_open=node.left == "(", right_open=node.right == ")")
    return None


def _set_operation(operator: str, operands: list[Any]) -> Any:
    """The union, difference or intersection of sets; joined inequalities that exclude each other are a
    union."""
    import sympy

    if any(operand is None for operand in operands):
        return None
    if operator == Shape.UNION:
        return sympy.Union(*operands)
    if operator == Shape.DIFFERENCE:
        return operands[0] - sympy.Union(*operands[1:])
    common = sympy.Intersection(*operands)
    if isinstance(common, sympy.Range) and common.size <= MOST_INTEGERS:
        return sympy.FiniteSet(*common)
    return sympy.Union(*operands) if operator == Shape.JOINED and common.is_empty else common


def _in_words_of(gold: str, answer: str) -> str:
    r"""The answer with the reference's constant of integration, and with `\ln` for a bare `\log` where the
    reference has `\ln`."""
    if r"\ln" in gold and r"\ln" not in answer:
        answer = re.sub(r"\\log(?![A-Za-z_])", r"\\ln", answer)
    constant = re.search(r"(?<=\+)(?:([cKk])|C_\{?\w\}?)$", answer) if gold.endswith("+C") else None
    rest = answer[: constant.start()] if constant else ""
    used = constant and (constant[1] or "C") in re.sub(r"\\[A-Za-z]+", "", gold[:-1] + rest)
    return rest + "C" if constant and not used else answer


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """The expression that a text stands for, with decimals as exact fractions; None when it is unreadable."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    if re.search(r"\d \d", text) or re.search(r"\\[lc]?dots|\.\.\.|…", text):
        return None  # two numbers side by side are no product, and three dots stand for anything
    text = re.sub(r"(\d{1,3})!!(?!!)", lambda m: str(math.prod(range(int(m.group(1)), 0, -2))), text)
    if "!!" in text or re.search(r"\\frac\{[^{}]*\}\{0+\}|/0(?![\d.])", text):
        return None
    text = re.sub(r"(\d+(?:\.\d+)?)\^\{\\circ\}", r"(\\frac{\1\\pi}{180})", text)
    text = _BEFORE_FRACTION.sub(lambda m: "" if _FUNCTION.search(text, 0, m.start()) else r"\cdot ", text)
    text = _PRODUCT.sub(lambda m: m.group() + r"\cdot ", text)
    exact = _DECIMAL.sub(lambda m: rf"\frac{{{m[1]}{m[2]}}}{{1{'0' * len(m[2])}}}", text)
    spelling = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
    )
    letters = ConversionConfig(lowercase_symbols=False)
    try:
        return latex2sympy(exact, is_real=True, normalization_config=spelling, conversion_config=letters)
    except MemoryError:
        raise
    except Exception:  # the parser raises many types; each of them means that the text is not understood
        return None


def _parse(text: str, side: str) -> Any:
    parsed = _parsed(text)
    if parsed is None or isinstance(parsed, str):
        raise UnparsedError(side, text)
    return parsed


def _is_number(value: Any) -> bool:
    return bool(getattr(value, "is_number", False)) and not getattr(value, "is_Relational", False)


def _equal_by_value(left: Any, right: Any, digits: int) -> bool | None:
    """Equality of two expressions by their values; None when they have none to compare."""
    import sympy

    if not (isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr)):
        return None
    imaginary = {symbol: sympy.I for symbol in left.free_symbols | right.free_symbols if str(symbol) == "i"}
    left, right = left.subs(imaginary), right.subs(imaginary)
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    unknown = sympy.core.function.AppliedUndef
    if left.atoms(unknown) or right.atoms(unknown) or len(symbols) > 26:
        return None
    if not symbols:
        return _close(left, right, digits)
    points = [
        [sympy.Rational(row[i % 3]) * (1 + sympy.Rational(i // 3, 7)) for i in range(len(symbols))]
        for row in POINTS
    ]
    points.append([sympy.Integer(LIKELY_INTEGERS[i % 3]) + i // 3 for i in range(len(symbols))])
    if any(side.has(sympy.Sum, sympy.Product) for side in (left, right)):  # a number of terms is whole
        points = [[sympy.Integer(n + i) for i in range(len(symbols))] for n in range(2, 9)]
    one_has_bars = left.has(sympy.Abs) != right.has(sympy.Abs)
    agreeing = 0
    for point in points:
        values = dict(zip(symbols, point, strict=True))
        sides = left.subs(values), right.subs(values)
        close = _close(*sides, digits, complex_too=bool(imaginary))
        if close is None and one_has_bars:  # written for the points that have no value without them
            close = None if len({bool(side.doit().evalf(20).is_real) for side in sides}) == 1 else False
        if close is False:
            return False
        agreeing += close is True
    return True if agreeing >= 3 else None


def _close(left: Any, right: Any, digits: int, complex_too: bool = True) -> bool | None:
    """Equality of two numbers to so many digits; None when one has no finite (or no real) value."""
    import sympy

    left, right = sympy.real_root(left.doit()), sympy.real_root(right.doit())
    if left.is_Rational and right.is_Rational:
        return bool(left == right)
    if left.is_infinite or right.is_infinite:
        return bool(left == right)
    first, second = left.evalf(digits, maxn=4 * digits), right.evalf(digits, maxn=4 * digits)
    numbers = [part for value in (first, second) for part in value.as_real_imag()]
    if not all(isinstance(part, (sympy.Float, sympy.Rational)) and part.is_finite for part in numbers):
        return None
    if not complex_too and any(abs(part) > 1e-30 for part in numbers[1::2]):
        return None  # outside the domain of one of them
    scale = max(abs(part) for part in numbers)
    if scale < 10**300:
        scale = max(abs(complex(first)), abs(complex(second)))
    difference = max(abs(numbers[0] - numbers[2]), abs(numbers[1] - numbers[3]))
    return bool(difference <= scale * sympy.Float(10, 30) ** (8 - digits))


def _verify(left: Any, right: Any) -> bool:
    from math_verify import verify
    from sympy import fraction, together
    from sympy.core.relational import Equality, Relational, Unequality

    if isinstance(left, Relational) != isinstance(right, Relational):
        return False  # an equation is no value: 2x = 4 is not 4
    if isinstance(left, Relational) and not isinstance(left, (Equality, Unequality)):
        if isinstance(right, (Equality, Unequality)) or ("=" in left.rel_op) != ("=" in right.rel_op):
            return False
        factor = _factor(left.lts - left.gts, right.lts - right.gts)  # with all on the smaller side
        return factor is not None and bool(factor > 0)
    if isinstance(left, Equality) and isinstance(right, Equality):
        first, second = (fraction(together(side.lhs - side.rhs))[0] for side in (left, right))
        if _factor(first, second) is not None:
            return True
    return bool(verify([left], [right], timeout_seconds=None))


def _factor(first: Any, second: Any) -> Any:
    """The number that one expression is times the other at all points, or None."""
    import sympy

    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    if len(symbols) > len(POINTS[0]) or not all(isinstance(side, sympy.Expr) for side in (first, second)):
        return None
    values = [dict(zip(symbols, map(sympy.Rational, row), strict=False)) for row in POINTS]
    pairs = [(first.subs(value), second.subs(value)) for value in values]
    one, other = pairs[0]
    if one == 0 or other == 0 or not all(_close(one * b, other * a, EQUATION_DIGITS) for a, b in pairs):
        return None
    return (one / other).evalf(30)
