"""Words and numbers of a text, as the duplicate, repetition and contamination screens count them.

A word is what stands between spaces; Chinese and Japanese, which have none, are cut into pieces of two
characters from the start of each run. Punctuation stays with its word. Thai, Lao and Khmer are not cut: a
sentence of theirs is a word.
"""

import re
import unicodedata

UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han as the inside of a character class."""
NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
    " twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million dozen half third "
    "quarter twice double triple"
)

_PIECES = re.compile(f"[{UNSPACED}]{{1,2}}|[^\\s{UNSPACED}]+")
_PLAIN = re.compile(f"[^\\W_{UNSPACED}]+|[{UNSPACED}]{{1,2}}")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LETTERS = re.compile("[a-z]+")
_HAN_NUMBER = re.compile(
    r"[\u96f6\u3007\u4e00\u4e8c\u4e24\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07\u4ebf\u534a]+"
)
_NUMBER_WORDS = frozenset(NUMBER_WORDS.split())


def words(text: str) -> list[str]:
    """The words of a text in lower case, punctuation and numbers as they stand."""
    lowered = text.lower()
    if text.isascii() or not _UNSPACED.search(lowered):
        return lowered.split()
    return _PIECES.findall(lowered)


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case without any punctuation: what a question typed again keeps."""
    return _PLAIN.findall(unicodedata.normalize("NFKC", text).lower())


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, without thousands separators."""
    return [number.replace(",", "") for number in _NUMBER.findall(text)]


def quantities(text: str) -> list[str]:
    """The numbers of a text and its English and Chinese words for numbers: what tells problems of a template
    apart."""
    written = [word for word in _LETTERS.findall(text.lower()) if word in _NUMBER_WORDS]
    return numbers(text) + written + ([] if text.isascii() else _HAN_NUMBER.findall(text))
