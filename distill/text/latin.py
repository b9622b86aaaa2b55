"""Passages in another language where both languages are written in Latin letters: Spanish in an English
trace, English in a French one.

A passage is a stretch of words that one other language's lists have and the text's own lists do not have. A
language without a list is neither found nor looked into; a name, a title or a quoted phrase of fewer than
three such words is no passage. One short sentence of rare words alone may be missed, several in a row are
not.

The lists are `function_words/<language>.txt`, written down for this project: function words, numerals and
words of reasoning of 17 languages. They are no dictionaries, and Norwegian counts as Danish, Malay as
Indonesian. A word stands in each list of a language that it is common in; the English list is the longest,
because an English word ("die", "hay") must not count for another language.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.text import scripts

# fmt: off
LANGUAGES = (
    "en", "es", "fr", "de", "pt", "it", "nl", "sv", "da", "fi", "pl", "cs", "ro", "hu", "tr", "id", "vi",
)
# fmt: on
"""Those with a list; where two have as many words of a text, the one that stands first is taken."""
ENDINGS = {
    "es": "ción ciones amos emos imos ando iendo mente idad aron ieron aría ería",
    "pt": "ção ções amos emos ando endo mente idade aram eram aria",
    "it": "zione zioni iamo ando endo mente arono ata ità",
    "fr": "eaux euse aient erons eront issons quons geons onnent",
    "de": "ungen lich lichen keit heit schaft ieren iert",
    "nl": "lijk lijke ingen heid heden",
    "id": "kannya annya nya kan",
    "pl": "ować ości ście ami ymi ych amy emy",
    "cs": "ování osti ých ými íme",
    "ro": "ție ții ului ilor ește ând",
    "fi": "ssa ssä sta stä lla llä lta ltä taan tään",
    "hu": "ban ben nak nek ból ből tól től juk jük",
    "tr": "lar ler dır dir nın nin lık iyor ıyor",
    "sv": "ningen arna erna",
    "da": "ningen erne",
}
"""Endings that make a longer word probable; a sentence is never told by them alone."""

LETTERS = {
    "es": "áéíóúñü",
    "fr": "àâæçéèêëîïôœùûÿ",
    "de": "äöüß",
    "pt": "áâãàçéêíóôõú",
    "it": "àèéìòù",
    "nl": "ëïé",
    "sv": "åäöé",
    "da": "æøåéö",
    "fi": "äöå",
    "pl": "ąćęłńóśźż",
    "cs": "áčďéěíňóřšťúůýž",
    "ro": "ăâîșțşţ",
    "hu": "áéíóöőúüű",
    "tr": "çğıöşüâ",
    "vi": "àáâãèéêìíòóôõùúăđĩũơưý" + "".join(map(chr, range(0x1EA0, 0x1EFA))),
}
"""Letters beyond a to z: a word that no list has is taken for a language that has all of its letters."""

ALIKE = {"no": "da", "nb": "da", "nn": "da", "ms": "id"}
"""Languages that are counted as another one."""
LEAST_CHARACTERS = 12
"""Shorter sentences are not looked at."""
NEUTRAL, ENDING = -0.12, 0.7
"""What a word that no list has counts, and one of the language's endings; a word of its lists counts 1, of
one's own lists -1."""
LEAST_SCORE, LEAST_DISTINCT = 2.0, 3
"""A passage inside a sentence."""
LEAST_SENTENCE_SCORE, LEAST_SENTENCE_WORDS = 0.9, 4
"""A whole sentence without a word of one's own, with one foreign word at least."""
LAST_LETTER = 0x1EFF
"""The end of Latin letters; what follows is no letter here."""
LIKELY = 2
"""So many languages, those with the most words of a text, are looked for in it."""
FALL = 2.0
"""A passage ends where the score has fallen by this much."""

_TOKEN = re.compile(f"[{scripts.LETTERS['latin'][0]}]+|[.!?;:\n]+")
_ENGLISH = frozenset({"en"})
"""It has no near relative among the lists; in a Spanish text, one Portuguese word in a sentence is chance."""
_PARTICLES = frozenset(
    {"de", "del", "di", "da", "do", "dos", "du", "della", "dalla"}
    | {"van", "von", "zu", "al", "af", "av", "ibn", "bin", "san"}
)
_ARTICLES = frozenset({"la", "las", "los", "el", "le", "les", "der", "den", "ter", "ten"})
"""What may stand in a name before its last word, and what only after one of those."""
_FOLDER = Path(__file__).with_name("function_words")
_SHARED = frozenset((_FOLDER / "shared.txt").read_text(encoding="utf-8").split())
"""Words of two or more languages, or of formulas and code: they speak for none. Most are English words that
another list would have."""
_IDENTIFIERS = frozenset((_FOLDER / "identifiers.txt").read_text(encoding="utf-8").split())
"""English words that programs and their variables have as well."""
_LISTS = {
    language: frozenset(
        word for word in (_FOLDER / f"{language}.txt").read_text(encoding="utf-8").split() if len(word) > 1
    )
    - _SHARED
    for language in LANGUAGES
}
_ENDINGS = {
    language: re.compile(f".{{4,}}(?:{'|'.join(words.split())})", re.DOTALL)
    for language, words in ENDINGS.items()
}


