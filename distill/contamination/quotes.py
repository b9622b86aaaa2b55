"""Passages of traces that quote a benchmark question, although the trace was asked another one.

Batches of traces are compared as arrays of hashes of word n-grams; only what looks like a quote is read word
by word. What counts is the share of a question's words that stand in the trace, in stretches of an n-gram or
longer: one n-gram in common, the rule of DeepSeek (10 words) and OpenThoughts3 (13), is met by any trace that
ends as every AIME problem does. Stretches that the trace's own question has say nothing. In 18,792 real
traces none of 5,296 benchmark questions was found that they were not asked. Paraphrases are not found, and of
quotes with 10 % of their words changed some two thirds are.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from distill.text import shingles

TEXT_CHARACTERS = 300
SUSPECTS = 5
"""So many benchmark questions, those with the most n-grams in common, are looked for word by word."""
COMMON = 3
"""A stretch of more benchmark questions than this says nothing: "where m and n are relatively prime positive
integers. Find m + n"."""
TABLE_BITS = 20
"""Of a hash, index a table that tells in one step that almost all n-grams are of no benchmark."""
BASE = 0x9E3779B97F4A7C15
UNDO = pow(BASE, -1, 1 << 64)

Gram = tuple[str, ...]

_WORD = re.compile("[\u3000-\u9fff]|[^\\s\u3000-\u9fff]+")
_SPACED = bytes(byte if chr(byte).isalnum() or byte >= 128 else 32 for byte in range(256))
_MARKS = (
    "\u2018\u2019\u201c\u201d\u2013\u2014\u2212\u00d7\u00b7\u2026"
    "\u3001\u3002\uff0c\uff1f\uff01\uff1a\uff1b\uff08\uff09"
)


@dataclass(frozen=True, slots=True)
class Quote:
    """A passage of a text with the number of the benchmark question that it quotes."""

    number: int
    passage: str
    score: float
    """Share of the question's words that the text has, in stretches of an n-gram or longer."""


class Rolled:
    """The words of some texts as sums over all words before: an n-gram of any size is the difference of two
    (Karp and Rabin 1987)."""

    def __init__(self, spaced: Sequence[str]) -> None:
        words = shingles.cut(spaced)
        powers, self.undo = (
            np.cumprod(np.full(len(words.hashes), base, dtype=np.uint64)) for base in (BASE, UNDO)
        )
        self.sums = np.append(np.uint64(0), np.cumsum(words.hashes * powers))
        self.bounds = words.bounds


