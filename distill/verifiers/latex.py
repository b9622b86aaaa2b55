r"""The structure of a written answer: what is a set, a tuple, an interval, a matrix, a number with a unit.

`read` turns LaTeX (or plain text) into a small tree whose leaves are expressions, and `compare` walks two trees with a
function that compares leaves. Conventions: tuples are ordered, sets and bare lists are not; open and closed ends
differ; `x = 5` is 5; a unit may be left off. Nothing here evaluates an expression, so nothing here can hang.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from distill.verifiers import units
from distill.verifiers.spelling import clean, split_at, unwrap_text


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


@dataclass(frozen=True, slots=True)
class Group:
    """Expressions between brackets; no brackets for a bare list, `|` for a union."""

    left: str
    right: str
    items: "tuple[Node, ...]"
    name: str = field(default="", compare=False)
    columns: int = 0
    """For a matrix, whose brackets are `[` and `]`."""


Node = Leaf | Group
LeafComparison = Callable[[Leaf, Leaf], bool | None]

_RELATION = re.compile(r"\\leq|\\geq|<|>")
_NAME = r"(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?'*(?:\([A-Za-z](?:,[A-Za-z])*\))?|m?\\(?:angle|triangle)\s*[A-Z]+|\([a-z](?:,[a-z])+\))"
_ASSIGNMENT = re.compile(rf"({_NAME}|\\text\{{[^{{}}]*\}})\s*=(.*)", re.DOTALL)
_MEMBER = re.compile(rf"({_NAME})\s*\\in(?![a-z])(.*)", re.DOTALL)
_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|array)\}(?:\{[^}]*\})?(.*)\\end\{\1\}", re.DOTALL)
_TRAILING_WORDS = re.compile(r"(.*?[\d})%!])(?:\s+|(?=[^\W\d_]{2})|(?=[^\x00-\x7f]))([^\W\d_][^\d\\{}()+*=<>,]*(?:\^\{\d\})?)", re.DOTALL)
_FUNCTION_WORDS = frozenset("sin cos tan cot sec csc log ln exp max min gcd lcm mod".split())  # noqa: SIM905
_CLOSING = {"(": ")]", "[": "])", r"\{": r"\}"}
NO_SOLUTION = frozenset(("no solution", "no solutions", "none", "empty set", "无解", "no real solution", "no real solutions"))


@lru_cache(maxsize=8192)
def read(text: str) -> Node:
    """The tree of an answer."""
    return _node(clean(text))


def compare(gold: Node, answer: Node, leaf: LeafComparison) -> bool | None:
    """True or False, or None when `leaf` could not decide."""
    gold, answer = _alone(gold), _alone(answer)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        if not _names_differ(gold.name, answer.name):
            return leaf(gold, answer)
        solved = gold.name in answer.text and answer.name in gold.text  # y = x + 1 beside x = y - 1
        return leaf(_whole(gold), _whole(answer)) if solved else False
    if isinstance(gold, Leaf) or isinstance(answer, Leaf):
        return _single(gold, answer, leaf)
    if _names_differ(gold.name, answer.name) or gold.columns != answer.columns:
        return False
    brackets = {gold.left + gold.right, answer.left + answer.right}
    if len(gold.items) != len(answer.items):
        return False
    if brackets <= {r"\{\}", ""} or brackets == {"|"}:
        return _unordered(gold.items, answer.items, leaf)
    if len(brackets) == 1 or brackets == {"()", ""} or (brackets == {"()", "[]"} and len(gold.items) > 2):
        return _all(compare(g, a, leaf) for g, a in zip(gold.items, answer.items, strict=True))
    return False


def leaves(node: Node) -> list[Leaf]:
    """All expressions of a tree."""
    return [node] if isinstance(node, Leaf) else [leaf for item in node.items for leaf in leaves(item)]


def _node(text: str) -> Node:
    text = text.strip().strip("\x20;").rstrip(".").strip()
    if matrix := _MATRIX.fullmatch(text):
        rows = [split_at(row, "&") for row in split_at(matrix.group(2), r"\\") if row.strip()]
        cells = tuple(_node(cell) for row in rows for cell in row)
        return Group("|", "|", cells, columns=len(rows[0])) if matrix.group(1)[0] in "vV" else Group("[", "]", cells, columns=len(rows[0]))
    if text.startswith(r"\text{") and unwrap_text(text) is not None:
        return _text(str(unwrap_text(text)))
    union = split_at(text, r"\cup")
    if len(union) > 1:
        return Group("|", "", tuple(_node(part) for part in union))
    parts = split_at(text, ",", r"\text{or}", r"\text{and}")
    if len(parts) > 1:
        return _listed([part for part in parts if part.strip()])
    if member := _MEMBER.fullmatch(text):
        return _named(_node(member.group(2)), member.group(1))
    sides = split_at(text, "=")
    if len(sides) > 1 and (assignment := _ASSIGNMENT.fullmatch(text.replace(" ", "") if r"\text" not in text else text)):
        return _named(_node(sides[-1]), "" if r"\text" in assignment.group(1) else assignment.group(1))
    return _relation(text) or _bracketed(text) or _leaf(text)


def _listed(parts: list[str]) -> Node:
    """A bare list, with each `a \\pm b` as its two values; a union when all parts are inequalities."""
    items: list[Node] = []
    for part in parts:
        node = _node(part)
        items.extend(node.items if isinstance(node, Group) and node.left + node.right == "" else (node,))
    if len(items) == 1:
        return items[0]
    if all(isinstance(item, Group) and item.name and item.left in "([" for item in items):
        return Group("|", "", tuple(items))
    return Group("", "", tuple(dict.fromkeys(items)))


def _named(node: Node, name: str) -> Node:
    if isinstance(node, Leaf):
        return Leaf(node.text, node.words, name, node.percent)
    items = tuple(_named(item, name) for item in node.items) if node.left + node.right == "" else node.items
    return Group(node.left, node.right, items, name, node.columns)


def _relation(text: str) -> Node | None:
    """`x > 3`, `3 < x`, `1 < x \\leq 3` as intervals."""
    unequal = [side.strip() for side in split_at(text, r"\neq")]
    if len(unequal) == 2 and _variable(unequal[0]):
        value, name = _node(unequal[1]), unequal[0]
        return Group("|", "", (Group("(", ")", (Leaf(r"-\infty"), value), name), Group("(", ")", (value, Leaf(r"\infty")), name)), name)
    operators = _RELATION.findall(text)
    sides = [side.strip() for side in split_at(text, r"\leq", r"\geq", "<", ">")]
    if len(operators) != len(sides) - 1 or not 1 <= len(operators) <= 2:
        return None
    downward = [operator in (">", r"\geq") for operator in operators]
    if len(set(downward)) != 1:
        return None
    if downward[0]:
        sides, operators = sides[::-1], operators[::-1]
    closed = [operator.startswith("\\") for operator in operators]
    if len(sides) == 3 and _variable(sides[1]):
        return Group("[" if closed[0] else "(", "]" if closed[1] else ")", (_node(sides[0]), _node(sides[2])), sides[1])
    if len(sides) == 2 and _variable(sides[0]):
        return Group("(", "]" if closed[0] else ")", (Leaf(r"-\infty"), _node(sides[1])), sides[0])
    if len(sides) == 2 and _variable(sides[1]):
        return Group("[" if closed[0] else "(", ")", (_node(sides[0]), Leaf(r"\infty")), sides[1])
    return None


def _variable(text: str) -> bool:
    return re.fullmatch(r"\\?[A-Za-z]+(?:_\{?\w\}?)?", text) is not None and text not in (r"\pi", r"\infty")


def _bracketed(text: str) -> Node | None:
    if text == r"\mathbb{R}":
        return Group("(", ")", (Leaf(r"-\infty"), Leaf(r"\infty")))
    if text.startswith("{") and text.endswith("}") and not _closes_early(text, "{"):
        return _node(text[1:-1])
    left = r"\{" if text.startswith(r"\{") else text[:1]
    right = r"\}" if text.endswith(r"\}") else text[-1:]
    if left not in _CLOSING or right not in _CLOSING[left] or not right:
        return None
    inner = text[len(left) : len(text) - len(right)]
    parts = split_at(inner, ",")
    if len(split_at(text, ",")) > 1 or _closes_early(text, left):
        return None
    if left == r"\{":
        if not inner.strip():
            return Leaf(r"\emptyset")
        if split_at(inner, r"\mid", ":", "|")[1:]:
            return _node(split_at(inner, r"\mid", ":", "|")[1])
        listed = _listed(parts)
        return Group(left, right, listed.items if isinstance(listed, Group) and not listed.left else (listed,))
    if len(parts) > 1:
        return Group(left, right, tuple(_node(part) for part in parts))
    return _node(inner) if (left, right) == ("(", ")") else None


def _closes_early(text: str, left: str) -> bool:
    """True when the opening bracket of a text closes before its end, as in `(a)(b)`."""
    depth = 0
    for bracket in re.finditer(r"\\[{}]|[()\[\]]" if left != "{" else r"(?<!\\)[{}]", text):
        depth += 1 if bracket.group() in ("(", "[", r"\{", "{") else -1
        if depth == 0:
            return bracket.end() < len(text)
    return True


def _text(content: str) -> Node:
    r"""The answer inside one `\text{...}`: a number with words is the number."""
    inner = clean(content)
    if re.match(r"[-+(]?[\d.\\]", inner) or re.fullmatch(r"\(?[A-Za-z]\)?", inner):
        return _node(inner)
    return Leaf("", _words(inner))


def _leaf(text: str) -> Node:
    if r"\pm" in text:
        return Group("", "", tuple(dict.fromkeys(_leaf_of(text.replace(r"\pm", sign, 1)) for sign in "+-")))
    return _leaf_of(text)


def _leaf_of(text: str) -> Leaf:
    words: list[str] = []

    def collect(match: re.Match[str]) -> str:
        words.append(match.group(1) + (match.group(2) or ""))
        return " "

    text = re.sub(r"\\text\{((?:[^{}]|\{[^{}]*\})*)\}(\^\{[23]\})?", collect, text).strip()
    if text.startswith(("$", "-$")):
        text = text.replace("$", "", 1)
        words.append("dollar")
    if text.endswith(r"^{\circ}") and not _FUNCTION_WORDS & set(re.findall(r"\\([a-z]+)", text)):
        text, words = text.removesuffix(r"^{\circ}"), [*words, "degree"]
    trailing = _TRAILING_WORDS.fullmatch(text)
    if trailing and not _FUNCTION_WORDS & set(trailing.group(2).split()) and _is_words(trailing.group(2)):
        text = trailing.group(1)
        words.append(trailing.group(2))
    if re.fullmatch(r"(?:[^\W\d_]{4,}|[^\W\d_]{2,}(?=\W)|[^\W\d_\x00-\x7f])(?:[\s'.-]+[^\W\d_]*)*", text):
        return Leaf("", _words(" ".join([text, *words])))
    percent = text.rstrip().endswith("%") or any("percent" in word.casefold() for word in words)
    return Leaf(_compact(text.replace("%", "").rstrip(". ")), _words(" ".join(words)).replace("percent", "").strip(), percent=percent)


def _is_words(text: str) -> bool:
    """True for words that are no product of variables: a known unit, or a word of three letters or more."""
    if re.match(r"[ap]\.?m\b", text):
        return True
    first = re.match(r"[^\W\d_]+|", text)
    token = first.group() if first else ""
    return units.is_unit(token) or len(token) >= 3 or not token.isascii()


def _compact(text: str) -> str:
    """Without spaces, but one where it separates a command from a letter or two numbers."""
    text = re.sub(r"_(\d) (?=\d)", r"_{\1}", re.sub(r"\s+", " ", text.strip()))
    return re.sub(r"(\\[A-Za-z]+(?= [A-Za-z])|\d(?= \d)) ", "\\1\x00", text).replace(" ", "").replace("\x00", " ")


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" .,;:!\"'").casefold()


def _alone(node: Node) -> Node:
    while isinstance(node, Group) and len(node.items) == 1 and node.left in ("", r"\{") and not node.columns:
        node = node.items[0] if not node.name else _named(node.items[0], node.name)
    return node


def _whole(leaf: Leaf) -> Leaf:
    return Leaf(f"{leaf.name}={leaf.text}", leaf.words, percent=leaf.percent)


def _names_differ(gold: str, answer: str) -> bool:
    return bool(gold and answer and _plain_name(gold) != _plain_name(answer))


def _plain_name(name: str) -> str:
    """A variable's name; a function's value is called `y`."""
    return "y" if re.fullmatch(r"[a-z]\(x\)", name) else name.replace("{", "").replace("}", "")


def _single(gold: Node, answer: Node, leaf: LeafComparison) -> bool | None:
    """A leaf against a group: only whole texts that the leaf comparison may know as the same set."""
    first = next(side for side in (gold, answer) if isinstance(side, Leaf))
    return False if first.words or not first.text else None if "=" in first.text or r"\mathbb" in first.text else False


def _unordered(gold: tuple[Node, ...], answer: tuple[Node, ...], leaf: LeafComparison) -> bool | None:
    identical = frozenset(gold) & frozenset(answer)  # spares long lists the comparison of all with all
    remaining = [item for item in answer if item not in identical]
    undecided = False
    for item in gold:
        if item in identical:
            continue
        results = [compare(item, other, leaf) for other in remaining]
        if True in results:
            remaining.pop(results.index(True))
        elif None in results:
            undecided = True
        else:
            return False
    return None if undecided else True


def _all(results: Iterable[bool | None]) -> bool | None:
    undecided = False
    for result in results:
        if result is False:
            return False
        undecided = undecided or result is None
    return None if undecided else True
