r"""One spelling for the many ways to write the same LaTeX: macros, spaces, full-width characters, thousands separators.

Only spelling changes here; no value does. Braceless arguments get their braces, and text macros become `\text`.
"""

import re
from collections.abc import Callable

_CHARACTERS = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {"−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty "}
    | {
        "≤": r"\leq ",
        "≥": r"\geq ",
        "≠": r"\neq ",
        "≈": r"\approx ",
        "°": r"^{\circ}",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "±": r"\pm ",
    }
    | {"∅": r"\emptyset ", "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "、": ",", "。": "."}
    | {"θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "‘": "'", "’": "'", "“": '"', "”": '"', "′": "'", "€": r"\text{euro}"}
    | {"£": r"\text{gbp}", "¥": r"\text{yuan}", "\u00a0": r"\,", "\u2009": r"\,", "\u202f": r"\,", "\u2008": r"\,", "\u200b": ""}
)


def _choose(match: re.Match[str]) -> str:
    """`C_5^2` of school books as a binomial coefficient; `C_1^2` is the square of a constant."""
    above, below = match.groups()
    return rf"\binom{{{above}}}{{{below}}}" if int(below) <= int(above) > LARGEST_CONSTANT_INDEX else match.group()


def _rows(match: re.Match[str]) -> str:
    """The equations of a system as a list, the branches of a function as a set of pairs of value and condition."""
    body = re.sub(r"&(?=\s*(?:[=<>]|\\[lg]eq?(?![a-z])|\\in(?![a-z])))", "", match.group(1))
    if "&" not in body:
        return body.replace(r"\\", ",")
    rows = (re.split(r"[\s,;]*&\s*", re.sub(r"\\text\{\s*(?:if|for|when|当)\s*\}", "", row)) for row in body.split(r"\\") if row.strip())
    return rf"\{{{', '.join('(' + ', '.join(row).strip(' ,.;') + ')' for row in rows)}\}}"


LARGEST_CONSTANT_INDEX = 3
_LARGE = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "万": 4, "亿": 8}
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "sixteen": 16}
_SMALL_SPACE = r"(?:\\[,!:; ]|\{,\}|,\\!|\\thinspace)"
_REPLACEMENTS: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (needed, re.compile(pattern), replacement)
    for needed, pattern, replacement in (
        ("\\\\[", r"\\\\\[[^\]]*\]", r"\\\\"),
        ("\\begin", r"\\begin\{(?:cases|aligned|gathered)\}(.*?)\\end\{(?:cases|aligned|gathered)\}", _rows),
        (
            "\\",
            r"\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big|bigg|Bigg|displaystyle|textstyle|limits|mathstrut|strut)(?![A-Za-z])\s*\.?",
            "",
        ),
        ("\\", r"(?<!\\)\\[\[\]()]", ""),
        ("$", r"^\$(?=[\d.,]+[^$]*$)", r"\\$"),
        ("$", r"(?<!\\)\$", ""),
        ("$", r"\\\$", "$"),
        ("\\", r"\\(?:qquad|quad|enspace|thinspace|hspace\{[^}]*\})(?![A-Za-z])", " "),
        ("\\", r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (
            "\\",
            r"\\(?:mathbf|boldsymbol|bm|overrightarrow|vec|hat|widehat)\s*\{\s*(?:\\(?:hat|vec)\s*\{)?\s*\\?([ijk])(?:math)?\s*\}?\}",
            r"\1",
        ),
        (
            "\\",
            r"\\(?:textbf|textrm|textit|textsf|texttt|textnormal|mathrm|mathit|mathsf|mathtt|mbox|hbox|rm|operatorname\*?|emph|bm|boldsymbol|mathbf)\s*\{",
            r"\\text{",
        ),
        ("\\text", r"\\text\s+\{", r"\\text{"),
        ("color", r"\\(?:text)?color\s*\{[^{}]*\}", ""),
        ("\\underline", r"\\underline\s*\{([^{}]*)\}", r"\1"),
        ("\\checkmark", r"\\checkmark(?![A-Za-z])", ""),
        (":", r"\\text\{\s*:\s*\}|\{:\}", ":"),
        ("\\text", r"\\text\{\s*(\d+(?:\.\d+)?|[0-9A-F]+(?=\}_))\s*\}", r"\1"),
        ("_", r"_\{?\((\d+)\)\}?", r"_{\1}"),
        ("\\mu", r"\\mu\s*\\text\{\s*", r"\\text{micro"),
        ("Omega", r"(?<=[\d}])\s*\\Omega$", r"\\text{ohm}"),
        (r"\dot", r"\\dot\{(\d)\}(\d*)\\dot\{(\d)\}", r"\\overline{\1\2\3}"),
        ("\\frac", r"\\frac\s*\{\s*\\text\{([^{}]*)\}\s*\}\s*\{\s*\\text\{([^{}]*)\}\s*(\^\{?\d\}?)?\s*\}", r"\\text{\1/\2\3}"),
        ("USD", r"^(?:\\text\{)?\s*USD\s*\}?\s*(?=\d)", "$"),
        ("\\in", r"\\in\s*(?:\\text\{)?([RZNQ])\}?(?![A-Za-z])", r"\\in \\mathbb{\1}"),
        ("\\mathbb", r"^([^<>]+?)[\s,]*[,(]\s*n\s*\\in\s*\\mathbb\{(?:N\}(?:[\^_]\s*\{?[*+]\}?)?|Z\}[\^_]\s*\{?[*+]\}?)\s*\)?$", r"\1"),
        (":", r"^(?:l|L|\\ell)\s*:\s*(?=[^:]*=)", ""),
        ("\\mathbb{Z}", r"[\s,]*\(\s*([a-z]\s*\\in\s*\\mathbb\{Z\})\s*\)$", r", \1"),
        ("\\lg", r"\\lg(?![A-Za-z])", r"\\log_{10}"),
        ("\\log", r"\\log\s*_\s*\{?e\}?(?![A-Za-z])", r"\\ln "),
        (
            "mod",
            r"\\text\{\s*\(?\s*mod(?:ulo)?\s*\}?\s*(\d+)\s*\)?\s*\}?|\(\s*(?:\\text\{)?\s*mod(?:ulo)?\s*\}?\s*(\d+)\s*\)",
            r"\\pmod{\1\2}",
        ),
        ("%", r"\\text\{\s*\\?%\s*\}", "%"),
        ("\\", r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|it|rm|sf|tt|cal|bfseries|itshape|boldmath)(?![A-Za-z])", ""),
        ("\\overrightarrow", r"\\overrightarrow(?![A-Za-z])", r"\\vec"),
        ("\\", r"\\[lr]?vert(?![A-Za-z])", "|"),
        ("pi", r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (
            "sqrt",
            r"(?<![A-Za-z\\])sqrt\s*(?:\(([^()]*)\)|(?=\{))",
            lambda m: r"\sqrt" + ("" if m.group(1) is None else f"{{{m.group(1)}}}"),
        ),
        ("infinity", r"(?:\\text\{)?\s*(?<![A-Za-z\\])(?:positive )?infinity(?![A-Za-z])\s*\}?", r"\\infty"),
        (
            "real",
            r"^(?:\\text\{)?\s*(?:(?:(?:all|any|the|set of) )+reals?(?: numbers?)?|real numbers)\s*\}?$",
            r"\\mathbb{R}",
        ),
        ("实数", r"^(?:\\text\{)?\s*(?:全体|任意|一切)实数\s*\}?$", r"\\mathbb{R}"),
        ("R", r"\\R(?![A-Za-z])|\\text\{R\}|(?<=\\in )R$|(?<=\\in)R$", r"\\mathbb{R}"),
        ("C", r"(?:\\text\{C\}|\{?\}?\bC)_\{?(\d+)\}?\s*\^\s*\{?(\d+)\}?", _choose),
        ("C", r"(?:\{\}|^)_\{?(\d+)\}?\s*C_\{?(\d+)\}?", r"\\binom{\1}{\2}"),
        (
            "\\text",
            r"(?<=\d)\s*\\text\{\s*(hundred\b|thousand\b|million\b|billion\b|trillion\b|万|亿)",
            lambda m: rf"\times 10^{{{_LARGE[m.group(1)]}}}\text{{",
        ),
        (
            "",
            r"(?<=\d)\s*( hundred\b| thousand\b| million\b| billion\b| trillion\b|万|亿)",
            lambda m: rf"\times 10^{{{_LARGE[m.group(1).strip()]}}} ",
        ),
        (
            "_",
            r"_\s*\{?\s*\\text\{\s*(?:base\s*)?(two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen)\s*\}\s*\}?",
            lambda m: f"_{{{_BASES[m.group(1)]}}}",
        ),
        (" to ", r"^(\\text\{)?\s*(\d+) to (\d+)\s*(?(1)\})$", r"\2:\3"),
        ("to", r"^(\d+)\s*\\text\{\s*to\s*\}\s*(\d+)$", r"\1:\2"),
        ("\\text", r"\\text\{\s*(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|gcd)\s*\}", r"\\\1 "),
        ("\\text", r"\\text\{([ei])\}", r"\1"),
        ("or", r"\\text\{\s*or\s*\}|\s+or\s+|\\lor(?![A-Za-z])", r"\\text{or}"),
        ("and", r"\\text\{\s*and\s*\}|\s+and\s+|\\land(?![A-Za-z])", r"\\text{and}"),
        ("\\vee", r"\\vee(?![A-Za-z])", r"\\text{or}"),
        ("\\wedge", r"\\wedge(?![A-Za-z])", r"\\text{and}"),
        ("\\text", r"\\text\{\s*\}", " "),
        ("\\", r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|\{\}\^\\circ", r"^{\\circ}"),
        ("\\", r"\\(?:varnothing|O|empty)(?![A-Za-z])", r"\\emptyset"),
        ("\\", r"\\(?:leqslant|leqq|le)(?![A-Za-z])", r"\\leq"),
        ("\\", r"\\(?:geqslant|geqq|ge)(?![A-Za-z])", r"\\geq"),
        ("\\ne", r"\\ne(?![A-Za-z])", r"\\neq"),
        ("\\lt", r"\\lt(?![A-Za-z])", "<"),
        ("\\gt", r"\\gt(?![A-Za-z])", ">"),
        ("<=", r"<=", r"\\leq"),
        (">=", r">=", r"\\geq"),
        ("\\lbrace", r"\\lbrace(?![A-Za-z])", r"\\{"),
        ("\\rbrace", r"\\rbrace(?![A-Za-z])", r"\\}"),
        ("\\", r"\\(?:langle|lparen)(?![A-Za-z])", "("),
        ("\\", r"\\(?:rangle|rparen)(?![A-Za-z])", ")"),
        ("\\", r"\\(?:lbrack)(?![A-Za-z])", "["),
        ("\\", r"\\(?:rbrack)(?![A-Za-z])", "]"),
        ("\\simeq", r"\\simeq(?![A-Za-z])", r"\\approx"),
        ("approx", r"\\(?:thickapprox|approxeq)(?![A-Za-z])", r"\\approx"),
        ("\\choose", r"\{?([^{}\\]+)\\choose\s*([^{}\\]+)\}?", r"\\binom{\1}{\2}"),
        ("/", r"(\d+)/(\d+)(?=\s*\\pi)", r"\\frac{\1}{\2}"),
        ("%", r"\\%", "%"),
        ("\\infty", r"\+\s*\\infty", r"\\infty"),
        ("√", r"√\s*(\d+|[a-z]|\([^()]*\))", r"\\sqrt{\1}"),
        ("\\sqrt", r"\\sqrt\s*(\[[^][]*\])?\s*(\d|[A-Za-z])", r"\\sqrt\1{\2}"),
        ("\\frac", r"\\frac\s*(\d|[A-Za-z])\s*(\d|[A-Za-z])", r"\\frac{\1}{\2}"),
        ("\\frac", r"\\frac\s*(\d|[A-Za-z])\s*\{", r"\\frac{\1}{"),
        ("\\frac", r"(\\frac\s*\{[^{}]*\})\s*(\d|[A-Za-z])", r"\1{\2}"),
        ("\\frac", r"\\frac\s+\{", r"\\frac{"),
        ("", r"(\^|_)\s*(\d|[A-Za-z]|\\[a-z]+)", r"\1{\2}"),
        ("_", r"_\{(\w)\}", r"_\1"),
        (";", r"(?<!\\);\s*(?=\S)", ","),
    )
)
_CIRCLED = re.compile(r"(?<=[①-⑳])[\s,和]*(?=[①-⑳])")
_CHINESE_JOINT = re.compile(r"\\[a-z]+\{\s*(?:和|与|且|或者?)\s*\}|(?<![^\W\d_])(?:和|或者?|且)")
_CONDITION = re.compile(r"(?:(?<=[^\sA-Za-z])\s*|(?<=\S)\s+)\((\s*[a-z]\s*(?:\\neq|\\leq|\\geq|<|>)[^()]*)\)$")
"""What is said of a variable in parentheses at the end: `y = 1/x (x > 0)`."""
_THOUSANDS = re.compile(rf"(?<![\d.])(\d{{1,3}})((?:{_SMALL_SPACE}+\d{{3}})+)(?!\d)")
_PLAIN_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?!,?\d)")
_LISTS = re.compile(r"[(\[]|\\\{|_\{")
"""Where a comma may stand between two numbers of a tuple or set."""
_SPACED_THOUSANDS = re.compile(r"([-+$]?)(\d{1,3}(?: \d{3})+)(?![\d ])")


_BACKWARD = re.compile(r"([\[\]])([^][(),]+,[^][(),]+)([\[\]])")
"""An interval with brackets only, whose open ends may be turned outward as in `]0, 1]`."""


def clean(text: str) -> str:
    """The text in one spelling."""
    if not text.isascii():
        text = _CIRCLED.sub(",", text.translate(_CHARACTERS))
        text = _CHINESE_JOINT.sub(lambda m: r"\text{or}" if "或" in m.group() else r"\text{and}", text)
    text = _THOUSANDS.sub(lambda m: m.group(1) + re.sub(r"\D", "", m.group(2)), text)
    text = text.replace("{,}", ".").replace(r"\!", "")
    text = re.sub(r"(?<!\\)\\(?:[,:; ]|$)|~", " ", text)
    text = re.sub(r"\s{2,}", " ", text)  # patterns that look for spaces twice would take the square of a long run
    for needed, pattern, replacement in _REPLACEMENTS:
        if needed in text:
            text = pattern.sub(replacement, text)
    text = re.sub(r"\s+", " ", text).strip()
    if text.endswith(")"):
        text = _CONDITION.sub(r", \1", text)
    if "]" in text:
        text = _BACKWARD.sub(lambda m: f"{'[' if m[1] == '[' else '('}{m[2]}{']' if m[3] == ']' else ')'}", text)
    if not _LISTS.search(text):
        text = _PLAIN_THOUSANDS.sub(lambda m: m.group(1).replace(",", ""), text)
        text = _SPACED_THOUSANDS.sub(lambda m: m.group(1) + m.group(2).replace(" ", ""), text)
    return re.sub(r"^[\s.,;:]+(?=[^\d])|[\s,;:]+$|(?<!\\)\.$", "", text).strip()


def split_at(text: str, *separators: str) -> list[str]:
    """The parts of a text between separators that stand outside all brackets and braces."""
    if not any(separator in text for separator in separators):
        return [text]
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
