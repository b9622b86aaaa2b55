"""Sets of real numbers that are written with unions, intersections and differences, compared by their elements.

Only sets whose ends and elements are numbers are compared; sets with a parameter are equal here when they are written
alike. It evaluates its ends, and so runs in a worker process only.
"""

from collections.abc import Callable
from typing import Any

from distill.verifiers.math.tree import DIFFERENCE, JOINED, SET_OPERATORS, UNION, Group, Leaf, Node

MOST_INTEGERS = 1000
Value = Callable[[str], Any]


def same(gold: Group, answer: Group, value: Value) -> bool:
    """True when both are sets of numbers with the same elements."""
    first, second = _set(gold, value), _set(answer, value)
    return first is not None and second is not None and bool(first == second or first.symmetric_difference(second).is_empty)


def _set(node: Node, value: Value) -> Any:
    """The sympy set of a node, or None when an end or element is no number."""
    import sympy

    if isinstance(node, Leaf):
        return {r"\emptyset": sympy.EmptySet, r"\mathbb{Z}": sympy.Integers, r"\mathbb{R}": sympy.Reals}.get(node.text)
    if node.left in SET_OPERATORS:
        return _operation(node.left, [_set(item, value) for item in node.items])
    ends: list[Any] = [value(item.text) if isinstance(item, Leaf) and item.text and not item.words else None for item in node.items]
    if any(end is None or not end.is_extended_real for end in ends) or node.columns:
        return None
    if node.left in (r"\{", ""):
        return sympy.FiniteSet(*ends)
    closed_infinity = (node.left == "[" and ends[0].is_infinite) or (node.right == "]" and ends[-1].is_infinite)
    if node.left in ("(", "[") and len(ends) == 2 and not closed_infinity:
        return sympy.Interval(*ends, left_open=node.left == "(", right_open=node.right == ")")
    return None


def _operation(operator: str, operands: list[Any]) -> Any:
    """The union, difference or intersection of sets; joined inequalities that exclude each other name their union."""
    import sympy

    if any(operand is None for operand in operands):
        return None
    if operator == UNION:
        return sympy.Union(*operands)
    if operator == DIFFERENCE:
        return operands[0] - sympy.Union(*operands[1:])
    common = sympy.Intersection(*operands)
    if isinstance(common, sympy.Range) and common.size <= MOST_INTEGERS:
        return sympy.FiniteSet(*common)
    return sympy.Union(*operands) if operator == JOINED and common.is_empty else common
