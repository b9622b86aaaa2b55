r"""The values of simple expressions, without symbolic algebra: `\frac{3+\sqrt{2}}{2}`, `x^{2}-4x+1`, `12\pi`.

What is read: numbers, single letters, `\pi`, sums, products, quotients, roots and whole powers. Everything else, and
whatever could be read in two ways (`1/2x`, `2\frac{x}{3}`, `f(x)`), is no value here and is left to symbolic algebra.
Expressions are equal when they agree to more digits than their texts could hide a difference in, letters being put at
fixed points, which is how symbolic algebra is asked too. Nothing here can hang: texts are short, powers and depth bounded.
"""

import re
from decimal import Context, Decimal
from functools import cache, lru_cache

from distill.verifiers.math.compare import by_spelling, tolerance
from distill.verifiers.math.tree import Leaf

LONGEST_TEXT = 200
DEEPEST = 12
LARGEST_EXPONENT = 40
LARGEST_VALUE = Decimal(10) ** 30
SMALLEST_DIVISOR = Decimal(10) ** -6
"""Of quotients and of roots: near zero both make large errors of small ones."""
GUARD_DIGITS = 40
"""Digits beyond those compared: what rounding, cancellation and powers within the bounds above can spoil."""
POINTS = ("1.37", "0.83", "2.19", "0.77", "3.3", "-0.71", "-1.93", "5.3")
MOST_LETTERS = 4
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|[A-Za-z]|[-+*/^(){}])")
_OTHER_MEANINGS = frozenset("eEiIdDOSNQC")
"""Letters that stand for constants, differentials or functions in some readings."""


class NoValueError(Exception):
    """The text, or its value at a point, is outside what is read here."""


def compare(gold: Leaf, answer: Leaf) -> bool | None:
    """True or False where spelling, plain numbers or values decide, else None."""
    decided = by_spelling(gold, answer)
    if (
        decided is not None
        or gold.percent
        or answer.percent
        or "degree" in gold.words + answer.words
        or tolerance(gold, answer) is not None
    ):
        return decided
    try:
        return _equal(gold.text, answer.text)
    except NoValueError:
        return None


