r"""Reading a written answer: what is a set, a tuple, an interval, a matrix, a number with a unit.

`read` turns LaTeX (or plain text) into a small tree whose leaves are expressions. Conventions: `x = 5` is 5,
as is `5 = x`; a chain of numbers such as `6 + 12 = 18` is 18 when each side is; inequalities joined by "or"
are a union, those joined by "and" an intersection, and those with a comma an intersection, or a union where
that is empty. In `a \approx b` one side has to be the reference and the other has to round to it; `809
\pmod{100}` is no remainder; a set-builder binds its variable; `2019-03-01` and `\text{3-2}` are no
differences, and `1/2/2020` is no quotient. Nothing here evaluates an expression, so nothing here can hang;
what is nested too deep is not read.
"""

import re
from dataclasses import replace
from functools import lru_cache

from distill.verifiers.math import limits
from distill.verifiers.math import words as phrases
from distill.verifiers.math.inequalities import relation
from distill.verifiers.math.normalise import clean, split_at, unwrap_text
from distill.verifiers.math.symbols import NAME, in_order, labelled, numeric, quantity, variable
from distill.verifiers.math.tree import EMPTY, REALS, SET_OPERATORS, Group, Leaf, Node, Shape, named
from distill.verifiers.math.tree import compare as compare
from distill.verifiers.math.tree import leaves as leaves

_NAMED = re.compile(rf"{NAME}|\\text\{{[^{{}}]*\}}")
_MEMBER = re.compile(rf"({NAME})\s*\\in(?![a-z])(.*)", re.DOTALL)
_MATRIX = re.compile(
    r"([^&]*?)([(\[|]?)\s*\\begin\{([pbBvV]?matrix|array)\}(?:\{[^}]*\})?(.*)\\end\{\3\}\s*([)\]|]?)(\^\{?(?:T|\\top)\}?)?",
    re.DOTALL,
)
_TUPLE_MARKS = re.compile(r"^(?:(?!C)[A-Z]'?(?:_\d)?)?(\([^()]*,[^()]*\))(?:\^\{?(?:T|\\top)\}?)?$")
"""A point's name before a tuple, and the sign of transposition after it; C(10, 3) is a binomial."""
_NAMES = re.compile(
    r"\\text\{([^\W\d_]+(?: [^\W\d_]+)?(?:(?:\s*,\s*|\s*,?\s*\\text\{and\}\s*)[^\W\d_]+(?: [^\W\d_]+)?)+)\}"
)
_POSITIVE = re.compile(r"\\mathbb\{R\}[\^_]\{?(?:\+|>0)\}?|\\mathbb\{R\}\^\{?\+\}?")
_CHOICE = re.compile(r"\\text\{\s*\(([A-E])\)\s*\}\s*(\S.*)", re.DOTALL)
_LEAD = re.compile(r"\\text\{([^{}]*(?:\b(?:is|are)|[:：为是]))\s*\}\s*(?=\S)")
"""Words that lead to a value."""
_RESIDUE = re.compile(r"(?:(.*?)\\equiv)?(.*)\\(?:pmod|mod|bmod)(?![a-z])(.*)", re.DOTALL)
_TRAILING_WORDS = re.compile(
    r"(.*?[\d})%!])(?:\s+|(?=[^\W\d_]{2})|(?=[^\x00-\x7f]))([^\W\d_][^\d\\{}()+*=<>,]*(?:\^\{\d\})?)",
    re.DOTALL,
)
_TEXT = re.compile(r"\\text\{((?:[^{}]|\{[^{}]*\})*)\}(\^\{-?[123]\})?")
_ONLY_WORDS = re.compile(r"(?:[^\W\d_]{4,}|[^\W\d_]{2,}(?=\W)|[^\W\d_\x00-\x7f]+)(?:[\s'.-]+[^\W\d_]*)*")
_SCORE = re.compile(r"\d+-\d+")
r"""In `\text{...}` a result or a range; elsewhere a difference."""
_INDEXED_NAME = re.compile(r"\\?[A-Za-z]+_\{?\d+\}?")
_FUNCTION_WORDS = frozenset("sin cos tan cot sec csc log ln exp max min gcd lcm mod".split())  # noqa: SIM905
LARGEST_DETERMINANT = 4
MOST_SIGNS = 4
_CLOSING = {"(": ")]", "[": "])", r"\{": r"\}"}


class TooDeepError(ValueError):
    """A text that is nested so deep that it is not read; the message says how deep."""


