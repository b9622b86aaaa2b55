"""Duplicates among traces: exact by a hash of the text, near by MinHash-LSH with the exact Jaccard similarity of each pair.

What counts as a duplicate:
- the same question (white space apart): traces with equal words are exact duplicates, traces whose word shingles have at
  least the threshold's Jaccard similarity are near ones. Different ways to solve one problem are far below it.
- different questions: near-duplicates only when the questions hold the same numbers, the traces hold the same numbers,
  and the traces have 32 words or more. Word problems from one template differ in little but their numbers; merging them
  would remove problems and not copies.

Numbers are words in shingles. Of a group of copies the one with the best rank stays, then the earliest; a row is compared with
rows that stay only, so similarity never drifts along a chain. What comes out depends on the rows and their order alone.
Memory is some 200 bytes a trace, 60 MB for words, and 8 bytes a word for traces that share a band with another. LSH overlooks less than
1 % of the pairs just at the threshold. Paraphrases are not found.
"""

import zlib
from array import array
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.recipe import Duplicates
from distill.records import Trace
from distill.words import numbers, words

VERSION = 1
PERMUTATIONS = 128
RECALL_AT_THRESHOLD = 0.99
MIN_WORDS_ACROSS = 32
"""Shorter traces of different questions may agree by chance: 19 + 9 = 28 is all there is to say."""
VOCABULARY_LIMIT = 200_000
"""Words in a `Memo`: some 30 MB each."""

T = TypeVar("T")

Hashes = NDArray[np.uint64]

