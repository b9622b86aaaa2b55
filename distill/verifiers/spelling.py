r"""One spelling for the many ways to write the same LaTeX: macros, spaces, full-width characters, thousands separators.

Only spelling changes here; no value does. Braceless arguments get their braces, and text macros become `\text`.
"""

import re
from collections.abc import Callable

_CHARACTERS = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {"−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty "}
    | {"≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "°": r"^{\circ}", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm "}
    | {"∅": r"\emptyset ", "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "、": ",", "。": "."}
    | {"θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "‘": "'", "’": "'", "“": '"', "”": '"', "′": "'", "€": r"\text{euro}"}
    | {"£": r"\text{gbp}", "¥": r"\text{yuan}", "\u00a0": r"\,", "\u2009": r"\,", "\u202f": r"\,", "\u2008": r"\,", "\u200b": ""}
)
_LARGE = {"thousand": 3, "million": 6, "billion": 9}
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "sixteen": 16}
_SMALL_SPACE = r"(?:\\[,!:; ]|\{,\}|,\\!|\\thinspace)"
_REPLACEMENTS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\\[[^\]]*\]", r"\\\\"),
        (r"\\begin\{(cases|aligned|gathered)\}(.*)\\end\{\1\}", lambda m: m.group(2).replace(r"\\", ",").replace("&", "")),
        (r"\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big|bigg|Bigg|displaystyle|textstyle|limits|mathstrut|strut)(?![A-Za-z])\s*\.?", ""),
        (r"(?<!\\)\\[\[\]()]", ""),
        (r"^\$(?=[\d.,]+[^$]*$)", r"\\$"),
        (r"(?<!\\)\$", ""),
        (r"\\\$", "$"),
        (r"\\(?:qquad|quad|enspace|thinspace|hspace\{[^}]*\})(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (
            r"\\(?:textbf|textrm|textit|textsf|texttt|textnormal|mathrm|mathit|mathsf|mathtt|mbox|hbox|rm|operatorname\*?|emph|bm|boldsymbol|mathbf)\s*\{",
            r"\\text{",
        ),
        (r"\\text\s+\{", r"\\text{"),
        (r"(?<=\d)\s*\\text\{\s*(thousand|million|billion)\b", lambda m: rf"\times 10^{{{_LARGE[m.group(1)]}}}\text{{"),
        (r"(?<=\d) (thousand|million|billion)\b", lambda m: rf"\times 10^{{{_LARGE[m.group(1)]}}} "),
        (
            r"_\s*\{?\s*\\text\{\s*(?:base\s*)?(two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen)\s*\}\s*\}?",
            lambda m: f"_{{{_BASES[m.group(1)]}}}",
        ),
        (r"^(\\text\{)?\s*(\d+) to (\d+)\s*(?(1)\})$", r"\2:\3"),
        (r"\\text\{\s*(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|gcd)\s*\}", r"\\\1 "),
        (r"\\text\{([ei])\}", r"\1"),
        (
            r"\\text\{\s*(and|or)\s*\}|\s+(and|or)\s+|(?<![^\W\d_])(和|或|且)",
            lambda m: rf"\text{{{'or' if (m.group(1) or m.group(2)) == 'or' or m.group(3) == '或' else 'and'}}}",
        ),
        (r"\\text\{\s*\}", " "),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|\{\}\^\\circ", r"^{\\circ}"),
        (r"\\(?:varnothing|O|empty)(?![A-Za-z])", r"\\emptyset"),
        (r"\\(?:leqslant|leqq|le)(?![A-Za-z])", r"\\leq"),
        (r"\\(?:geqslant|geqq|ge)(?![A-Za-z])", r"\\geq"),
        (r"\\ne(?![A-Za-z])", r"\\neq"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"<=", r"\\leq"),
        (r">=", r"\\geq"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(?:langle|lparen)(?![A-Za-z])", "("),
        (r"\\(?:rangle|rparen)(?![A-Za-z])", ")"),
        (r"\\(?:lbrack)(?![A-Za-z])", "["),
        (r"\\(?:rbrack)(?![A-Za-z])", "]"),
        (r"\\(?:approx|simeq)(?![A-Za-z])", ""),
        (r"\\%", "%"),
        (r"\+\s*\\infty", r"\\infty"),
        (r"√\s*(\d+|[a-z]|\([^()]*\))", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d|[A-Za-z])", r"\\sqrt{\1}"),
        (r"\\frac\s*(\d|[A-Za-z])\s*(\d|[A-Za-z])", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d|[A-Za-z])\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d|[A-Za-z])", r"\1{\2}"),
        (r"\\frac\s+\{", r"\\frac{"),
        (r"(\^|_)\s*(\d|[A-Za-z]|\\[a-z]+)", r"\1{\2}"),
        (r"_\{(\w)\}", r"_\1"),
    )
)
_THOUSANDS = re.compile(rf"(?<![\d.])(\d{{1,3}})((?:{_SMALL_SPACE}+\d{{3}})+)(?!\d)")
_PLAIN_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?!,?\d)")
_SPACED_THOUSANDS = re.compile(r"([-+$]?)(\d{1,3}(?: \d{3})+)(?![\d ])")


def clean(text: str) -> str:
    """The text in one spelling."""
    text = text.translate(_CHARACTERS)
    text = _THOUSANDS.sub(lambda m: m.group(1) + re.sub(r"\D", "", m.group(2)), text)
    text = text.replace("{,}", ".").replace(r"\!", "")
    text = re.sub(r"(?<!\\)\\(?:[,:; ]|$)|~", " ", text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = re.sub(r"\s+", " ", text).strip()
    if not re.search(r"[(\[{]", text):
        text = _PLAIN_THOUSANDS.sub(lambda m: m.group(1).replace(",", ""), text)
        text = _SPACED_THOUSANDS.sub(lambda m: m.group(1) + m.group(2).replace(" ", ""), text)
    return re.sub(r"^[\s.,;:]+(?=[^\d])|[\s,;:]+$|(?<!\\)\.$", "", text).strip()


def split_at(text: str, *separators: str) -> list[str]:
    """The parts of a text between separators that stand outside all brackets and braces."""
    parts: list[str] = []
    depth = start = position = 0
    while position < len(text):
        if depth == 0:
            found = next((s for s in separators if text.startswith(s, position) and not _inside_command(text, position, s)), None)
            if found:
                parts.append(text[start:position])
                start = position = position + len(found)
                continue
        if text.startswith(("\\{", "\\}"), position):
            depth += 1 if text[position + 1] == "{" else -1
            position += 2
        elif text[position] == "\\":
            environment = re.match(r"\\(begin|end)\{", text[position : position + 8])
            depth += 0 if environment is None else 1 if environment.group(1) == "begin" else -1
            position += 2
        else:
            depth += (text[position] in "([{") - (text[position] in ")]}")
            position += 1
    return [*parts, text[start:]]


def unwrap_text(text: str) -> str | None:
    r"""The content when the whole text is one `\text{...}`."""
    match = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    return match.group(1) if match else None


def _inside_command(text: str, position: int, separator: str) -> bool:
    """True when `\\le` is only the start of a longer command such as `\\leftarrow`."""
    return (
        separator.startswith("\\") and separator[1:].isalpha() and text[position + len(separator) : position + len(separator) + 1].isalpha()
    )
