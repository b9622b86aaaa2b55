"""The scripts of a text: which letters and words of them stand where, and which rows of them are long enough
to be a switch.

Languages that share a script are not told apart here, so Chinese in Japanese or Bulgarian in Russian is not
found. Han and kana count 1.5 characters a word, Thai 4; single letters are variables and no words; in a text
without Latin letters of its own, units and names of functions such as `sin` are no foreign words either. The
texts that come here have blanks where formulas, code and links were.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHARACTERS_PER_WORD = {"han": 1.5, "kana": 1.5, "thai": 4.0}
"""Mean length of a word in running text, for scripts that are written without spaces."""
PASSAGE_WORDS = 1.3
PASSAGE_WORDS_IN_A_ROW = 6.0
"""A switch: a sentence without a word of the text's own language that has `PASSAGE_WORDS` (two Chinese
characters are enough, one Russian word is not), or `PASSAGE_WORDS_IN_A_ROW` foreign words without one of the
text's own between them. All other foreign words are lone."""
PASSAGE_WORDS_LATIN = 12.0
"""The same for Latin letters in a text of another script, which has names, code and terms in them and is no
less in its language."""

LETTERS = {
    "latin": ("A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff", 2),
    "han": ("\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff", 1),
    "kana": ("\u3040-\u30ff", 1),
    "hangul": ("\uac00-\ud7af\u1100-\u11ff", 1),
    "cyrillic": ("\u0400-\u052f", 2),
    "arabic": ("\u0600-\u06ff\u0750-\u077f", 2),
    "hebrew": ("\u0590-\u05ff", 2),
    "devanagari": ("\u0900-\u097f", 1),
    "thai": ("\u0e00-\u0e7f", 1),
    "greek": ("\u0370-\u03ff\u1f00-\u1fff", 3),
}
"""The letters of a script, and how many of them in a row are a word at least."""
LANGUAGE = {
    "han": "zh",
    "kana": "ja",
    "hangul": "ko",
    "cyrillic": "ru",
    "arabic": "ar",
    "hebrew": "he",
    "devanagari": "hi",
    "thai": "th",
    "greek": "el",
}

_WORD = re.compile(
    "|".join(f"(?P<{name}>[{letters}]{{{least},}})" for name, (letters, least) in LETTERS.items())
)
_ENDS = ".!?;\n\u3002\uff01\uff1f\uff1b"
_SENTENCE_END = re.compile(f"[{_ENDS}]")
_TECHNICAL = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot)h?|sec|csc|log|ln|lg|exp|lim|max|min|mod|gcd|lcm|det|dim|deg|pi|[kcmn]m|[km]g|ml|kw|hz|[A-Z]{2,}",
    re.ASCII,
)
"""Functions, units and names of points and things: no words of any language."""


class Sentence(NamedTuple):
    """Words of one sentence in its text's scripts and in others, the number of these as whole words, where
    they stand, and their longest run."""

    own: float
    foreign: float
    whole: int
    start: int
    end: int
    run: float
    run_start: int
    run_end: int


class Switch(NamedTuple):
    """Where a text is in another script, and for how many words."""

    start: int
    end: int
    words: float


class Lone(NamedTuple):
    """Foreign words that are no part of a switch: how many, and how many words of running text they make."""

    whole: int
    size: float


def language(text: str) -> str | None:
    """The language code that the most common script of a text stands for; None for Latin letters or no
    words."""
    found = counts(text)
    if found.get("kana", 0) > 0.1 * found.get("han", 0):
        found["kana"] += found.pop("han", 0)
    script = max(found, key=lambda name: found[name], default="latin")
    if script == "cyrillic" and re.search("[іїєґІЇЄҐ]", text):
        return "uk"
    if script == "arabic" and re.search("[پچژگ]", text):
        return "fa"
    return LANGUAGE.get(script)


def counts(text: str) -> dict[str, float]:
    """Words of a text by script."""
    found: dict[str, float] = {}
    for match in _WORD.finditer(text):
        name = match.lastgroup or "latin"
        found[name] = found.get(name, 0.0) + _size(name, match)
    return found


def strange(text: str, home: frozenset[str]) -> NDArray[np.intp]:
    """Where words stand, or begin, in scripts that are not at home; no single letters where a word has
    more."""
    if "latin" in home and text.isascii():
        return np.empty(0, np.intp)
    kinds = _kinds(frozenset(LETTERS) - home).take(_codes(text), mode="clip")
    if not kinds.any():
        return np.empty(0, np.intp)
    rows = kinds > 1
    rows[:-1] &= rows[1:]
    return np.flatnonzero(rows | (kinds == 1))