_MIX = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.random.default_rng(20250122).integers(0, 2**63, size=256, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_EDGES = np.arange(PERMUTATIONS, dtype=np.uint64) << np.uint64(57)
_ORDERS = np.argsort(np.random.default_rng(7).random((PERMUTATIONS, PERMUTATIONS)), axis=1)


class Memo(dict[str, T]):
    """A function of a word, computed once for each word; forgets everything when it has grown too large."""

    def __init__(self, function: Callable[[str], T]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, word: str) -> T:
        if len(self) >= VOCABULARY_LIMIT:
            self.clear()
        value = self[word] = self.function(word)
        return value


class Index:
    """The prints of traces, in arrays: what finding their duplicates needs and no text."""

    def __init__(self, section: Duplicates) -> None:
        self.section = section
        self.bands, self.rows_per_band = banding(section.threshold)
        self.rows = array("q")
        self.ranks = array("b")
        self.texts = array("Q")
        self.questions = array("Q")
        self.numbers = array("Q")
        self.prints = array("Q")
        self.word_hashes = Memo(word_hash)
        self.word_numbers = Memo(lambda word: tuple(numbers(word)))

    def add(self, row: int, trace: Trace, rank: int) -> None:
        """Takes in one trace under its row number; a lower rank is the better copy."""
        question, found = normal(trace.problem.question), words(text_of(trace))
        identities = self._identities(found)
        self.rows.append(row)
        self.ranks.append(rank)
        self.questions.append(_hash(question.encode("utf-8", "surrogatepass")))
        self.texts.append(_hash(self.questions[-1].to_bytes(8), identities.tobytes()))
        self.numbers.append(_hash(self._numbers_of(question, found) if len(found) >= MIN_WORDS_ACROSS else f"row {row}".encode()))
        if self.section.near:
            self.prints.frombytes(self._bands(shingles(identities, self.section.shingle_words)).tobytes())

    def shingles(self, trace: Trace) -> Hashes:
        """The sorted distinct shingle hashes of a trace, for the exact comparison."""
        return shingles(self._identities(words(text_of(trace))), self.section.shingle_words)

    def exact(self) -> dict[int, int]:
        """Row number of each exact duplicate, with the row that stays."""
        first: dict[int, int] = {}
        copies: dict[int, int] = {}
        for position in self._by_rank():
            row = self.rows[position]
            stays = first.setdefault(self.texts[position], row)
            if stays != row:
                copies[row] = stays
        return copies if self.section.exact else {}

    def suspects(self, exact: Mapping[int, int]) -> set[int]:
        """Row numbers, exact duplicates apart, that share a band with another row they may be duplicates of."""
        if not self.section.near or not self.rows:
            return set()
        alive = np.array([row not in exact for row in self.rows])
        shared = np.zeros(int(alive.sum()), dtype=bool)
        for band in range(2 * self.bands):
            _, inverse, counts = np.unique(self._keys(band)[alive], return_inverse=True, return_counts=True)
            shared |= counts[inverse] > 1
        return set(np.frombuffer(self.rows, dtype=np.int64)[alive][shared].tolist())

    def near(self, suspects: Mapping[int, Hashes]) -> dict[int, int]:
        """Row number of each near-duplicate among the suspects (row number to shingles), with the row that stays."""
        if not suspects:
            return {}
        staying: dict[int, list[int]] = {}
        copies: dict[int, int] = {}
        order = [position for position in self._by_rank() if self.rows[position] in suspects]
        keys = np.stack([self._keys(band)[order] for band in range(2 * self.bands)], axis=1)
        for position, bands in zip(order, keys.tolist(), strict=True):
            row = self.rows[position]
            others = sorted({other for band in bands for other in staying.get(band, ())})
            similar = (other for other in others if jaccard(suspects[row], suspects[other]) >= self.section.threshold)
            if (stays := next(similar, None)) is not None:
                copies[row] = stays
                continue
            for band in bands:
                staying.setdefault(band, []).append(row)
        return copies

    def _identities(self, found: list[str]) -> Hashes:
        return np.fromiter(map(self.word_hashes.__getitem__, found), np.uint64, len(found))

    def _numbers_of(self, question: str, found: list[str]) -> bytes:
        """The question's numbers with their counts, and the distinct numbers of the trace."""
        distinct = set[str]().union(*map(self.word_numbers.__getitem__, set(found)))
        return " ".join([*sorted(numbers(question)), "|", *sorted(distinct)]).encode()

    def _by_rank(self) -> list[int]:
        return sorted(range(len(self.rows)), key=self.ranks.__getitem__)

    def _keys(self, band: int) -> Hashes:
        """A band of all rows with the question's hash, in the second half with the numbers': only rows of equal keys can be copies."""
        prints = np.frombuffer(self.prints, dtype=np.uint64).reshape(-1, self.bands)[:, band % self.bands]
        with_what, odd = (self.questions, _MIX) if band < self.bands else (self.numbers, _ODD[0])
        keys: Hashes = prints ^ (np.frombuffer(with_what, dtype=np.uint64) * odd)
        return keys

    def _bands(self, hashes: Hashes) -> Hashes:
        """One hash for each band of the signature."""
        used = signature(hashes)[: self.bands * self.rows_per_band].reshape(self.bands, self.rows_per_band)
        mixed: Hashes = (used * _ODD[: self.rows_per_band]).sum(axis=1, dtype=np.uint64) + _ODD[PERMUTATIONS - self.bands : PERMUTATIONS]
        return mixed ^ (mixed >> np.uint64(31))


def text_of(trace: Trace) -> str:
    """Thinking and answer as one text."""
    return f"{trace.thinking or ''}\n{trace.answer}"


def normal(text: str) -> str:
    """The text with its white space made equal; case stays, for `X` and `x` may be two things."""
    return " ".join(text.split())


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows a band) of 128 permutations: the most rows that still find 99 % of the pairs at the threshold."""
    for size in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // size
        if 1 - (1 - threshold**size) ** bands >= RECALL_AT_THRESHOLD:
            return bands, size
    return PERMUTATIONS, 1


def word_hash(word: str) -> int:
    """CRC-32 of a word: the same in every process, unlike `hash`."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def shingles(identities: Hashes, size: int) -> Hashes:
    """The sorted distinct 64-bit hashes of all stretches of `size` words; a shorter text is one stretch."""
    size = max(1, min(size, len(identities)))
    count = max(0, len(identities) - size + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(size):
        hashes += identities[offset : offset + count] * _ODD[offset % 256]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX
    hashes ^= hashes >> np.uint64(29)
    hashes *= _ODD[255]
    hashes.sort()
    return hashes[np.concatenate(([True], hashes[1:] != hashes[:-1]))] if count else hashes


def signature(hashes: Hashes) -> Hashes:
    """One-permutation MinHash of sorted hashes with optimal densification (Li et al. 2012, Shrivastava 2017): 128 values."""
    if not len(hashes):
        return np.zeros(PERMUTATIONS, dtype=np.uint64)
    starts = np.searchsorted(hashes, _EDGES)
    filled = np.append(starts[1:], len(hashes)) > starts
    values: Hashes = hashes[np.minimum(starts, len(hashes) - 1)]
    if filled.all():
        return values
    empty = np.flatnonzero(~filled)
    donors = _ORDERS[empty]
    values[empty] = values[donors[np.arange(len(empty)), filled[donors].argmax(axis=1)]]
    return values


def jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard similarity of two sorted sets of hashes; 1 for two empty ones."""
    if not len(one) and not len(other):
        return 1.0
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def _hash(*parts: bytes) -> int:
    return int.from_bytes(blake2b(b"\0".join(parts), digest_size=8).digest())
