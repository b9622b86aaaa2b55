r"""Inequalities that are solved for one variable, as intervals: `x > 3`, `1 < x \leq 3`, `x \neq 0`, `|x| <
2`.

Others (`2x + 1 > 3`, `|x - 1| < 2`) are no intervals here and stay expressions. Nothing is evaluated.
"""

import re
from collections.abc import Callable

from distill.verifiers.math.normalise import split_at
from distill.verifiers.math.symbols import variable
from distill.verifiers.math.tree import REALS, Group, Leaf, Node, Shape, named

_RELATION = re.compile(r"\\leq|\\geq|<|>")
_ABSOLUTE = re.compile(r"\|(\\?[A-Za-z]+)\|")
_INFINITY = Leaf(r"\infty")
_MINUS_INFINITY = Leaf(r"-\infty")


def relation(text: str, read: Callable[[str], Node]) -> Node | None:
    """The set of numbers that a solved inequality describes, named as its variable; None for others."""
    unequal = [side.strip() for side in split_at(text, r"\neq")]
    if len(unequal) == 2 and variable(unequal[0]):
        points = read(unequal[1])
        if not isinstance(points, Group) or points.left:
            points = Group(r"\{", r"\}", (points,))
        return Group(Shape.DIFFERENCE, "", (REALS, points), unequal[0])
    operators = _RELATION.findall(text)
    sides = [side.strip() for side in split_at(text, r"\leq", r"\geq", "<", ">")]
    if len(operators) != len(sides) - 1 or not 1 <= len(operators) <= 2:
        return None
    downward = [operator in (">", r"\geq") for operator in operators]
    if len(set(downward)) != 1:
        return None
    if downward[0]:
        sides, operators = sides[::-1], operators[::-1]
    return _interval(sides, [operator.startswith("\\") for operator in operators], read)


def _interval(sides: list[str], closed: list[bool], read: Callable[[str], Node]) -> Node | None:
    """The interval of an upward chain of two or three sides."""
    if len(sides) == 3:
        if match := _ABSOLUTE.fullmatch(sides[1]):
            outside, inside = _interval(sides[:2], closed[:1], read), _interval(sides[1:], closed[1:], read)
            return Group(Shape.INTERSECTION, "", (outside, inside), match[1]) if outside and inside else None
        if not variable(sides[1]):
            return None
        return _between(read(sides[0]), closed[0], read(sides[2]), closed[1], sides[1])
    lower, upper = sides
    if variable(lower):
        return _between(_MINUS_INFINITY, False, read(upper), closed[0], lower)
    if variable(upper):
        return _between(read(lower), closed[0], _INFINITY, False, upper)
    if match := _ABSOLUTE.fullmatch(lower):
        return _between(_negative(upper, read), closed[0], read(upper), closed[0], match.group(1))
    if match := _ABSOLUTE.fullmatch(upper):
        name = match.group(1)
        left = _between(_MINUS_INFINITY, False, _negative(lower, read), closed[0], name)
        return named(
            Group(Shape.UNION, "", (left, _between(read(lower), closed[0], _INFINITY, False, name))), name
        )
    return None


def _between(lower: Node, closed_below: bool, upper: Node, closed_above: bool, name: str) -> Group:
    return Group("[" if closed_below else "(", "]" if closed_above else ")", (lower, upper), name)


def _negative(text: str, read: Callable[[str], Node]) -> Node:
    return read(f"-{text}" if re.fullmatch(r"[\d.]+|\\[a-z]+\{[^{}]*\}", text) else f"-({text})")
