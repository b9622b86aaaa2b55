r"""What a reference says: a value, or why it is none.

A list of texts written as text is that list, and the value that a marker leads to is the reference. Other
sentences and placeholders are no reference: an answer cannot be wrong by them.
"""

import ast
import re
from functools import lru_cache
from typing import NamedTuple

from distill.text import boxed
from distill.verifiers.math import words

MOST_CHARACTERS = 4096
_MARKER = re.compile(
    r"(?i)####|(?:\bthe )?(?:final )?\bans(?:wer)?\b\s*(?:\\?[:：]|is\b|=)[:\s]*"
    r"|\bresult is\b[:\s]*|\bfinal\s*:|答案?\s*(?:[:：是为]\s*)+|^\s*(?:therefore|hence|thus|so),?\s"
)
_END = re.compile(r"[.。!;](?:\s|$)|,?\s(?:because|since|which|so|as|by|hence|therefore)\s|\n")
_MATH = re.compile(r"\$[^$]*\$|\\(?:text[a-z]*|mbox|hbox|mathrm)\s*\{[^{}]*\}|\\[A-Za-z]+")
_SENTENCE = re.compile(
    r"(?i)\b(?:is|are|was|were|has|have|had|takes?|costs?|gets?|let|then|so|because|since|hence|thus|therefore"
    r"|which|there|she|he|it|they|we|es|ist|est)\b|因|所以|答"
)
_PLACEHOLDER = re.compile(
    r"(?i)\W*(?:the )?(?:proof|null|nan|n/a|nil|tbd|todo|q\.?e\.?d|omitted"
    r"|not (?:available|provided|applicable)"
    r"|see (?:the )?(?:solution|explanation|proof|above|below|text)(?: above| below)?"
    r"|solution|(?:proof|solution) omitted|no answer"
    r"|证明|略|证明略|见解析|答案见解析|证明见解析)?\W*"
)


_WRITTEN = re.compile(r"(?i)[a-z]{2}|n/a|(?:[a-z]\.){2}|[#*\"'{\[]")
"""What a placeholder, a list, a marker, a box and a sentence all have some of."""
MOST_MARKERS = 20


class Reference(NamedTuple):
    """The value of a reference, or the cause why it has none."""

    value: str
    cause: str = ""


@lru_cache(maxsize=8192)
def read(text: str | None) -> Reference:
    """The reference without a box, a list's brackets or the words that lead to it."""
    text = (text or "").strip()
    if text and text.isascii() and not _WRITTEN.search(text):
        return Reference(text)
    if not text:
        return Reference("", "no reference")
    try:
        text = ((boxed.last_boxed(text) if "\\" in text else None) or text).strip()
    except ValueError:
        return Reference(text)
    if text == "None" or (len(text) < 60 and _PLACEHOLDER.fullmatch(text) and re.search(r"[^\W\d_]", text)):
        return Reference("", f"a placeholder: {text[:60]!r}")
    if len(text) <= MOST_CHARACTERS and re.match(r"[\[{]\s*[\"']", text):
        return _listed(text)
    if re.fullmatch(r"\*\*[^*]+\*\*", text):
        text = text[2:-2].strip()
    markers = list(_MARKER.finditer(text)) if not text.startswith("\\") else []
    if len(markers) > MOST_MARKERS:
        return Reference("", f"a sentence: {text[:60]!r}")
    values = {_END.split(_MARKER.sub("", text[one.end() :]).strip(), maxsplit=1)[0] for one in markers}
    values = {value.strip(" $.。*") for value in values} - {""}
    if markers and len(values) != 1:
        return Reference("", f"a sentence: {text[:60]!r}")
    value = values.pop() if values else text
    plain = _MATH.sub(" ", value)
    if _SENTENCE.search(plain) and words.phrase(value.rstrip(".")) == value.rstrip(".").casefold():
        return Reference("", f"a sentence: {text[:60]!r}")
    return Reference(value)


def _listed(text: str) -> Reference:
    """The items of a flat list of texts."""
    cause = f"a list that cannot be read: {text[:60]!r}"
    if not re.fullmatch(r"\[[^\[\]{}]*\]", text):
        return Reference("", cause)
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Reference("", cause)
    if not all(isinstance(item, str) and item.strip() and "," not in item for item in items):
        return Reference("", cause)
    return Reference(", ".join(item.strip() for item in items))