@lru_cache(maxsize=8192)
def read(text: str) -> Node:
    """The tree of an answer; raises TooDeepError."""
    cleaned = clean(text)
    if cause := limits.too_deep(cleaned):
        raise TooDeepError(cause)
    day = phrases.date(cleaned)
    return Leaf("", day) if day else _node(in_order(cleaned))


def _node(text: str) -> Node:
    text = text.strip().strip("\x20;").rstrip(".").strip()
    if r"\begin" in text and (matrix := _MATRIX.fullmatch(text)) and (node := _matrix(*matrix.groups())):
        return node
    if text.startswith(r"\text{"):
        lead = None if labelled(split_at(text, ",", r"\text{and}")) else _LEAD.match(text)
        if lead and not phrases.qualified(lead.group(1)):
            return _node(text[lead.end() :])
        if choice := _CHOICE.fullmatch(text):
            return Group(Shape.CHOICE, "", (Leaf(choice.group(1)), _node(choice.group(2))))
        if names := _NAMES.fullmatch(text):
            return _listed(
                [part.strip() for part in re.split(r",|\\text\{and\}", names.group(1)) if part.strip()]
            )
        if (content := unwrap_text(text)) is not None:
            return _text(content)
    if "mod" in text and (residue := _RESIDUE.fullmatch(text)):
        name, value, modulus = ((part or "").strip("{}() ") for part in residue.groups())
        return _residue(name, value, modulus, r"\bmod" in text)
    if (operation := _set_operation(text)) is not None:
        return operation
    if len(parts := split_at(text, r"\text{or}")) > 1:
        return _listed(parts, Shape.UNION)
    if len(parts := split_at(text, ",", r"\text{and}")) > 1:
        return _listed(parts, Shape.INTERSECTION if r"\text{and}" in text else Shape.JOINED)
    if member := _MEMBER.fullmatch(text):
        return named(_node(member.group(2)), member.group(1))
    if len(sides := [side.strip() for side in split_at(text, r"\approx")]) > 1:
        if sides[0] and not _NAMED.fullmatch(sides[0]):
            return Group(Shape.ROUNDED, "", (_node(sides[0]), *map(_written, sides[1:])))
        name = sides[0] if r"\text" not in sides[0] else ""  # x \approx 3 is a named 3, and so is \approx 3
        return named(_written(sides[-1]), name) if name else _node(sides[-1])
    return _equation(text) or relation(text, _node) or _bracketed(text) or _leaf(text)


def _residue(name: str, value: str, modulus: str, computed: bool) -> Node:
    """A residue class, which may be stated of a name or number; `809 bmod 100` is computed."""
    numbers = value.isdecimal() and modulus.isdecimal() and int(modulus) > 0
    if numbers and computed and not name:
        return Leaf(str(int(value) % int(modulus)))
    if numbers and name.isdecimal() and (int(name) - int(value)) % int(modulus):
        return Group(Shape.EITHER, "", ())  # a false congruence equals nothing
    return named(Group(Shape.RESIDUE, "", (_node(value), _node(modulus))), "" if name.isdecimal() else name)


def _set_operation(text: str) -> Node | None:
    for symbol, operator in (
        (r"\cup", Shape.UNION),
        (r"\cap", Shape.INTERSECTION),
        (r"\setminus", Shape.DIFFERENCE),
    ):
        if symbol in text and len(parts := split_at(text, symbol)) > 1 and len(split_at(text, "=")) == 1:
            return Group(operator, "", tuple(_node(part) for part in parts))
    return None


def _written(text: str) -> Node:
    """A rounded number."""
    node = _node(text)
    return replace(node, rounded=True) if isinstance(node, Leaf) else node


def _equation(text: str) -> Node | None:
    """`x = 5` and `5 = x` as a named 5, `m+n = 5` too; `2 + 3 = 5` as a chain of equal numbers."""
    sides = split_at(text, "=")
    if len(sides) < 2:
        return None
    left = sides[0].strip() if r"\text" in text else _compact(sides[0])
    last = sides[-1].strip()
    if _NAMED.fullmatch(left) or quantity(left):
        return named(_chain(sides[1:]), "" if r"\text" in left else left)
    if variable(last) and last not in re.findall(r"\\?[A-Za-z]+", left) and len(sides) == 2:
        return named(_node(left), last)
    return _chain(sides) if all(map(numeric, sides)) else None


