r"""The values of simple expressions, without symbolic algebra: `\frac{3+\sqrt{2}}{2}`, `x^{2}-4x+1`, `12\pi`.

What is read: numbers, single letters, `\pi`, sums, products, quotients, roots and whole powers. Everything
else, and what could be read in two ways (`1/2x`, `2\frac{x}{3}`, `f(x)`), has no value here and is left to
symbolic algebra. Expressions are equal when they agree to more digits than their texts could hide a
difference in, letters being put at fixed points, which is how symbolic algebra is asked too.
"""

import re
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext

from distill.verifiers.math.compare import by_spelling, tolerance
from distill.verifiers.math.tree import Leaf

LONGEST_TEXT = 100
SPARE_DIGITS = 20
"""Beyond those compared: a smaller difference is no equality, a larger one is no rounding."""
SMALLEST_DIVISOR = Decimal("1e-6")
"""Of quotients and of roots: near zero both make large errors of small ones."""
ARITHMETIC = Context(prec=320, Emax=30, traps=[Overflow, DivisionByZero, InvalidOperation])
"""Digits for two texts of the longest kind and for what cancellation within the largest value can spoil."""
POINTS = [Decimal(point) for point in "1.37 0.83 2.19 0.77 3.3 -0.71 -1.93 5.3".split()]  # noqa: SIM905
MOST_LETTERS = 4
PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651"
    "328230664709384460955058223172535940812848111745028410270193852110555964462294895493038196442881097566593344612847"
    "564823378678316527120190914564856692346034861045432664821339360726024914127372458700660631558817488152092096282925"
)
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|[A-Za-z]|[-+*/^(){}])")
_OTHER_MEANINGS = frozenset("eEiIdDOSNQC")
"""Letters that stand for constants, differentials or functions in some readings."""


class NoValueError(ArithmeticError):
    """The text, or its value at a point, is outside what is read here."""


def compare(gold: Leaf, answer: Leaf) -> bool | None:
    """True or False where spelling, plain numbers or values decide, else None."""
    decided = by_spelling(gold, answer)
    in_percent_or_degrees = gold.percent or answer.percent or "degree" in gold.words + answer.words
    if decided is not None or in_percent_or_degrees or tolerance(gold, answer) is not None:
        return decided
    try:
        with localcontext(ARITHMETIC):
            return _equal(gold.text, answer.text)
    except ArithmeticError:
        return None


def _equal(gold: str, answer: str) -> bool:
    """Equality of two expressions at all points; raises ArithmeticError where that decides nothing."""
    first, second = _tokens(gold), _tokens(answer)
    letters = sorted({symbol for symbol in first + second if symbol.isalpha()})
    if len(letters) > MOST_LETTERS:
        raise NoValueError
    digits = 60 + len(gold) + len(answer)
    for shift in range(len(POINTS) if letters else 1):
        at = {letter: POINTS[(shift + 3 * n) % len(POINTS)] + n for n, letter in enumerate(letters)}
        difference = abs(_Reading(first, at).sum("") - _Reading(second, at).sum(""))
        if difference > Decimal(10) ** (SPARE_DIGITS - digits):
            return False
        if difference > Decimal(10) ** -digits:
            raise NoValueError
    return True


def _tokens(text: str) -> list[str]:
    """Numbers, commands, letters and signs; raises NoValueError for others."""
    found = _TOKEN.findall(text) if len(text) <= LONGEST_TEXT else []
    if len("".join(found)) != len(text.replace(" ", "")) or _OTHER_MEANINGS.intersection(found):
        raise NoValueError
    return found


class _Reading:
    """One reading of tokens from left to right, letters being numbers."""

    def __init__(self, tokens: list[str], at: dict[str, Decimal]) -> None:
        self.tokens, self.at, self.position = [*tokens, ""], at, 0

    def sum(self, closing: str) -> Decimal:
        """The value of all up to a closing bracket."""
        total = Decimal(0)
        sign = self._accept("+", "-") or "+"
        while sign:
            term = self._product()
            total = total + term if sign == "+" else total - term
            sign = self._accept("+", "-")
        self._expect(closing)
        return total

    def _product(self) -> Decimal:
        value, divided = self._power(), False
        while (symbol := self.tokens[self.position]) not in ("+", "-", ")", "}", ""):
            if self._accept("/"):
                value, divided = _quotient(value, self._power()), True
            elif self._accept("*", r"\cdot", r"\times"):
                value *= self._power()
            else:
                mixed = symbol == r"\frac" and self.tokens[self.position - 1][0].isdecimal()
                if divided or symbol[0].isdecimal() or mixed:
                    raise NoValueError  # 1/2x, x2, and a mixed number
                value *= self._power()
        return value

    def _power(self) -> Decimal:
        value = self._atom()
        if not self._accept("^"):
            return value
        self._expect("{")
        sign, exponent = self._accept("-"), self._next()
        self._expect("}")
        if not exponent.isdecimal() or len(exponent) > 3 or self.tokens[self.position] == "^":
            raise NoValueError
        power = value ** int(exponent)
        return _quotient(Decimal(1), power) if sign else power

    def _atom(self) -> Decimal:
        symbol = self._next()
        if symbol[0] in ".0123456789":
            return +Decimal(symbol)
        if symbol in self.at and (self.tokens[self.position] != "(" or symbol in "xyz"):  # else f(x)
            return self.at[symbol]
        match symbol:
            case r"\pi":
                return PI
            case "(" | "{":
                return self.sum(")" if symbol == "(" else "}")
            case r"\sqrt" if self._accept("{") and (radicand := self.sum("}")) >= SMALLEST_DIVISOR:
                return radicand.sqrt()
            case r"\frac" if self._accept("{"):
                above = self.sum("}")
                self._expect("{")
                value = _quotient(above, self.sum("}"))
                if self.tokens[self.position] != "^":
                    return value
        raise NoValueError

    def _next(self) -> str:
        if not (symbol := self.tokens[self.position]):
            raise NoValueError
        self.position += 1
        return symbol

    def _accept(self, *wanted: str) -> str:
        symbol = self.tokens[self.position]
        self.position += symbol in wanted
        return symbol if symbol in wanted else ""

    def _expect(self, wanted: str) -> None:
        if self.tokens[self.position] != wanted:
            raise NoValueError
        self.position += 1


def _quotient(above: Decimal, below: Decimal) -> Decimal:
    if abs(below) < SMALLEST_DIVISOR:
        raise NoValueError
    return above / below
