r"""Lists, sets and assignments in short answers, as JSON or as people write them, and when two of them are
equal.

"Alice: red; Bob = blue", a bullet list, a Markdown table of two columns and a JSON object are the same
assignment. Scalars are compared as texts, numbers by value: `true` equals "True" and not 1. A key with two
values makes no assignment. Nothing is read out of running prose, and a list inside a list has to be JSON.
"""

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from itertools import accumulate
from typing import Any

from distill.records import Outcome

DEEPEST = 60
"""Brackets inside brackets that are still read."""
SHOWN_KEYS = 3
"""So many differing keys are named in a detail."""

_SPACES = re.compile(r"\s+")
_WRAPPED = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s?\{([^{}]*)\}|\$|\*\*|`+(?:json\b)?|</?answer>|\\[()\[\]]"
)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3}){1,12}|\d{1,40})(?:\.\d{1,40})?")
_BRACKETS = re.compile(r"[()\[\]{}<> ]+")
_SET = re.compile(r"\{[^{}\[\]:\"]*\w[^{}\[\]:\"]*\}")
_BULLET = re.compile(r"^(?:[-*•+]\s|\d{1,3}[.)]\s)?(?:(?i:and|so|thus|hence|therefore)\b,?\s)*")
_BULLETED = re.compile(r"(?:[-*•+]|\d{1,3}[.)])\s")
_PAIR = re.compile(
    r"([^:=→]{1,80}?)(?:\s?(?::(?=\s)|=|→|->)\s?|\s(?i:is)\s(?i:an?\s|the\s)?)(\S.*)", re.DOTALL
)
_RULE = re.compile(r"[|:\- ]+")
_PYTHON = {"True": "true", "False": "false", "None": "null"}


def read(reference: str) -> Any:
    """A reference as a dict, a list, a frozenset of texts, or else the text itself."""
    text = unwrapped(reference).strip()
    value = json_value(text)
    if value is not None:
        return value
    return _scalars(text) if _SET.fullmatch(text) else assigned(text) or reference


def compared(wanted: Any, answer: str) -> tuple[Outcome, str]:
    """(outcome, detail) of an answer's text against a dict, a list or a set."""
    text = unwrapped(answer).strip()
    value = json_value(text)
    if isinstance(wanted, dict):
        given = value if isinstance(value, dict) else assigned(text, at_least=1)
        if given is not None:
            return _by_key(wanted, given)
        return ("unparsed_answer", "no assignment of values to keys")
    if isinstance(wanted, frozenset):
        same = wanted == (frozenset(map(_scalar, value)) if isinstance(value, list) else _scalars(text))
    else:
        same = equal(wanted, value if isinstance(value, list) else _parts(text))
    return ("correct" if same else "wrong"), ""


def equal(wanted: Any, given: Any) -> bool:
    """Equality of JSON values: lists in order, scalars as texts, numbers by value."""
    match wanted, given:
        case dict(), dict():
            return _by_key(wanted, given)[0] == "correct"
        case list(), list():
            return len(wanted) == len(given) and all(equal(a, b) for a, b in zip(wanted, given, strict=True))
        case (dict() | list(), _) | (_, dict() | list()):
            return False
    return _scalar(wanted) == _scalar(given)


def same_text(first: str, second: str) -> bool:
    """Equality of two short texts."""
    return _scalar(first) == _scalar(second)


def json_value(text: str) -> Any:
    """The JSON list or object that a text is, also with Python's quotes; None for anything else and for a key
    that is there twice."""
    text = text.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return None
    if max(accumulate((character in "[{") - (character in "]}") for character in text)) > DEEPEST:
        return None
    if '"' not in text:
        text = re.sub(r"\b(?:True|False|None)\b", lambda match: _PYTHON[match[0]], text.replace("'", '"'))
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except ValueError:
        return None


def assigned(text: str, at_least: int = 2) -> dict[str, Any] | None:
    """The values of keys in a text that is an assignment and nothing else, or None."""
    if text[:1] in ("[", "{"):
        return None  # JSON that could not be read: as an assignment it would have keys with quotes and braces
    pairs = [_PAIR.fullmatch(item) for item in _items(text)]
    found = {plain(pair.group(1)): pair for pair in pairs if pair}
    if len(pairs) < at_least or len(found) != len(pairs):
        return None
    return {pair.group(1).strip(): pair.group(2).strip(" ,.;") for pair in found.values()}


def closing_block(text: str) -> str | None:
    """The lines of assignments, the bullet list or the table that a text ends with, or None."""
    block: list[str] = []
    for line in reversed(text.rpartition("\n\n")[2].splitlines()):
        if not (line.startswith("|") or _BULLETED.match(line) or assigned(line, at_least=1)):
            break
        block.append(line)
    found = "\n".join(reversed(block))
    return found if assigned(found) or (len(block) > 1 and all(map(_BULLETED.match, block))) else None


def only_brackets(text: str) -> bool:
    """True for a sequence of brackets, such as the rest of a Dyck word."""
    return _BRACKETS.fullmatch(text) is not None


def plain(text: str) -> str:
    """A short text without case, markup, outer quotes, spaces and full stop."""
    text = _SPACES.sub(" ", unwrapped(text)).strip().casefold()
    return text.rstrip(".").strip().strip("\"'“”‘’").strip() or text


def unwrapped(text: str) -> str:
    """A text without markup, each run of white space one space, one line break or one blank line."""
    text = _WRAPPED.sub(lambda match: match.group(1) or "", text).replace("\\{", "{").replace("\\}", "}")
    return _SPACES.sub(lambda match: "\n" * min(2, match.group().count("\n")) or " ", text)


def _by_key(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Outcome, str]:
    """(outcome, detail) of two assignments, with the keys that differ."""
    values = {plain(key): (key, value) for key, value in given.items()}
    differing = []
    for key, value in wanted.items():
        found = values.pop(plain(key), None)
        if found is None:
            differing.append(f"{key} is missing, reference {value!r}")
        elif not equal(value, found[1]):
            differing.append(f"{key} is {found[1]!r}, reference {value!r}")
    right = len(wanted) - len(differing)
    differing += [f"{key} is not in the reference" for key, _ in values.values()]
    if not differing:
        return "correct", ""
    return "wrong", f"{right} of {len(wanted)} keys: {'; '.join(differing[:SHOWN_KEYS])}"


def _items(text: str) -> list[str]:
    """The parts of a text that may each assign one value: table rows, lines, or what stands between
    semicolons or commas."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and all(line.startswith("|") for line in lines):
        rules = [number for number, line in enumerate(lines) if _RULE.fullmatch(line) and "-" in line]
        rows = [row for row in (lines[rules[0] + 1 :] if rules else lines) if row.count("|") == 3]
        return [" = ".join(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
    lines = lines[1:] if lines and lines[0].endswith(":") else lines
    items = [item for line in lines for item in line.split(";")]
    items = items[0].split(",") if len(items) == 1 else items
    return [_BULLET.sub("", item.strip()) for item in items if item.strip(" .,")]


def _parts(text: str) -> list[str]:
    """The elements of a list in plain writing: lines, or what stands between commas."""
    text = text.strip()
    text = text[1:-1] if text[:1] + text[-1:] in ("[]", "()", "{}") else text
    joint = r"\n" if "\n" in text.strip() else r",(?!\d{3}(?!\d))\s?(?:and\s)?|\sand\s|[;、，]\s?"
    parts = re.split(joint, text)
    return [_BULLET.sub("", part.strip()) for part in parts if part.strip()]


def _scalars(text: str) -> frozenset[str]:
    return frozenset(map(_scalar, _parts(text)))


def _scalar(value: Any) -> str:
    """One spelling for equal scalars."""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    text = plain(value.replace("−", "-"))
    if _NUMBER.fullmatch(text):
        return str(Fraction(text.replace(",", "")))
    return text.replace(" ", "") if only_brackets(text) else re.sub(" ?, ?", " ", text)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({plain(key) for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)