def _chain(sides: list[str]) -> Node:
    """The last of equal sides, or all where they are numbers: each of them is then compared."""
    values = [_node(side) for side in sides if numeric(side)] if numeric(sides[-1]) else [_node(sides[-1])]
    if len(values) == 1:
        return values[0]
    items = (replace(value, label=False) if isinstance(value, Leaf) else value for value in values)
    return Group(Shape.CHAIN, "", tuple(items))


def _matrix(
    factor: str, left: str, environment: str, body: str, right: str, transposed: str | None
) -> Node | None:
    """A matrix, with a factor before it multiplied into its cells; a determinant as an expression."""
    several = re.search("[=,<>]", factor) or len(split_at(factor.strip().lstrip("+-"), "+", "-")) > 1
    rows = [split_at(row, "&") for row in split_at(body, r"\\") if row.strip()]
    if r"\begin" in body or several or len({len(row) for row in rows}) != 1:
        return None
    if "v" in environment.casefold() or left == right == "|":
        square = len(rows) == len(rows[0]) <= LARGEST_DETERMINANT
        return _leaf(factor + _determinant(rows)) if square else None
    if transposed:
        rows = [list(column) for column in zip(*rows, strict=True)]
    cells = [cell for row in rows for cell in row]
    factor = factor.strip().removesuffix(r"\cdot").removesuffix(r"\times")
    times = {"": "", "+": "", "-": "-"}.get(factor, f"({factor})")
    items = tuple(_node(f"{times}({cell})" if times else cell) for cell in cells)
    return Group("[", "]", items, columns=len(rows[0]))


def _determinant(rows: list[list[str]]) -> str:
    """The expansion of a determinant along its first row, as text in brackets."""
    if len(rows) == 1:
        return f"({rows[0][0].strip()})"
    terms = (
        f"{'-' if n % 2 else '+'}({cell.strip()}){_determinant([row[:n] + row[n + 1 :] for row in rows[1:]])}"
        for n, cell in enumerate(rows[0])
    )
    return f"({''.join(terms).removeprefix('+')})"


def _listed(parts: list[str], joined: str = Shape.JOINED) -> Node:
    r"""A bare list, with each `a \pm b` as its two values; a set of numbers for inequalities."""
    items: list[Node] = []
    if labels := labelled(parts):
        return Group("", "", tuple(named(_node(value), label) for label, value in labels))
    for part in filter(str.strip, parts):
        node = _node(part)
        items.extend(node.items if isinstance(node, Group) and node.left + node.right == "" else (node,))
    if len(items) < 2:
        return items[0] if items else Group("", "", ())
    *described, domain = items
    if domain == Leaf(r"\mathbb{Z}", name=domain.name) and len(domain.name) == 1:  # x = 2k + 1, k an integer
        values = described[0] if len(described) == 1 else Group("", "", tuple(described))
        return Group(Shape.BUILDER, "", (values, domain))
    names = [item.name for item in items]
    if len(set(names)) == 1 and names[0] and any(map(_is_range, items)):  # m < 1 or m = 3
        sets = (item if _is_range(item) else Group(r"\{", r"\}", (item,), names[0]) for item in items)
        return Group(joined, "", tuple(sets), names[0])
    count = len(set(names)) if all(names) else 0
    if 1 < count < len(items) and names == names[:count] * (
        len(items) // count
    ):  # x = 1, y = 2 or x = 3, y = 4
        points = (Group("(", ")", tuple(items[n : n + count])) for n in range(0, len(items), count))
        return Group("", "", tuple(points))
    either = count > 1 and joined == Shape.UNION and not all(map(_INDEXED_NAME.fullmatch, names))
    return Group(Shape.EITHER if either else "", "", tuple(items))


def _is_range(node: Node) -> bool:
    """True for what an inequality says of its variable."""
    return isinstance(node, Group) and (node.left in ("(", "[") or node.left in SET_OPERATORS)


def _bracketed(text: str) -> Node | None:
    if text == r"\mathbb{R}":
        return REALS
    if _POSITIVE.fullmatch(text):
        return Group("(", ")", (Leaf("0"), Leaf(r"\infty")))
    text = _TUPLE_MARKS.sub(r"\1", text)
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
            return EMPTY
        for bar in (r"\mid", ":", "|"):
            head, *condition = split_at(inner, bar)
            if condition and condition[0]:
                return _builder(head.strip(), "|".join(condition))
        listed = _listed(parts)
        bare = listed.items if isinstance(listed, Group) and not listed.left else (listed,)
        return Group(left, right, tuple(dict.fromkeys(bare)))
    if len(parts) > 1:
        return Group(left, right, tuple(_node(part) for part in parts))
    return _node(inner) if (left, right) == ("(", ")") else None


