r"""The options that a question lists, and the patterns that read their names in an answer.

Options are called A to Z, a to z, 1 to 26 or i to xxvi ("A. x", "(A) x", "A) x", "- A: x", "A - x" or "A x"
on a line each, "① x"). Names other than capitals count at the start of a line or in brackets only, and where
no capitals are listed.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Style = Literal["upper", "lower", "digits", "roman"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TENS = ("", "x", "xx")
_ONES = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")
SEQUENCES: dict[Style, tuple[str, ...]] = {
    "upper": tuple(LETTERS),
    "lower": tuple(LETTERS.lower()),
    "digits": tuple(str(number) for number in range(1, 27)),
    "roman": tuple(_TENS[number // 10] + _ONES[number % 10] for number in range(1, 27)),
}
MOST_OPTIONS = 26
USUAL_LETTERS = 10
"""A to J are read as letters even where fewer are listed: such an answer is wrong, not unreadable."""

_SPACES = re.compile(r"\s+")
_WRAPPED = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s?\{([^{}]*)\}|\$|\*+|__|`|\\[()\[\]]|\\(?:qquad|quad|[ "
    r",;:!])|~"
)
_WIDE = {0xFEE0 + code: chr(code) for code in (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B))}
_WIDE |= {ord("（"): "(", ord("）"): ")", ord("．"): ". ", ord("："): ": ", ord("［"): "[", ord("］"): "]"}
_WIDE |= {0x2460 + index: f"({index + 1}) " for index in range(20)}  # the circled numbers
_BEFORE = r"(?<![A-Za-z0-9_'\\(\[])"
_AFTER = r"([)\]:.、])(?:(?<=[.:])(?=[\s\u0080-\uffff])|(?<![.:]))"
_LISTS: tuple[tuple[Style, re.Pattern[str]], ...] = (
    ("upper", re.compile(rf"{_BEFORE}([(\[]?)([A-Z]){_AFTER}")),
    ("upper", re.compile(r"^()[|>• -]*([A-Z])(\s?[-–—|]\s|\s)(?=\S)", re.MULTILINE)),
    ("lower", re.compile(rf"(?:(?<![A-Za-z0-9_'\\])([(\[])|^[>• -]*)([a-z]){_AFTER}", re.MULTILINE)),
    ("digits", re.compile(rf"(?:(?<![A-Za-z0-9_'\\])([(\[])|^[>• -]*)(\d{{1,2}}){_AFTER}", re.MULTILINE)),
    ("roman", re.compile(rf"(?:(?<![A-Za-z0-9_'\\])([(\[])|^[>• -]*)([ivx]+|[IVX]+){_AFTER}", re.MULTILINE)),
)


class Options(dict[str, str]):
    """Name and text of the options of a question, in order; letters are capitals and Roman numbers small
    here."""

    style: Style = "upper"


class Patterns(NamedTuple):
    """What reads the names of options in an answer."""

    name: re.Pattern[str]
    """One name standing alone."""
    items: re.Pattern[str]
    """Several names in a row."""
    said: re.Pattern[str]
    """What may follow "the answer is"."""
    named: re.Pattern[str]
    """A short text that is names, or a name with more after it."""
    marker: re.Pattern[str]
    """A name that is set off, as in "(B)" or "B."."""
    confirmed: re.Pattern[str]
    """ "Option C is correct"."""


@lru_cache(maxsize=1024)
def options(question: str) -> Options:
    """The options that a question lists; empty without two of them."""
    text = plain(question)
    for style, pattern in _LISTS:
        markers = _longest_run(text, style, pattern)
        if len(markers) < 2:
            continue
        line_end = text.find("\n", markers[-1].end())
        ends = [marker.start() for marker in markers[1:]] + [len(text) if line_end < 0 else line_end]
        found = Options()
        found.style = style
        for marker, end in zip(markers, ends, strict=True):
            found[fold(marker.group(2), style)] = text[marker.end() : end].strip(" \n-*|,;，；")
        return found
    return Options()


def _longest_run(text: str, style: Style, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """The longest run of markers of one spelling in their order, the last one of equals."""
    runs: dict[str, list[re.Match[str]]] = {}
    longest: list[re.Match[str]] = []
    sequence = SEQUENCES[style]
    for marker in pattern.finditer(text):
        spelling = f"{marker.group(1) or ''}{marker.group(3)}{marker.group(2).isupper()}"
        name = marker.group(2) if style == "upper" else marker.group(2).lower()
        run = runs.setdefault(spelling, [])
        if name == sequence[0]:
            run = runs[spelling] = []
        if len(run) < len(sequence) and name == sequence[len(run)]:
            run.append(marker)
            longest = run if len(run) >= len(longest) else longest
    return longest


def fold(name: str, style: Style) -> str:
    """The one spelling of a name."""
    return name.upper() if style in ("upper", "lower") else name.lower()


@lru_cache(maxsize=256)
def patterns(style: Style, count: int) -> Patterns:
    """The patterns for so many options of a style."""
    last = LETTERS[max(count, USUAL_LETTERS) - 1]
    names = sorted(SEQUENCES[style][:count], key=len, reverse=True)
    name = {"upper": f"[A-{last}]", "lower": f"[A-{last}a-{last.lower()}]"}.get(
        style, f"(?i:{'|'.join(names)})"
    )
    number = style in ("digits", "roman")
    alone = rf"{name}(?![A-Za-z0-9_'])" + (r"(?![./]\d)" if number else "")
    one = rf"(?:\({name}\)|{alone}\)?)"
    loose = "" if number else r"|\s?/\s?|\s"  # 1/2 and 1 2 are numbers
    items = rf"{one}(?:(?:\s?[,;&、，]\s?(?:(?:and|or)\s)?|\s(?:and|or)\s|\s?[和与或]\s?{loose}){one})*"
    in_order = "".join(f"{letter}?" for letter in LETTERS[: max(count, USUAL_LETTERS)])
    run = "" if number else rf"|(?=[A-{last}]{{2}}){in_order}(?![A-Za-z0-9])"
    word = r"(?i:(?:the\s)?(?:options?|choices?|answers?|letters?|选项|选择|答案))"
    dotted = rf"\({name}\)|{name}(?:[):、]|\." + (r"(?!\d))" if number else ")")
    return Patterns(
        name=re.compile(rf"(?<![A-Za-z0-9_'\\.])({name})(?![A-Za-z0-9_'])(?!\.\d)"),
        items=re.compile(items),
        said=re.compile(items + run),
        named=re.compile(
            rf"(?:{word}\s?(?:[:：]\s?|(?i:is)\s)?)?(?:({items})|({dotted})\s?(\S.*))", re.DOTALL
        ),
        marker=re.compile(rf"\(({name})\)|(?<![A-Za-z0-9])({name})[).:、](?![A-Za-z0-9])"),
        confirmed=re.compile(
            rf"(?i:\b(?:option|choice|answer)\s)({one})\s(?i:(?:is|must be) (?:therefore |thus |indeed "
            r"|clearly )?"
            rf"(?:the )?(?:only |best )?(?:correct|right|answer)\b)"
            rf"|(?<![A-Za-z0-9(.])({one})\s(?i:(?:is|must be) (?:therefore |thus )?"
            rf"the (?:only )?(?:correct |right |best )?(?:answer|option|choice)\b)"
        ),
    )


def plain(text: str) -> str:
    """The text without markup and full-width forms, each run of white space one space or one line break."""
    text = text.translate(_WIDE)
    text = _SPACES.sub(lambda match: "\n" if "\n" in match.group() else " ", text)
    for _ in range(2):  # \textbf{\text{C}}
        text = _WRAPPED.sub(
            lambda match: match.group(1) or " " * match.group().startswith(("\\q", "\\ ", "\\,", "~")), text
        )
    return text
