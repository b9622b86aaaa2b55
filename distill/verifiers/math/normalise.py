r"""One spelling for the many ways to write the same LaTeX: macros, spaces, full-width characters, thousands
separators.

Only spelling changes here; no value does. Braceless arguments get their braces, and text macros become
`\text`. The rules are `words.toml`'s, in its order, each with its example.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from distill.verifiers.math.words import TABLE

_CHARACTERS = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | TABLE["characters"]
)
_RAISED = re.compile(r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_LINE = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
LARGEST_CONSTANT_INDEX = 3
_SMALL_SPACE = r"(?:\\[,!:; ]|\{,\}|,\\!|\\thinspace)"


def _rows(match: re.Match[str]) -> str:
    """The equations of a system as a list, the branches of a function as a set of (value, condition)."""
    body = re.sub(r"&(?=\s*(?:[=<>]|\\[lg]eq?(?![a-z])|\\in(?![a-z])))", "", match.group(1))
    if "&" not in body:
        return body.replace(r"\\", ",")
    body = re.sub(r"\\text\{\s*(?:if|for|when|当)\s*\}", "", body)
    rows = (re.split(r"[\s,;]*&\s*", row) for row in body.split(r"\\") if row.strip())
    return rf"\{{{', '.join('(' + ', '.join(row).strip(' ,.;') + ')' for row in rows)}\}}"


_MADE: dict[str, Callable[[re.Match[str]], str]] = {
    "rows": _rows,
    "choose": lambda found: (  # `C_5^2` of school books; `C_1^2` is the square of a constant
        rf"\binom{{{found[1]}}}{{{found[2]}}}"
        if int(found[2]) <= int(found[1]) > LARGEST_CONSTANT_INDEX
        else found[0]
    ),
    "large": lambda found: rf"\times 10^{{{TABLE['large'][found[1].strip()]}}}",
    "base": lambda found: f"_{{{TABLE['bases'][found[1]]}}}",
    "together": lambda found: found[1] + (f"^{{{found[2]}}} " if found[2] else " "),  # units in one `\text`
}
"""The replacements that `words.toml` calls."""


class Rule(NamedTuple):
    """One row of `spelling` in `words.toml`."""

    example: str
    result: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]
    needed: str
    """A text that every match holds."""


def _rule(example: str, result: str, pattern: str, replacement: str, needed: str) -> Rule:
    call = re.fullmatch(r"@([a-z]+)(.*)", replacement)
    made = (lambda match: _MADE[call[1]](match) + call[2]) if call else replacement
    return Rule(example, result, re.compile(pattern), made, needed)


RULES = tuple(_rule(*row) for row in TABLE["spelling"])
_RAISED_METRES = re.compile(r"(\d)(?:\\[,;: ]|\s|~){1,3}([kcmd]?m)([\u00b2\u00b3])$")
"""A number, white space and `m²`: written so, it is a unit and no product."""
_CIRCLED = re.compile(r"(?<=[①-⑳])[\s,和]*(?=[①-⑳])")
_CHINESE_JOINT = re.compile(r"\\[a-z]+\{\s*(?:和|与|且|或者?)\s*\}|(?<![^\W\d_])(?:和|或者?|且)")
_CONDITION = re.compile(
    r"(?:(?<=[^\sA-Za-z])\s*|(?<=\S)\s+)\((\s*[a-z]\s*(?:\\neq|\\leq|\\geq|<|>)[^()]*)\)$"
)
"""What is said of a variable in parentheses at the end: `y = 1/x (x > 0)`."""
_THOUSANDS = re.compile(rf"(?<![\d.])(\d{{1,3}})((?:{_SMALL_SPACE}+\d{{3}})+)(?!\d)")
_PLAIN_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?!,?\d)")
_LISTS = re.compile(r"[(\[]|\\\{|_\{")
"""Where a comma may stand between two numbers of a tuple or set."""
_SPACED_THOUSANDS = re.compile(r"([-+$]?)(\d{1,3}(?: \d{3})+)(?![\d ])")


_BACKWARD = re.compile(r"([\[\]])([^][(),]+,[^][(),]+)([\[\]])")
"""An interval with brackets only, whose open ends may be turned outward as in `]0, 1]`."""

_DEPTH = dict.fromkeys((*"([{", r"\{", r"\begin"), 1) | dict.fromkeys((*")]}", r"\}", r"\end"), -1)
_SPACE = re.compile(r"(?<!\\)\\(?:[,:; ]|$)|~")
_SPACES = re.compile(r"\s{2,}")
_WHITE = re.compile(r"\s+")
_OUTSIDE = re.compile(r"^[\s.,;:]+(?=[^\d])|[\s,;:]+$|(?<!\\)\.$")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")


def clean(text: str) -> str:
    """The text in one spelling."""
    if not text.isascii():
        text = _RAISED_METRES.sub(r"\1\\text{ \2}\3", text)
        text = _RAISED.sub(lambda m: f"^{{{m.group().translate(_LINE)}}}", text)
        text = _CIRCLED.sub(",", text.translate(_CHARACTERS))
        text = _CHINESE_JOINT.sub(lambda m: r"\text{or}" if "或" in m.group() else r"\text{and}", text)
    text = _THOUSANDS.sub(lambda m: m.group(1) + re.sub(r"\D", "", m.group(2)), text)
    text = text.replace("{,}", ".").replace(r"\!", "")
    text = _SPACE.sub(" ", text)
    text = _SPACES.sub(" ", text)  # else patterns that look for spaces twice take the square of a run
    for rule in RULES:
        if rule.needed in text:
            text = rule.pattern.sub(rule.replacement, text)
    if r"\\" in text and r"\begin" not in text:
        text = text.replace(r"\\", ",")
    text = _WHITE.sub(" ", text).strip()
    if text.endswith(")"):
        text = _CONDITION.sub(r", \1", text)
    if text.count("[") + text.count("]") > 1:
        text = _BACKWARD.sub(
            lambda m: f"{'[' if m[1] == '[' else '('}{m[2]}{']' if m[3] == ']' else ')'}", text
        )
    if not _LISTS.search(text):
        text = _PLAIN_THOUSANDS.sub(lambda m: m.group(1).replace(",", ""), text)
        text = _SPACED_THOUSANDS.sub(lambda m: m.group(1) + m.group(2).replace(" ", ""), text)
    return _OUTSIDE.sub("", text).strip()


def split_at(text: str, *separators: str) -> list[str]:
    """The parts of a text between separators that stand outside all brackets and braces."""
    if not any(separator in text for separator in separators):
        return [text]
    parts: list[str] = []
    depth = start = 0
    for token in _tokens(separators).finditer(text):
        if not token[1]:
            depth += _DEPTH.get(token[0], 0)
        elif depth == 0:
            parts.append(text[start : token.start()])
            start = token.end()
    return [*parts, text[start:]]


@cache
def _tokens(separators: tuple[str, ...]) -> re.Pattern[str]:
    """Separators, none of which is the start of a longer command, and what opens and closes brackets."""
    whole = (re.escape(one) + r"(?![^\W\d_])" * (one[0] == "\\" and one[1:].isalpha()) for one in separators)
    return re.compile(rf"({'|'.join(whole)})|\\(?:begin|end)(?=\{{)|\\.|[()\[\]{{}}]", re.DOTALL)


def unwrap_text(text: str) -> str | None:
    r"""The content when the whole text is one `\text{...}`."""
    match = _TEXT.fullmatch(text)
    return match[1] if match else None