def words(text: str, home: frozenset[str]) -> float:
    """The number of words in the scripts that are at home."""
    codes = _codes(text)
    return sum(_words(_letters(frozenset({name})).take(codes, mode="clip"), name) for name in home)


def sentences(text: str, places: NDArray[np.intp], home: frozenset[str]) -> Iterator[Sentence]:
    """The sentences of a text that have words in scripts that are not at home, from the places of these; the
    others are not looked at."""
    end = index = 0
    while index < len(places):
        place = int(places[index])
        start = max(end, 1 + max(text.rfind(mark, end, place) for mark in _ENDS))
        found = _SENTENCE_END.search(text, place)
        end = found.start() if found else len(text)
        index = int(np.searchsorted(places, end))
        sentence = _sentence(text, start, end, home)
        if sentence.foreign:
            yield sentence


def switches(of: list[Sentence], text: str, home: frozenset[str]) -> tuple[list[Switch], Lone]:
    """The switches of a text, and the words in other scripts that are lone. How near two lone words stand
    decides nothing."""
    whole, in_a_row = (
        (PASSAGE_WORDS, PASSAGE_WORDS_IN_A_ROW)
        if "latin" in home
        else (PASSAGE_WORDS_LATIN, PASSAGE_WORDS_LATIN)
    )
    found: list[Switch] = []
    lone = Lone(0, 0.0)
    for row in _rows(of, text, home):
        run, size = max(one.run for one in row), sum(one.foreign for one in row)
        if row[0].own and run >= in_a_row:
            found.append(Switch(row[0].run_start, row[0].run_end, run))
        elif not row[0].own and (run >= whole or size >= in_a_row):
            found.append(Switch(row[0].start, row[-1].end, size))
        else:
            lone = Lone(lone.whole + sum(one.whole for one in row), lone.size + size)
    return found, lone


def _rows(of: list[Sentence], text: str, home: frozenset[str]) -> Iterator[list[Sentence]]:
    """Sentences without own words and nothing own between them as one row; each other sentence by itself."""
    row: list[Sentence] = []
    for sentence in of:
        if row and (row[0].own or sentence.own or _own_word(home).search(text, row[-1].end, sentence.start)):
            yield row
            row = []
        row.append(sentence)
    if row:
        yield row


@cache
def _own_word(home: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join("[{}]{{{}}}".format(*LETTERS[name]) for name in sorted(home)))


def _sentence(text: str, start: int, end: int, home: frozenset[str]) -> Sentence:
    own = foreign = run = longest = 0.0
    whole = 0
    first = last = begun = run_start = run_end = start
    for match in _WORD.finditer(text, start, end):
        name = match.lastgroup or "latin"
        count = _size(name, match)
        if name in home:
            own, run = own + count, 0.0
        elif name != "latin" or not _TECHNICAL.fullmatch(match.group()):
            first = first if foreign else match.start()
            begun = begun if run else match.start()
            last, foreign, run, whole = (
                match.end(),
                foreign + count,
                run + count,
                whole + max(1, round(count)),
            )
            if run > longest:
                longest, run_start, run_end = run, begun, match.end()
    return Sentence(own, foreign, whole, first, last, longest, run_start, run_end)


def _size(name: str, match: re.Match[str]) -> float:
    return (match.end() - match.start()) / CHARACTERS_PER_WORD[name] if name in CHARACTERS_PER_WORD else 1.0


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def _letters(names: frozenset[str]) -> NDArray[np.bool_]:
    """Whether each code point is a letter of some scripts; the last entry stands for all that follow, which
    are Han or symbols."""
    table = np.zeros(0x20001, bool)
    for name in names:
        for first, last in re.findall("(.)-(.)", LETTERS[name][0], re.DOTALL):
            table[ord(first) : ord(last) + 1] = True
    return table


@cache
def _kinds(names: frozenset[str]) -> NDArray[np.uint8]:
    """As `_letters`: 1 for letters that are words by themselves, 2 for those that are words in rows, else
    0."""
    rows = frozenset(name for name in names if LETTERS[name][1] > 1)
    return _letters(names - rows) + np.uint8(2) * _letters(rows)


def _words(member: NDArray[np.bool_], name: str) -> float:
    """Words of one script, from a flag for each character that is a letter of it."""
    if name in CHARACTERS_PER_WORD:
        return float(np.count_nonzero(member)) / CHARACTERS_PER_WORD[name]
    padded = np.concatenate(([False], member, [False] * LETTERS[name][1]))
    starts = padded[1 : len(member) + 1] & ~padded[: len(member)]
    for further in range(2, LETTERS[name][1] + 1):
        starts &= padded[further : further + len(member)]
    return float(np.count_nonzero(starts))
