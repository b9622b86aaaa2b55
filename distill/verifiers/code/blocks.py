"""Finding code in an answer: fenced blocks as CommonMark has them. An unclosed last block goes on to the end
of the text.

One block is the answer; imports and definitions of earlier blocks that it lacks are put before it.
"""

import ast
import builtins
import re
import sys
import warnings
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

PYTHON = frozenset(("python", "py", "python3", "py3"))
_FENCE = re.compile(r"([ \t]*(?:(?:[-*>]|\d{1,9}[.)])[ \t]+)*)(`{3,}(?!`)|~{3,}(?!~))([^`]*)")
"""Each character can belong to one part only: a line that is no fence after all is given up in linear
time."""
_STATEMENT = re.compile(
    r"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*[(:]"
    r"|import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import[ \t]|print[ \t]*\()",
    re.MULTILINE,
)
_ASSIGNMENT = re.compile(
    r"^[ \t]*(?:return\b"
    r"|[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?(?:[ \t]*,[ \t]*[A-Za-z_]\w*)*[ \t]*(?:[-+*/%|&^]|//|\*\*)?=(?!=))",
    re.MULTILINE,
)
_INPUT = re.compile(
    r"\b(?:input|raw_input)\s*\(|\bstdin\b|\bopen\s*\(\s*0|\bfileinput\b|\b(?:read|readline|readlines)\s*\(|\binput\b"
)
_OUTPUT = re.compile(r"\bprint\b|\bstdout\b|\bwrite\s*\(")
_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINING = (*_IMPORTS, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
LONGEST_PARSED = 100_000
"""Characters of a block that is parsed to see what it is."""
_DEFINITION = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_ASSIGNED = re.compile(r"^([A-Za-z_]\w*)[ \t]*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_METHOD = re.compile(r"^[ \t]+(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language in lower case (`""` for none) and its text."""

    label: str
    text: str


def python(
    answer: str, names: frozenset[str] = frozenset(), reads_input: bool = False
) -> tuple[str, bool] | None:
    """The Python code of an answer and whether a fence marks it, or None.

    The last Python block counts that defines one of `names`, or, for a program, that reads input and prints;
    else the last that is more than comments, samples, asserts and calls of what earlier blocks define; else
    the last. A block without a label counts when no block is labelled, or when it has a statement that no
    sample of values has. Without any fence an answer that looks like Python counts. What the block uses, and
    only an earlier block defines, is put before it.
    """
    found = list(blocks(answer))
    if not found:
        return (answer, False) if looks_like_python(answer) else None
    labelled = any(block.label in PYTHON for block in found)
    codes = [
        block.text
        for block in found
        if block.text.strip()
        and (block.label in PYTHON or not (block.label or (labelled and not _STATEMENT.search(block.text))))
    ]
    if not codes:
        return None
    fits = _is_program if reads_input else lambda code: bool(names & definitions(code))
    wanted = [index for index, code in enumerate(codes) if fits(code)]
    if not wanted:
        known: set[str] = set()
        for index, code in enumerate(codes):
            wanted += [] if _is_demonstration(code, known, bool(index)) else [index]
            known |= definitions(code)
    chosen = (wanted or [len(codes) - 1])[-1]
    return _with_what_it_uses(codes[chosen], codes[:chosen]), True


def _is_program(code: str) -> bool:
    """Whether a program reads its input and prints."""
    return bool(_INPUT.search(code) and _OUTPUT.search(code)) and not code.lstrip().startswith(">>>")


def _is_demonstration(code: str, known: Set[str], is_later: bool) -> bool:
    """Whether a block only shows how what stands before it is used, or says nothing."""
    if code.lstrip().startswith(">>>"):
        return True
    tree = _tree(code)
    if tree is None:
        return False
    rest = [node for node in tree.body if not isinstance(node, ast.Assert) and not _is_text(node)]
    if all(isinstance(node, _IMPORTS) for node in rest):
        return not rest or is_later
    return not _DEFINITION.search(code) and bool(_used(tree) & known)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _with_what_it_uses(code: str, earlier: Sequence[str]) -> str:
    """The code behind the earlier blocks that hold nothing but imports and definitions, and define what it
    uses and does not define."""
    tree = _tree(code)
    if tree is None or not earlier:
        return code
    missing = _used(tree) - _bound(tree) - vars(builtins).keys()
    parts = [code]
    for text in reversed(earlier):
        before = _tree(text)
        if before is None or not all(isinstance(node, _DEFINING) or _is_text(node) for node in before.body):
            continue
        if missing & _bound(before):
            parts.insert(0, text)
            missing = (missing - _bound(before)) | (_used(before) - _bound(before))
    return "\n".join(parts)


def _tree(code: str) -> ast.Module | None:
    if len(code) > LONGEST_PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _used(tree: ast.Module) -> frozenset[str]:
    return frozenset(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )


@lru_cache(maxsize=256)
def free(code: str) -> frozenset[str]:
    """Names that code uses outside of branches and never binds; none where a star import may bind them."""
    tree = _tree(code)
    if tree is None or any(isinstance(node, ast.alias) and node.name == "*" for node in ast.walk(tree)):
        return frozenset()
    used: set[str] = set()
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not node.id.startswith("__"):
            used.add(node.id)
        if not isinstance(node, (ast.If, ast.IfExp, ast.BoolOp, ast.Try, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)
    return frozenset(used - _bound(tree) - vars(builtins).keys() - sys.stdlib_module_names)


def _bound(tree: ast.Module) -> frozenset[str]:
    """All names that code binds, at any level."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add((other or name).partition(".")[0])
    return frozenset(found)


def looks_like_python(text: str) -> bool:
    """True when a line of the text is a definition, an import, an assignment, a return or a print."""
    return bool(_STATEMENT.search(text) or _ASSIGNMENT.search(text))


def definitions(code: str) -> frozenset[str]:
    """Names that code defines at its top level, and the methods of its `Solution`."""
    found = set(_DEFINITION.findall(code)) | set(_ASSIGNED.findall(code))
    return frozenset(found | set(_METHOD.findall(code)) if "Solution" in found else found)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text, in order."""
    fence, label, indent, lines = "", "", 0, list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):
        match = _FENCE.fullmatch(line)
        if not fence and match:
            fence, indent, lines = match.group(2), len(match.group(1)), []
            label = re.split(r"[\s:,;{}]+", match.group(3).strip(" \t{}.").lower())[0]
        elif fence and match and match.group(2).startswith(fence) and not match.group(3).strip():
            yield Block(label, "\n".join(lines) + "\n")
            fence = ""
        elif fence:
            lines.append(line[min(indent, len(line) - len(line.lstrip(" \t"))) :])
    if fence:
        yield Block(label, "\n".join(lines) + "\n")