class Batch:
    """Texts that are looked through together."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.spaced = [_spaced(text) for text in texts]
        self.words = Rolled(self.spaced)


class Quotes:
    """The word n-grams of benchmark questions (by their number), to be looked for in traces."""

    def __init__(self, questions: Mapping[int, str], gram_words: int, least: float) -> None:
        self.gram_words, self.least = gram_words, least
        self.numbers = list(questions)
        self.texts = [_spaced(question) for question in questions.values()]
        self.grams, self.bounds = _grams(Rolled(self.texts), gram_words)
        _, kinds, counts = np.unique(self.grams, return_inverse=True, return_counts=True)
        self.rare = counts[kinds] <= COMMON
        owners, rare = (
            np.repeat(np.arange(len(self.texts)), np.diff(self.bounds))[self.rare],
            self.grams[self.rare],
        )
        order = np.argsort(rare, kind="stable")
        self.owners, self.ordered = owners[order], rare[order]
        self.table = np.zeros(1 << TABLE_BITS, dtype=np.bool_)
        self.table[rare >> np.uint32(32 - TABLE_BITS)] = True

    def find(self, batch: Batch, own: Sequence[str]) -> Iterator[tuple[int, Quote]]:
        """(place of the text, what it quotes) for those of a batch that quote another question than their
        own."""
        grams, bounds = _grams(batch.words, self.gram_words)
        likely = np.flatnonzero(self.table[grams >> np.uint32(32 - TABLE_BITS)])
        likely = likely[self._known(grams[likely])]
        for place in np.unique(np.searchsorted(bounds, likely, side="right") - 1).tolist():
            start, stop = np.searchsorted(likely, bounds[place : place + 2])
            asked = _spaced(own[place])
            found = np.setdiff1d(grams[likely[start:stop]], _grams(Rolled([asked]), self.gram_words)[0])
            quotes = [
                quote
                for one in self._suspects(found)
                if (quote := self._quote(one, batch.texts[place], batch.spaced[place], asked))
            ]
            if quotes:
                yield place, max(quotes, key=attrgetter("score"))

    def _known(self, grams: shingles.Shingles) -> NDArray[np.bool_]:
        """Which n-grams are those of a benchmark question."""
        places = np.searchsorted(self.ordered, grams)
        return (
            self.ordered[np.minimum(places, len(self.ordered) - 1)] == grams
            if len(self.ordered)
            else np.zeros(len(grams), dtype=np.bool_)
        )

    def _suspects(self, found: shingles.Shingles) -> list[int]:
        """The questions with the most of the given n-grams that could have enough of their words in them."""
        first, last = np.searchsorted(self.ordered, found), np.searchsorted(self.ordered, found, side="right")
        owners = np.concatenate(
            [
                np.zeros(0, dtype=np.int64),
                *(self.owners[start:stop] for start, stop in zip(first, last, strict=True)),
            ]
        )
        numbers, counts = np.unique(owners, return_counts=True)
        most = numbers[np.argsort(-counts, kind="stable")].tolist()
        parts = ((one, np.isin(self.grams[self.bounds[one] : self.bounds[one + 1]], found)) for one in most)
        return [
            one
            for one, part in itertools.islice(parts, SUSPECTS)
            if _covered(part, self.gram_words) >= self.least
        ]

    def _quote(self, one: int, text: str, spaced: str, asked: str) -> Quote | None:
        """The passage of a text that quotes a question, compared word by word; None when it does not."""
        places = list(_WORD.finditer(spaced))
        there = stretches([place.group().lower() for place in places], self.gram_words)
        wanted = stretches(_WORD.findall(self.texts[one].lower()), self.gram_words)
        telling = itertools.compress(wanted, self.rare[self.bounds[one] : self.bounds[one + 1]])
        shared = (
            set(there)
            .intersection(telling)
            .difference(stretches(_WORD.findall(asked.lower()), self.gram_words))
        )
        score = _covered(np.array([gram in shared for gram in wanted], dtype=np.bool_), self.gram_words)
        if score < self.least:
            return None
        stretch = [place for place, gram in enumerate(there) if gram in shared]
        start, stop = places[stretch[0]].start(), places[stretch[-1] + self.gram_words - 1].end()
        return Quote(self.numbers[one], text[start : min(stop, start + TEXT_CHARACTERS)], round(score, 4))


def _spaced(text: str) -> str:
    """The text with a space for each punctuation mark, operators too; characters keep their places."""
    if not text.isascii():
        for mark in _MARKS:
            text = text.replace(mark, " ")
    return text.encode("utf-8", "surrogatepass").translate(_SPACED).decode("utf-8", "surrogatepass")


def _grams(words: Rolled, size: int) -> tuple[shingles.Shingles, shingles.Positions]:
    """The hashes of all n-grams of texts, and where each text's begin; a text of fewer words has none."""
    counts = np.maximum(np.diff(words.bounds) - size + 1, 0)
    bounds = np.append(0, np.cumsum(counts))
    starts = np.arange(bounds[-1]) + np.repeat(words.bounds[:-1] - bounds[:-1], counts)
    sums = shingles.mixed((words.sums[starts + size] - words.sums[starts]) * words.undo[starts])
    return (sums >> np.uint64(32)).astype(np.uint32), bounds


def _covered(present: NDArray[np.bool_], size: int) -> float:
    """The share of words that lie in an n-gram that is present."""
    edges = np.zeros(len(present) + size, dtype=np.int64)
    edges[: len(present)] += present
    edges[size:] -= present
    return float(np.count_nonzero(np.cumsum(edges)[:-1])) / (len(edges) - 1)


def stretches(found: list[str], size: int) -> list[Gram]:
    """Each run of `size` words, in order."""
    return list(zip(*(found[start:] for start in range(size)), strict=False))
