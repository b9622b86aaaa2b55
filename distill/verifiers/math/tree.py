r"""The tree of a written answer, and the walk that compares two trees.

Leaves are expressions; groups are sets, tuples, intervals, matrices, residue classes. Conventions: tuples are
ordered, sets and bare lists are not; open and closed ends differ; a vector may be written as a tuple; a
modulus may be left off; `f(t)` is `f(x)` renamed. What leaves and sets are worth is the business of the two
functions given.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from distill.verifiers.math.symbols import named_sum


@dataclass(frozen=True, slots=True)
class Leaf:
    """One expression."""

    text: str
    """Canonical LaTeX without name, words and percent sign."""
    words: str = ""
    """Units and other words beside it, or the whole answer when it is text."""
    name: str = ""
    """`x` of `x = 5`."""
    percent: bool = False
    rounded: bool = False
    r"""Written after `\approx`."""
    nearly: bool = False
    r"""Compared with what stands beside the same value in `a \approx b`."""
    label: bool = False
    """Digits that are joined to a text, such as a date: compared as they are written."""


@dataclass(frozen=True, slots=True)
class Group:
    """Expressions between brackets; instead of a left bracket: nothing for a bare list, or an operator."""

    left: str
    right: str
    items: "tuple[Node, ...]"
    name: str = field(default="", compare=False)
    columns: int = 0
    """For a matrix, whose brackets are `[` and `]`."""


Node = Leaf | Group
LeafComparison = Callable[[Leaf, Leaf], bool | None]
SetComparison = Callable[[Group, Group], bool | None]


class Shape:
    """What may stand instead of a left bracket."""

    UNION, INTERSECTION, DIFFERENCE, JOINED = "|", "&", "\\", "and"
    RESIDUE, CHAIN, ROUNDED, CHOICE, BUILDER, EITHER = "mod", "=", "approx", "choice", "builder", "or"


SET_OPERATORS = frozenset((Shape.UNION, Shape.INTERSECTION, Shape.DIFFERENCE, Shape.JOINED))
EMPTY = Leaf(r"\emptyset")
REALS = Group("(", ")", (Leaf(r"-\infty"), Leaf(r"\infty")))
_INDEXED = re.compile(r"[A-Za-z]_\{?\d+\}?")
_ROOT = re.compile(r"([xzrt]|\\lambda)_\{?\d+\}?")
_UNNAMED: Literal["unnamed"] = "unnamed"
_SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_FUNCTION = re.compile(r"([A-Za-z])\(([A-Za-z])\)")


def compare(
    gold: Node, answer: Node, leaf: LeafComparison, sets: SetComparison = lambda gold, answer: None
) -> bool | None:
    """True or False, or None when `leaf` or `sets` could not decide."""
    gold, answer = _alone(gold), _alone(answer)
    if gold.name and answer.name:
        answer = _with_argument_of(gold, answer)
    if isinstance(gold, Group) and gold.left == Shape.CHAIN:
        gold = gold.items[-1]
    if isinstance(answer, Group) and answer.left == Shape.CHAIN:
        return _all(compare(gold, item, leaf, sets) for item in answer.items)
    if isinstance(gold, Group) and gold.left == Shape.ROUNDED:
        return _any(compare(item, answer, leaf, sets) for item in gold.items)
    if isinstance(answer, Group) and answer.left == Shape.ROUNDED:
        exact = [compare(gold, item, leaf, sets) for item in answer.items]
        about = replace(gold, nearly=True) if isinstance(gold, Leaf) else gold
        pairs = zip(exact, answer.items, strict=True)
        return _any(exact) and _all(same or compare(about, item, leaf, sets) for same, item in pairs)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        if named_sum(gold.name) or (named_sum(answer.name) and _letters(gold.text)):
            return leaf(gold, answer) if gold.name == answer.name else leaf(whole(gold), whole(answer))
        if not _names_differ(gold.name, answer.name):
            return leaf(gold, answer)
        first, second = whole(gold), whole(answer)  # y = x + 1 beside x = y - 1
        return leaf(first, second) if _letters(first.text) == _letters(second.text) else False
    if isinstance(gold, Group) and isinstance(answer, Group):
        return _groups(gold, answer, leaf, sets)
    return _single(gold, answer, leaf, sets)


def leaves(node: Node) -> list[Leaf]:
    """All expressions of a tree."""
    return [node] if isinstance(node, Leaf) else [leaf for item in node.items for leaf in leaves(item)]


def named(node: Node, name: str) -> Node:
    """The node as the value of a variable."""
    if isinstance(node, Leaf):
        return replace(node, name=name)
    items = node.items if node.left + node.right else tuple(named(item, name) for item in node.items)
    return replace(node, name=name, items=items)


def whole(leaf: Leaf) -> Leaf:
    """The leaf with its name as the left side of an equation."""
    return replace(leaf, text=f"{leaf.name}={leaf.text}" if leaf.name else leaf.text, name="")


def _families(gold: Group, answer: Group, leaf: LeafComparison, sets: SetComparison) -> bool | None:
    """Values with an integer parameter, of any name, sign or beginning: `k\\pi` is `(n+1)\\pi`."""
    (values, parameter), (others, another) = gold.items, answer.items
    if not parameter.name or not another.name:
        return _all((compare(values, others, leaf, sets), compare(parameter, another, leaf, sets)))
    letter = parameter.name
    forms = (letter, f"(-{letter})", f"({letter}+1)", f"({letter}-1)", f"(1-{letter})", f"(-{letter}-1)")

    def written(form: str) -> LeafComparison:
        return lambda first, second: leaf(
            first, replace(second, text=_renamed(second.text, another.name, form))
        )

    if letter != another.name and any(letter in _SYMBOL.findall(item.text) for item in leaves(others)):
        return False
    same_domain = compare(replace(parameter, name=""), replace(another, name=""), leaf, sets)
    return _all((same_domain, _any(compare(values, others, written(form), sets) for form in forms)))


def _groups(gold: Group, answer: Group, leaf: LeafComparison, sets: SetComparison) -> bool | None:
    if _names_differ(gold.name, answer.name):
        return False
    if gold.left == answer.left == Shape.BUILDER:
        return _families(gold, answer, leaf, sets)
    operators = {gold.left, answer.left} & SET_OPERATORS
    same = _alike(gold, answer, leaf, sets)
    if operators and same is not True:
        return sets(gold, answer)
    return same


def _alike(gold: Group, answer: Group, leaf: LeafComparison, sets: SetComparison) -> bool | None:
    """Groups of one shape, item by item."""
    brackets = {gold.left + gold.right, answer.left + answer.right}
    if Shape.RESIDUE in (gold.left, answer.left):
        return _residues(gold, answer, leaf, sets)
    if len(gold.items) != len(answer.items):
        return False
    wanted, said = _item_names(gold), _item_names(answer)
    if "(" in (gold.name[:1], answer.name[:1]) and all(said) and len(set(said)) == len(said):
        by_letter = not any(wanted) and set(said) <= set("xyz")
        if by_letter or set(wanted) == set(said):  # (y, x) = (3, 2) is x = 2, y = 3
            order = [said.index(name) for name in (sorted(said) if by_letter else wanted)]
            items = zip(gold.items, (answer.items[n] for n in order), strict=True)
            return _all(compare(named(g, ""), named(a, ""), leaf, sets) for g, a in items)
    names = [item.name for item in answer.items]
    several = len(set(filter(None, names))) == len(names) > 1 and not any(item.name for item in gold.items)
    given = list(answer.items)
    if several and set(names) <= set("xyz"):
        given.sort(key=lambda item: item.name)
    pairs = (compare(g, a, leaf, sets) for g, a in zip(gold.items, given, strict=True))
    if gold.columns or answer.columns:
        vectors = _is_vector(gold) and _is_vector(answer) and 0 in (gold.columns, answer.columns)
        return _all(pairs) if gold.columns == answer.columns or vectors else False
    if brackets <= {r"\{\}", ""} and (by_name := _by_name(gold, answer, leaf, sets)) != _UNNAMED:
        return by_name
    if brackets <= {r"\{\}", ""} or (
        len(brackets) == 1 and gold.left in (Shape.UNION, Shape.INTERSECTION, Shape.JOINED)
    ):
        if several and not all(_INDEXED.fullmatch(name) for name in names):
            return _all(pairs)  # a = 1, b = 2 says which is which
        return _unordered(gold.items, answer.items, leaf, sets)
    if brackets == {"()", ""} and len(set(names)) < len(names) and any(names):
        return False  # two values of one variable are no point
    if len(brackets) == 1 or brackets == {"()", ""} or (brackets == {"()", "[]"} and len(gold.items) > 2):
        return _all(pairs)
    return False


def _item_names(group: Group) -> list[str]:
    """The names of what a group holds, which `x = 2, y = 3` and `(x, y) = (2, 3)` have."""
    names = group.name[1:-1].split(",") if group.name[:1] == "(" and group.left == "(" else []
    return names if len(names) == len(group.items) else [item.name for item in group.items]


def _by_name(
    gold: Group, answer: Group, leaf: LeafComparison, sets: SetComparison
) -> bool | Literal["unnamed"] | None:
    """Lists whose items have names or labels: a list without them comes in their order;
    `_UNNAMED` for others, and for roots, of which `x_1` may be any."""
    names, others = ([item.name for item in group.items] for group in (gold, answer))
    pairs = list(zip(gold.items, answer.items, strict=True))
    if any(name.startswith(r"\text{") for name in names + others):
        if len(set(names)) == len(names) and set(names) == set(others):
            pairs = [(item, answer.items[others.index(item.name)]) for item in gold.items]
        return _all(compare(named(g, ""), named(a, ""), leaf, sets) for g, a in pairs)
    things, beside = ([isinstance(item, Leaf) and item.words for item in one.items] for one in (gold, answer))
    for said, unsaid in ((things, beside), (beside, things)):
        if all(said) and len(set(said)) == len(said) > 1 and not all(unsaid) and not any(names + others):
            return _all(compare(g, a, leaf, sets) for g, a in pairs)  # 8 cats and 15 dogs are 8, 15
    roots = [match[1] for name in names if (match := _ROOT.fullmatch(name))]
    if len(roots) == len(names) and len(set(roots)) == 1:
        if set(others) != set(roots):
            return _UNNAMED
        bare = [tuple(named(item, "") for item in group.items) for group in (gold, answer)]
        return _unordered(bare[0], bare[1], leaf, sets)
    if len(names) > 1 and all(names) and len(set(names)) == len(names) and not all(others):
        return _all(compare(g, a, leaf, sets) for g, a in pairs)
    return _UNNAMED


def _is_vector(group: Group) -> bool:
    """True for a matrix of one row or column, and for a tuple."""
    return group.columns in (1, len(group.items)) if group.columns else group.left + group.right == "()"


def _residues(gold: Group, answer: Group, leaf: LeafComparison, sets: SetComparison) -> bool | None:
    if gold.left != answer.left:
        return False
    (first, modulus), (second, other) = gold.items, answer.items
    same_modulus = compare(modulus, other, leaf, sets)
    numbers = list(map(_text_of, (first, second, modulus)))
    if all(re.fullmatch(r"-?\d{1,300}", number) for number in numbers) and int(numbers[2]):
        return same_modulus and (int(numbers[0]) - int(numbers[1])) % int(numbers[2]) == 0
    return _all((same_modulus, compare(first, second, leaf, sets)))


def _inequality(group: Group) -> Leaf | None:
    """`x > 3` as it was written, for the interval that it is read as."""
    if not group.name or group.left not in ("(", "[") or len(group.items) != 2:
        return None
    lower, upper = map(_text_of, group.items)
    if lower and upper == r"\infty":
        return Leaf(group.name + (r"\geq " if group.left == "[" else ">") + lower)
    if upper and lower == r"-\infty":
        return Leaf(group.name + (r"\leq " if group.right == "]" else "<") + upper)
    return None


def _text_of(node: Node) -> str:
    return node.text if isinstance(node, Leaf) else ""


def _single(gold: Node, answer: Node, leaf: LeafComparison, sets: SetComparison) -> bool | None:
    """A leaf against a group: a residue without its modulus, or a text that may be the same set."""
    group = gold if isinstance(gold, Group) else answer
    text = gold if isinstance(gold, Leaf) else answer
    assert isinstance(group, Group) and isinstance(text, Leaf)
    if group.left == Shape.CHOICE:  # `(B) 12` is B and 12
        return _any(
            compare(item, answer, leaf, sets) if group is gold else compare(gold, item, leaf, sets)
            for item in group.items
        )
    if group.left == Shape.RESIDUE and group is gold:
        return compare(group.items[0], answer, leaf, sets)
    if group.left == Shape.RESIDUE:  # only a remainder below its modulus is also the number
        value, modulus = map(_text_of, group.items)
        reduced = value.isdecimal() and modulus.isdecimal() and int(value[:300]) < int(modulus[:300])
        return compare(gold, group.items[0], leaf, sets) if reduced else False
    if (written := _inequality(group)) and _letters(written.text) == _letters(text.text):
        return leaf(text, written) if text is gold else leaf(written, text)
    if group.left == "" and all(
        re.fullmatch("[A-H]", _text_of(item)) for item in group.items
    ):  # choices: ACD
        return sorted(text.text or text.words.upper()) == sorted(leaf.text for leaf in leaves(group))
    if text.words or not text.text or group.columns or (group.left, group.right) == ("(", ")"):
        return False
    return None if r"\mathbb" in text.text else False


def _with_argument_of(gold: Node, answer: Node) -> Node:
    """The answer `f(t) = t + 1` as `f(x) = x + 1` where the reference calls the argument x."""
    first, second = _FUNCTION.fullmatch(gold.name), _FUNCTION.fullmatch(answer.name)
    if isinstance(answer, Group) or not (first and second) or first[1] != second[1]:
        return answer
    if first[2] in (second[2], *_SYMBOL.findall(answer.text)):
        return answer
    return replace(answer, text=_renamed(answer.text, second[2], first[2]), name=gold.name)


def _renamed(text: str, letter: str, other: str) -> str:
    """The text with something else for a letter."""
    return _SYMBOL.sub(lambda m: other if m.group() == letter else m.group(), text)


def _letters(text: str) -> frozenset[str]:
    return frozenset(
        re.findall(r"[A-Za-z]", re.sub(r"\\(?:frac|sqrt|cdot|times|pi|sin|cos|tan|ln|log)", "", text))
    )


def _alone(node: Node) -> Node:
    while isinstance(node, Group) and len(node.items) == 1 and node.left in ("", r"\{"):
        if node.columns or node.items[0] == EMPTY:
            break
        node = node.items[0] if not node.name else named(node.items[0], node.name)
    return node


def _names_differ(gold: str, answer: str) -> bool:
    return bool(gold and answer and gold != answer and _plain_name(gold) != _plain_name(answer))


def _plain_name(name: str) -> str:
    """A variable's name; a function's value is called `y`."""
    return "y" if re.fullmatch(r"[a-z](?:\^\{-1\})?\(x\)", name) else re.sub(r"[{}\s]", "", name)


def _unordered(
    gold: tuple[Node, ...], answer: tuple[Node, ...], leaf: LeafComparison, sets: SetComparison
) -> bool | None:
    identical = Counter(gold) & Counter(answer)  # spares long lists the comparison of all with all
    remaining = list((Counter(answer) - identical).elements())
    open_question = False
    for item in (Counter(gold) - identical).elements():
        results = [compare(item, other, leaf, sets) for other in remaining]
        if True in results:
            remaining.pop(results.index(True))
        elif None in results:
            open_question = True
        else:
            return False
    return None if open_question else True


def _any(results: Iterable[bool | None]) -> bool | None:
    return _decided(results, by=True)


def _all(results: Iterable[bool | None]) -> bool | None:
    return _decided(results, by=False)


def _decided(results: Iterable[bool | None], by: bool) -> bool | None:
    """`by` when one of the results is it, None when one is open, else the contrary."""
    open_question = False
    for result in results:
        if result is by:
            return by
        open_question = open_question or result is None
    return None if open_question else not by
