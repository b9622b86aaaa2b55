"""Shingles of many texts at a time: words, hashes of stretches of words, MinHash signatures, Jaccard
similarity.

Texts are joined and worked on as arrays of bytes, for a loop over words is what takes time everywhere else.
What comes out for a text depends on that text alone and never on those it came with.

A word is what stands between white space; each Han or kana character is one. ASCII letters count in lower
case. Punctuation and numbers stay. Words are 64-bit and shingles 32-bit hashes, so a similarity is off by
some 1e-6. Thai, Lao and Khmer are not cut: a sentence of theirs is a word.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from tempfile import SpooledTemporaryFile
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 128
"""Bins of a signature: with so many an estimated similarity is off by 0.04 (one standard deviation)."""
BATCH_CHARACTERS = 1 << 19
BATCH_TEXTS = 128
"""A batch is full at either: larger ones leave the cache of a core and are slower."""
SPOOLED_BYTES = 1 << 24
LONG_BYTES = 32
"""Longer words (Thai sentences, base64) are rare enough to be hashed one by one."""

Hashes = NDArray[np.uint64]
Shingles = NDArray[np.uint32]
Signatures = NDArray[np.uint8]
Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]

_ODD = np.random.default_rng(20250122).integers(0, 2**63, size=256, dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)
_LOW_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)
_DONORS = np.argsort(np.random.default_rng(7).random((PERMUTATIONS, PERMUTATIONS)), axis=0)
"""Row by row, the bin that each bin is filled from if that one is not empty; every bin asks all others in its
own order."""
_EMPTY = np.uint32(2**32 - 1)
_WIDE_SPACES = ("\u00a0", "\u2002", "\u2003", "\u2009", "\u202f", "\u3000")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a batch of texts."""

    hashes: Hashes
    """One for each word."""
    bounds: Positions
    """Position of each text's first word, and the number of all words."""
    numbers: Hashes
    """One for each text: a hash of the set of numbers in it."""

    def identities(self) -> Hashes:
        """A hash of the whole text for each: equal for equal words in equal order."""
        counts = np.diff(self.bounds)
        places = np.arange(len(self.hashes)) - np.repeat(self.bounds[:-1], counts)
        return _sums(
            mixed(self.hashes ^ (places.astype(np.uint64) * _ODD[1])),
            np.repeat(np.arange(len(counts)), counts),
            len(counts),
        )


