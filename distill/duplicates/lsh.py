"""Pairs of texts whose MinHash signatures look alike (LSH): what is worth an exact comparison.

LSH overlooks some 1 % of the pairs just at the similarity that is asked for. Where very many texts look alike
each meets a bounded number of them, the first ones and the nearest ones in their order, so time stays linear.
What comes out depends on the signatures and their order alone, and is no proof that two texts are similar.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from distill.text import shingles

RECALL = 0.99
SIGNATURE_MARGIN = 0.15
"""Pairs whose signatures agree on less than the similarity minus this are left out: 3.6 standard deviations
at 0.65."""
LEADERS = 16
NEIGHBOURS = 16
"""Of a crowd that shares a band each text meets the first ones and those just before it."""
LEVEL = 16
"""Agreements that differ by less say little about which of two texts is more similar."""
CHUNK = 1 << 13


def pairs(
    signatures: shingles.Signatures, places: shingles.Positions, meets: shingles.Hashes, least: float
) -> tuple[shingles.Positions, shingles.Positions]:
    """The earlier and the later place of each pair that looks at least so similar, by the later one.

    Only places with equal `meets` are compared. A place may come more than once, to meet others by several
    hashes; those of one hash have to be in ascending order.
    """
    bands, size = banding(least)
    codes, agreements = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    for start in range(0, bands * size, size):
        found, agree = [codes], [agreements]
        for one, other in _meetings(_keys(signatures, places, meets, slice(start, start + size))):
            agreed = _agreements(signatures, places[one], places[other])
            alike = agreed >= (least - SIGNATURE_MARGIN) * shingles.PERMUTATIONS
            found.append(places[other[alike]] << 32 | places[one[alike]])
            agree.append(agreed[alike])
        codes, agreements = _bounded(np.concatenate(found), np.concatenate(agree))
    return codes & 0xFFFFFFFF, codes >> 32


def banding(similarity: float) -> tuple[int, int]:
    """(bands, values a band) of 128 values: the most values that still find 99 % of the pairs with that
    similarity."""
    for size in range(shingles.PERMUTATIONS, 1, -1):
        bands = shingles.PERMUTATIONS // size
        if 1 - (1 - similarity**size) ** bands >= RECALL:
            return bands, size
    return shingles.PERMUTATIONS, 1


def _keys(
    signatures: shingles.Signatures, places: shingles.Positions, meets: shingles.Hashes, band: slice
) -> shingles.Hashes:
    """A hash of each place's band and of what it meets others by."""
    keys = meets.copy()
    for chunk in _chunks(len(places)):
        for values in signatures[places[chunk], band].T:
            keys[chunk] = shingles.mixed(keys[chunk] + values)
    return keys


def _meetings(keys: shingles.Hashes) -> Iterator[tuple[shingles.Positions, shingles.Positions]]:
    """Positions of equal keys, the earlier first: all pairs of a small bucket, the first members and
    neighbours of a large one."""
    by_key = np.argsort(keys, kind="stable")
    keys = keys[by_key]
    behind = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    for distance in range(1, NEIGHBOURS + 1):
        if not len(behind):
            return
        yield by_key[behind - distance], by_key[behind]
        behind = behind[behind > distance]
        behind = behind[keys[behind] == keys[behind - distance - 1]]
    first = np.searchsorted(keys, keys[behind])
    for leader in range(LEADERS):
        apart = first + leader + NEIGHBOURS < behind
        yield by_key[first[apart] + leader], by_key[behind[apart]]


def _agreements(
    signatures: shingles.Signatures, one: shingles.Positions, other: shingles.Positions
) -> NDArray[np.uint8]:
    """How many of their values the signatures of each pair agree on."""
    agreements = np.zeros(len(one), dtype=np.uint8)
    for chunk in _chunks(len(one)):
        agreements[chunk] = np.count_nonzero(signatures[one[chunk]] == signatures[other[chunk]], axis=1)
    return agreements


def _bounded(
    codes: shingles.Positions, agreements: NDArray[np.uint8]
) -> tuple[shingles.Positions, NDArray[np.uint8]]:
    """The distinct pairs; of a text with very many earlier ones the most similar, and of similar ones the
    first and the nearest."""
    codes, kept = np.unique(codes, return_index=True)
    agreements, other = agreements[kept], codes >> 32
    starts = np.searchsorted(other, other)
    behind = np.arange(len(codes)) - starts
    if not (behind >= LEADERS + NEIGHBOURS).any():
        return codes, agreements
    unlike = -(agreements.astype(np.int64) // LEVEL)
    chosen = np.zeros(len(codes), dtype=bool)
    chosen[np.lexsort((codes, unlike, other))[behind < LEADERS]] = True
    chosen[np.lexsort((-codes, unlike, other))[behind < NEIGHBOURS]] = True
    return codes[chosen], agreements[chosen]


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))