class Passage(NamedTuple):
    """Where another language stands in a text, which one it looks like, and how many words it has."""

    start: int
    end: int
    language: str
    words: float


class Token(NamedTuple):
    """One word of a text: where it stands, in lower case, in which sentence, and whether it is like a
    name."""

    start: int
    end: int
    word: str
    sentence: int
    capital: bool
    name: bool


def known(language: str) -> frozenset[str]:
    """The language under the name that its lists have; nothing when there are none."""
    return frozenset({ALIKE.get(language, language)}) & frozenset(_LISTS)


def suspects(text: str, home: frozenset[str]) -> list[tuple[int, int]]:
    """Where a text has to be looked at closely: sentences that look foreign at a quick glance, rows as
    one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    plain = _plain().take(codes, mode="clip").tobytes().decode("utf-32-le")
    foreign, own = _foreign(home), _only_own(home)
    marked = [] if text.isascii() else np.flatnonzero(_marks(home).take(codes, mode="clip")).tolist()
    if not marked and foreign.isdisjoint(plain.split()):
        return []
    places: list[tuple[int, int]] = []
    start = 0
    for line in plain.split("\n"):
        end = start + len(line) + 1
        if len(line) >= LEAST_CHARACTERS:
            words = line.split()
            found = foreign.intersection(words)
            looks = len(found) > 1 or (
                len(found) == 1 and len(words) >= LEAST_SENTENCE_WORDS and own.isdisjoint(words)
            )
            if looks or bisect_left(marked, end) - bisect_left(marked, start) > 1:
                joined = places and places[-1][1] == start
                places[-1:] = [(places[-1][0], end)] if joined else [*places[-1:], (start, end)]
        start = end
    return places


def passages(text: str, start: int, home: frozenset[str]) -> list[Passage]:
    """The passages of a part of a text that are in none of the languages that are at home in it, in order and
    apart from one another."""
    tokens = list(_tokens(text, start))
    foreign = _foreign(home)
    words = {token.word for token in tokens if token.word in foreign or not token.word.isascii()}
    if not words:
        return []
    hits = Counter(
        {
            language: sum(_value(word, home, language) == 1 for word in words)
            for language in _LISTS.keys() - home
        }
    )
    likely = [
        language
        for language, count in sorted(hits.items(), key=lambda item: (-item[1], item[0]))[:LIKELY]
        if count
    ]
    found = [scored for language in likely for scored in _passages(tokens, home, language)]
    kept: list[Passage] = []
    for _, passage in sorted(found, key=lambda scored: -scored[0]):
        if all(passage.end <= other.start or passage.start >= other.end for other in kept):
            kept.append(passage)
    return sorted(kept)


def spoken(text: str) -> dict[str, int]:
    """How many different words of a text speak for each language, names left out."""
    words = {token.word for token in _tokens(text) if not token.name}
    accented = {word for word in words if not word.isascii()}
    return {
        language: len(words & listed)
        + sum(_value(word, frozenset(), language) == 1 for word in accented - listed)
        for language, listed in _LISTS.items()
    }


def speaks(text: str, least: int) -> bool:
    """Whether a short text has so many different words of the English list, or one more of another's.

    Identifiers, words of programs (`if`, `left`, `total`) and words in capitals do not count.
    """
    words = {token.word for token in _tokens(text) if not text[token.start : token.end].isupper()}
    words -= _IDENTIFIERS
    return any(len(words & listed) >= least + (language != "en") for language, listed in _LISTS.items())


def quoted(text: str, home: frozenset[str], least: int) -> frozenset[str]:
    """The other languages that a text has most words of, so many different ones at least, names left out."""
    words = {token.word for token in _tokens(text) if not token.name} & _foreign(home)
    counts = {language: len(words & _LISTS[language]) for language in _LISTS if language not in home}
    return frozenset(
        language for language, count in counts.items() if count >= least and count == max(counts.values())
    )


@cache
def _own(home: frozenset[str]) -> frozenset[str]:
    return frozenset(word for language in home for word in _LISTS[language])


@cache
def _only_own(home: frozenset[str]) -> frozenset[str]:
    """Words that no other language has."""
    return _own(home).difference(*(words for language, words in _LISTS.items() if language not in home))


@cache
def _foreign(home: frozenset[str]) -> frozenset[str]:
    return frozenset(word for words in _LISTS.values() for word in words) - _own(home)


@cache
def _plain() -> NDArray[np.uint32]:
    """Code points of letters in lower case, line ends for ends of sentences, and blanks: the quickest way to
    the words of a text."""
    lower = [
        ord(char.lower()) if char.isalpha() and len(char.lower()) == 1 else 32
        for char in map(chr, range(LAST_LETTER + 2))
    ]
    table = np.array(lower, np.uint32)
    table[[ord(end) for end in ".!?;:\n"]] = 10
    table[[ord(joint) for joint in "\\_0123456789"]] = [
        ord(joint) for joint in "\\_0123456789"
    ]  # `\le` and `el_2` are no words
    table[-1] = 32
    return table


@cache
def _marks(home: frozenset[str]) -> NDArray[np.bool_]:
    """Whether each code point is a letter that no language at home has, and another one has."""
    table = np.zeros(LAST_LETTER + 2, bool)
    table[[ord(letter) for letters in LETTERS.values() for letter in letters]] = True
    table[[ord(letter) for language in home for letter in LETTERS.get(language, "")]] = False
    return table


def _tokens(text: str, offset: int = 0) -> Iterator[Token]:
    sentence, first = 0, True
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        if not text[start].isalpha():
            sentence, first = sentence + 1, True
        elif end - start > 1:
            capital = text[start].isupper()
            yield Token(
                offset + start, offset + end, match.group().lower(), sentence, capital, capital and not first
            )
            first = False


def _passages(tokens: list[Token], home: frozenset[str], language: str) -> Iterator[tuple[float, Passage]]:
    """The stretches with the best scores for one language, each with its score."""
    values = [_weighed(tokens, place, home, language) for place in range(len(tokens))]
    place = 0
    while place < len(tokens):
        if values[place] <= 0:
            place += 1
            continue
        first = last = place
        score = best = values[place]
        while place + 1 < len(tokens) and score > max(0.0, best - FALL):
            place += 1
            score += values[place]
            if values[place] > 0 and score >= best:
                best, last = score, place
        place = last + 1
        if found := _passage(tokens, values, (first, last), best, language, 1 if home == _ENGLISH else 2):
            yield best, found


def _passage(
    tokens: list[Token],
    values: list[float],
    at: tuple[int, int],
    score: float,
    language: str,
    sentence_distinct: int,
) -> Passage | None:
    """The stretch with the words around it that no list has, up to the ends of its sentences; None when it
    is too little."""
    first, last = at
    hits = {tokens[place].word for place in range(first, last + 1) if values[place] > 0}
    distinct = len(hits)
    while first and values[first - 1] > -1 and tokens[first - 1].sentence == tokens[first].sentence:
        first -= 1
    while (
        last + 1 < len(tokens)
        and values[last + 1] > -1
        and tokens[last + 1].sentence == tokens[last].sentence
    ):
        last += 1
    words = last + 1 - first
    whole = (not first or tokens[first - 1].sentence < tokens[first].sentence) and (
        last + 1 == len(tokens) or tokens[last + 1].sentence > tokens[last].sentence
    )
    alone = (
        whole
        and distinct >= sentence_distinct
        and words >= LEAST_SENTENCE_WORDS
        and score >= LEAST_SENTENCE_SCORE
        and (distinct > 1 or max(map(len, hits)) > 2)
    )
    if not alone and (distinct < LEAST_DISTINCT or score < LEAST_SCORE):
        return None
    return Passage(tokens[first].start, tokens[last].end, language, words)


def _weighed(tokens: list[Token], place: int, home: frozenset[str], language: str) -> float:
    """A word's value where it stands; the capital at the start of a sentence may be a name's ("Tom",
    "Dan")."""
    value = _value(tokens[place].word, home, language)
    if value <= 0:
        return value
    if _is_name(tokens, place):
        return NEUTRAL
    return value / 2 if tokens[place].capital else value


def _is_name(tokens: list[Token], place: int) -> bool:
    """A capital inside a sentence, or a particle between two capitals ("Juan de la Cruz", "van der
    Waals")."""
    if tokens[place].name:
        return True
    if tokens[place].word in _ARTICLES and place and tokens[place - 1].word in _PARTICLES:
        return _is_name(tokens, place - 1)
    if tokens[place].word not in _PARTICLES:
        return False
    before = tokens[place - 1] if place else None
    after = next((token for token in tokens[place + 1 : place + 3] if token.word not in _ARTICLES), None)
    return (
        after is not None
        and after.name
        and after.sentence == tokens[place].sentence
        and (before is None or before.capital)
    )


@lru_cache(1 << 16)
def _value(word: str, home: frozenset[str], language: str) -> float:
    listed = word in _LISTS[language]
    if any(word in _LISTS[own] for own in home):
        return 0.0 if listed else -1.0
    if listed:
        return 1.0
    if not word.isascii():
        strange = {letter for letter in word if not letter.isascii()}
        if any(strange <= set(LETTERS.get(own, "")) for own in home):
            return NEUTRAL
        return 1.0 if strange <= set(LETTERS.get(language, "")) else NEUTRAL
    ending = _ENDINGS.get(language)
    return ENDING if ending is not None and ending.fullmatch(word) else NEUTRAL