def _builder(head: str, condition: str) -> Node:
    """The set of what the condition says of the head, a variable with its domain, or an expression."""
    variable_of, domain = member.groups() if (member := _MEMBER.fullmatch(head)) else (head, None)
    described = _node(condition)
    bare = described.items if isinstance(described, Group) and described.left == "" else (described,)
    if not variable(variable_of) or {item.name for item in bare} - {variable_of}:
        return Group(Shape.BUILDER, "", (_node(head), described))
    described = named(described, "")
    within = _node(domain) if domain else REALS
    return described if within == REALS else Group(Shape.INTERSECTION, "", (within, described))


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
    if _SCORE.fullmatch(inner):
        return Leaf(inner, label=True)
    if re.match(r"[-+(]?[\d.\\]", inner) or re.fullmatch(r"\(?[A-Za-z]\)?", inner):
        return _node(inner)
    return Leaf("", _words(inner))


def _leaf(text: str) -> Node:
    leaves = [_leaf_of(each) for each in _signs(text)]
    return Group("", "", tuple(dict.fromkeys(leaves))) if len(leaves) > 1 else leaves[0]


def _signs(text: str) -> list[str]:
    r"""The texts that `\pm` and `\mp` stand for; signs are tied together only where `\mp` says so."""
    if r"\mp" in text and text.count(r"\mp") + text.count(r"\pm") <= MOST_SIGNS:
        return [text.replace(r"\pm", first).replace(r"\mp", second) for first, second in ("+-", "-+")]
    if r"\pm" in text and text.count(r"\pm") <= MOST_SIGNS:
        return [each for sign in "+-" for each in _signs(text.replace(r"\pm", sign, 1))]
    return [text]


def _leaf_of(text: str) -> Leaf:
    words: list[str] = []

    def collect(match: re.Match[str]) -> str:
        words.append(phrases.signs(match.group(1)) + (match.group(2) or ""))
        return " "

    text = _TEXT.sub(collect, text).strip()
    if text.startswith(("$", "-$")):
        text = text.replace("$", "", 1)
        words.append("dollar")
    if text.endswith(r"^{\circ}") and not _FUNCTION_WORDS & set(re.findall(r"\\([a-z]+)", text)):
        text, words = text.removesuffix(r"^{\circ}"), ["degree", *words]
    trailing = _TRAILING_WORDS.fullmatch(text)
    if trailing and not _FUNCTION_WORDS & set(trailing[2].split()):
        token = re.split(r"[\W\d_]", trailing[2], maxsplit=1)[0]  # no product: a unit or a long word
        long = len(token) >= (3 if text[trailing.end(1)].isspace() else 4) or not token.isascii()
        if long or phrases.is_unit(token) or re.match(r"[ap]\.?m\b", trailing[2]):
            text = trailing[1]
            words.append(trailing[2])
    if _ONLY_WORDS.fullmatch(text):
        return Leaf("", _words(" ".join([text, *words])))
    if phrases.is_label(text.strip()):
        return Leaf(text.strip(), _words(" ".join(words)), label=True)
    if r"\pi" in text and {word.strip() for word in words} <= {"radian", "radians", "rad"}:
        words = []  # an angle without a unit is in radians
    percent = text.rstrip().endswith("%") or any("percent" in word.casefold() for word in words)
    beside = _words(" ".join(words)).replace("percent", "").strip()
    return Leaf(_compact(text.replace("%", "").rstrip(". ")), beside, percent=percent)


def _compact(text: str) -> str:
    """Without spaces, but one where it separates a command from a letter or two numbers."""
    if " " not in (text := " ".join(text.split())):
        return text
    text = re.sub(r"_(\d) (?=\d)", r"_{\1}", text)
    text = re.sub(r"(\\[A-Za-z]+(?= [A-Za-z])|\d(?= \d)) ", "\\1\x00", text)
    return text.replace(" ", "").replace("\x00", " ")


def _words(text: str) -> str:
    """Words with single spaces; short ones keep their capitals, for `mW` is not `MW`."""
    text = " ".join(text.split()).strip(" .,;:!\"'")
    return text if text.islower() else re.sub(r"[^\W\d_]{5,}", lambda m: m[0].casefold(), text)