class SpooledList:
    """A list of shingles, in a temporary file when they are many: close it, or use it with `with`."""

    def __init__(self) -> None:
        self.file = SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - `__exit__` closes it
        self.starts = array("q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, found: Shingles) -> None:
        """Puts the shingles of one more text at the end."""
        self.file.seek(self.starts[-1])
        self.file.write(found.tobytes())
        self.starts.append(self.starts[-1] + found.nbytes)

    def __getitem__(self, position: int) -> Shingles:
        start, stop = self.starts[position], self.starts[position + 1]
        self.file.seek(start)
        return np.frombuffer(self.file.read(stop - start), dtype=np.uint32)


def whole(thinking: str | None, answer: str) -> str:
    """Thinking and answer as one text."""
    return f"{thinking or ''}\n{answer}"


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists that are worth one pass each."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if full(batch, characters):
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def full(batch: Sequence[str], characters: int) -> bool:
    """Whether a batch is large enough for a pass."""
    return len(batch) >= BATCH_TEXTS or characters >= BATCH_CHARACTERS


def cut(texts: Sequence[str]) -> Words:
    """The words of texts."""
    encoded = [_plain_spaces(text).encode("utf-8", "surrogatepass") for text in texts]
    joined = b"\n".join([*encoded, bytes(8)])
    data = np.frombuffer(joined, dtype=np.uint8)
    data = data | ((data - np.uint8(65) < 26).view(np.uint8) << np.uint8(5))
    text_ends = np.cumsum([len(text) + 1 for text in encoded])
    starts, ends = _edges(data > 32, data - np.uint8(0xE3) < 7)
    return Words(
        _hashes(data, starts, ends),
        np.append(0, np.searchsorted(starts, text_ends)),
        _number_sets(data, text_ends),
    )


def shingles(words: Words, size: int) -> tuple[Shingles, Positions]:
    """The hashes of all stretches of `size` words and the position of each text's first; a shorter text is
    one stretch."""
    lengths = np.diff(words.bounds)
    counts = np.where(lengths >= size, lengths - size + 1, np.minimum(lengths, 1))
    hashes = np.zeros(len(words.hashes), dtype=np.uint64)
    for offset in range(min(size, len(hashes))):
        hashes[: len(hashes) - offset] += words.hashes[offset:] * _ODD[offset % 256]
    for text in np.flatnonzero((lengths < size) & (lengths > 0)):
        start, stop = words.bounds[text], words.bounds[text + 1]
        hashes[start] = (words.hashes[start:stop] * _ODD[np.arange(stop - start) % 256]).sum(dtype=np.uint64)
    bounds = np.append(0, np.cumsum(counts))
    first = np.repeat(words.bounds[:-1] - bounds[:-1], counts)
    return (mixed(hashes)[first + np.arange(bounds[-1])] >> np.uint64(32)).astype(np.uint32), bounds


def signatures(hashes: Shingles, bounds: Positions) -> Signatures:
    """One-permutation MinHash with optimal densification (Li et al. 2012, Shrivastava 2017), 8 bits of each
    of 128 values a text."""
    counts = np.diff(bounds)
    least = np.full(len(counts) * PERMUTATIONS, _EMPTY)
    np.minimum.at(
        least, np.repeat(np.arange(len(counts)) * PERMUTATIONS, counts) + (hashes >> np.uint32(25)), hashes
    )
    values = least.reshape(len(counts), PERMUTATIONS)
    filled = values != _EMPTY
    texts, bins = np.nonzero(~filled)
    for donors in _DONORS:
        giver = donors[bins]
        given = filled[texts, giver]
        values[texts[given], bins[given]] = values[texts[given], giver[given]]
        texts, bins = texts[~given], bins[~given]
        if not len(texts):
            break
    return values.astype(np.uint8)


def sets(texts: Iterable[str], size: int) -> Iterator[Shingles]:
    """The sorted distinct shingles of each text."""
    for batch in batches(texts):
        hashes, bounds = shingles(cut(batch), size)
        yield from (_distinct(hashes[start:stop]) for start, stop in pairwise(bounds))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Jaccard similarity of two sorted sets of hashes; 1 for two empty ones."""
    if not len(one) and not len(other):
        return 1.0
    together = np.sort(np.concatenate((one, other)))
    shared = int(np.count_nonzero(together[1:] == together[:-1]))
    return shared / (len(together) - shared)


def mixed(values: Hashes) -> Hashes:
    """Each value with all of its bits spread over all bits; distinct values stay distinct."""
    spread: Hashes = values * _ODD[254]
    spread ^= spread >> np.uint64(32)
    spread *= _ODD[255]
    spread ^= spread >> np.uint64(29)
    return spread


def _plain_spaces(text: str) -> str:
    """The text with the wide spaces of Unicode as plain ones."""
    if not text.isascii():
        for space in _WIDE_SPACES:
            text = text.replace(space, " ")
    return text


def _edges(inside: Mask, alone: Mask | None = None) -> tuple[Positions, Positions]:
    """Start and end of each stretch that is inside; a three-byte character whose first byte is `alone` is a
    stretch of its own."""
    turns = np.diff(inside, prepend=False, append=False)
    if alone is None or not alone.any():
        edges = np.flatnonzero(turns)
        return edges[::2], edges[1::2]
    first = inside & turns[:-1] | alone
    first[3:] |= alone[:-3] & inside[3:]
    last = inside & (turns[1:] | np.append(first[1:], False))
    return np.flatnonzero(first), np.flatnonzero(last) + 1


def _hashes(data: NDArray[np.uint8], starts: Positions, ends: Positions) -> Hashes:
    """A hash of each stretch of bytes, read eight at a time; eight bytes of zeros have to follow the last
    one."""
    eights: Hashes = np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))
    lengths = ends - starts
    hashes = mixed(eights[starts] & _LOW_BYTES[np.minimum(lengths, 8)])
    for done in range(8, LONG_BYTES, 8):
        longer = np.flatnonzero(lengths > done)
        piece = eights[starts[longer] + done] & _LOW_BYTES[np.minimum(lengths[longer] - done, 8)]
        hashes[longer] = mixed(hashes[longer] + piece)
    for word in np.flatnonzero(lengths > LONG_BYTES):
        hashes[word] = int.from_bytes(
            blake2b(data[starts[word] : ends[word]].tobytes(), digest_size=8).digest()
        )
    return hashes


def _number_sets(data: NDArray[np.uint8], text_ends: Positions) -> Hashes:
    """A hash of each text's set of numbers: runs of digits, with points and commas between digits."""
    inside = data - np.uint8(48) < 10
    between = (data == 46) | (data == 44)
    between[0] = False
    between[1:-1] &= inside[:-2] & inside[2:]
    starts, ends = _edges(inside | between)
    texts = np.searchsorted(text_ends, starts, side="right")
    found = _distinct(
        (texts.astype(np.uint64) << np.uint64(48)) | (_hashes(data, starts, ends) >> np.uint64(16))
    )
    return _sums(mixed(found << np.uint64(16)), (found >> np.uint64(48)).astype(np.int64), len(text_ends))


def _sums(values: Hashes, groups: Positions, count: int) -> Hashes:
    """The sum of each group's values."""
    sums = np.zeros(count, dtype=np.uint64)
    np.add.at(sums, groups, values)
    return sums


def _distinct(values: NDArray[Any]) -> NDArray[Any]:
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