def _equal(gold: str, answer: str) -> bool:
    """Equality of two expressions at all points; raises NoValueError where that decides nothing."""
    digits = 60 + len(gold) + len(answer)
    arithmetic = Context(prec=digits + GUARD_DIGITS, Emax=10**6, Emin=-(10**6))
    first, second = _tokens(gold), _tokens(answer)
    letters = sorted({symbol for symbol in first + second if symbol.isalpha()})
    if len(letters) > MOST_LETTERS:
        raise NoValueError
    for shift in range(len(POINTS) if letters else 1):
        at = {letter: Decimal(POINTS[(shift + 3 * n) % len(POINTS)]) + n for n, letter in enumerate(letters)}
        left, right = Reading(first, at, arithmetic), Reading(second, at, arithmetic)
        difference = arithmetic.subtract(left.value, right.value).copy_abs()
        scale = max(left.largest, right.largest)
        if difference > scale.scaleb(GUARD_DIGITS // 2 - digits, arithmetic):
            return False
        if difference > scale.scaleb(-digits, arithmetic):
            raise NoValueError
    return True


@lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[str, ...]:
    """Numbers, commands, letters and signs; raises NoValueError for others and for what has several readings."""
    if len(text) > LONGEST_TEXT:
        raise NoValueError
    found = [match.group(1) for match in _TOKEN.finditer(text)]
    if len("".join(found)) != len(text.replace(" ", "")) or _OTHER_MEANINGS.intersection(found):
        raise NoValueError
    return tuple(found)


class Reading:
    """One reading of tokens from left to right, with its value and the largest value on the way."""

    def __init__(self, tokens: tuple[str, ...], at: dict[str, Decimal], arithmetic: Context) -> None:
        self.tokens, self.at, self.arithmetic = (*tokens, ""), at, arithmetic
        self.position = self.depth = 0
        self.largest = Decimal(1)
        self.value = self._sum()
        self._expect("")

    def _sum(self) -> Decimal:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NoValueError
        total = Decimal(0)
        sign = self._accept("+", "-") or "+"
        while sign:
            term = self._product()
            total = self._kept(self.arithmetic.add(total, term if sign == "+" else term.copy_negate()))
            sign = self._accept("+", "-")
        self.depth -= 1
        return total

    def _product(self) -> Decimal:
        value = self._power()
        divided = False
        while (symbol := self.tokens[self.position]) not in ("+", "-", ")", "}", ""):
            if symbol == "/":
                self.position += 1
                value, divided = self._quotient(value, self._power()), True
            elif self._accept("*", r"\cdot", r"\times"):
                value = self._kept(self.arithmetic.multiply(value, self._power()))
            elif divided or symbol[:1].isdecimal() or (symbol == r"\frac" and self.tokens[self.position - 1][:1].isdecimal()):
                raise NoValueError  # 1/2x, x2, and a mixed number
            else:
                value = self._kept(self.arithmetic.multiply(value, self._power()))
        return value

    def _power(self) -> Decimal:
        value = self._atom()
        if not self._accept("^"):
            return value
        self._expect("{")
        sign = self._accept("-")
        exponent = self._next()
        self._expect("}")
        if not exponent.isdecimal() or len(exponent) > 3 or int(exponent) > LARGEST_EXPONENT or self.tokens[self.position] == "^":
            raise NoValueError
        power = Decimal(1)
        for _ in range(int(exponent)):
            power = self._kept(self.arithmetic.multiply(power, value))
        return self._quotient(Decimal(1), power) if sign else power

    def _atom(self) -> Decimal:
        symbol = self._next()
        if symbol[:1].isdecimal() or symbol[:1] == ".":
            return self._kept(Decimal(symbol))
        if symbol.isalpha():
            if self.tokens[self.position] == "(" and symbol not in "xyz":
                raise NoValueError  # f(x)
            return self.at[symbol]
        match symbol:
            case r"\pi":
                return _pi(self.arithmetic.prec)
            case "(":
                return self._inside(")")
            case "{":
                return self._inside("}")
            case r"\sqrt":
                self._expect("{")
                radicand = self._inside("}")
                if radicand < SMALLEST_DIVISOR:
                    raise NoValueError
                return self.arithmetic.sqrt(radicand)
            case r"\frac":
                self._expect("{")
                above = self._inside("}")
                self._expect("{")
                value = self._quotient(above, self._inside("}"))
                if self.tokens[self.position] == "^":
                    raise NoValueError
                return value
        raise NoValueError

    def _inside(self, closing: str) -> Decimal:
        value = self._sum()
        self._expect(closing)
        return value

    def _quotient(self, above: Decimal, below: Decimal) -> Decimal:
        if below.copy_abs() < SMALLEST_DIVISOR:
            raise NoValueError
        return self._kept(self.arithmetic.divide(above, below))

    def _kept(self, value: Decimal) -> Decimal:
        self.largest = max(self.largest, value.copy_abs())
        if self.largest > LARGEST_VALUE:
            raise NoValueError
        return value

    def _next(self) -> str:
        symbol = self.tokens[self.position]
        self.position += 1
        if not symbol:
            raise NoValueError
        return symbol

    def _accept(self, *wanted: str) -> str:
        symbol = self.tokens[self.position]
        if symbol not in wanted:
            return ""
        self.position += 1
        return symbol

    def _expect(self, wanted: str) -> None:
        if self.tokens[self.position] != wanted:
            raise NoValueError
        self.position += bool(wanted)


@cache
def _pi(digits: int) -> Decimal:
    """Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239)."""
    one = 10 ** (digits + 10)
    return Decimal(16 * _arctangent(5, one) - 4 * _arctangent(239, one)).scaleb(-digits - 10, Context(prec=digits + 10))


def _arctangent(inverse: int, one: int) -> int:
    """The arctangent of 1/inverse, times `one`."""
    total = term = one // inverse
    divisor, sign = 1, 1
    while term:
        term //= inverse * inverse
        divisor, sign = divisor + 2, -sign
        total += sign * (term // divisor)
    return total
