"""Pairs of near-duplicates in measured shards: MinHash-LSH finds them, and each has the exact Jaccard
similarity of its texts.

All rows are looked at, whatever was decided of them, from a similarity that is below the usual thresholds, so
that another cut of the dataset needs neither texts nor signatures. Rows with equal words to one question are
one text. Only texts of one question, or with equal facts (see `dedup`), meet. The texts of suspects are read
again, those of other rows are not.

Signatures lie in a temporary file: memory is some 120 bytes a row, and as much again for pages of that file
that the system may take back. It does not grow with the texts. LSH overlooks some 1 % of the pairs just at
the lowest similarity. Of a crowd, very many texts that look alike, each is compared with a bounded number of
others and with what most of them have in common: time stays linear, and `dedup.Index` concludes what it can
about the pairs in between. What comes out depends on the rows and their order alone.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distill.duplicates import lsh
from distill.duplicates.lsh import LEADERS, NEIGHBOURS
from distill.recipe import Duplicates
from distill.store import shards
from distill.text import shingles

VERSION = 1
PAIRS_FROM = 0.65
"""Lowest similarity that is stored, unless the recipe's threshold is lower still."""
BATCH_ROWS = 1024

_NOTHING: shingles.Shingles = np.zeros(0, dtype=np.uint32)
_NO_SIGNATURES: shingles.Signatures = np.zeros((0, shingles.PERMUTATIONS), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that are nearly the same, by the `text_hash` of their rows."""

    one: int
    """The earlier text, or the centre of a crowd: what most of very many texts that are nearly the same have
    in common."""
    other: int
    similarity: float
    """Jaccard similarity of their word shingles."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows with a text, in order: their numbers and hashes."""

    numbers: shingles.Positions
    texts: shingles.Positions
    questions: shingles.Positions
    facts: shingles.Positions
    """0: no copy of another question's."""


def floor(section: Duplicates) -> float:
    """The similarity from which pairs are stored: with it and the shingles' length they are the same for
    every threshold above."""
    return min(PAIRS_FROM, section.threshold)


def find(sources: Sequence[str], section: Duplicates) -> Iterator[Pair]:
    """The near-duplicate pairs of measured shards, in the order of the rows."""
    least = floor(section)
    with TemporaryFile() as file:
        rows = _spooled(sources, file)
        one, other = _suspects(rows, file, least)
    suspects = np.unique(np.concatenate((one, other)))
    one, other = np.searchsorted(suspects, one), np.searchsorted(suspects, other)
    texts: list[int] = rows.texts[suspects].tolist()
    with shingles.SpooledList() as spooled:
        for found in shingles.sets(_texts(sources, rows.numbers[suspects]), section.shingle_words):
            spooled.append(found)
        leaders = np.arange(len(suspects))
        for first, second, similarity in _compared(one, other, spooled, least):
            leaders[second] = min(leaders[second], first)
            yield Pair(texts[first], texts[second], similarity)
        for crowd in _crowds(leaders):
            yield from _centred(crowd, texts, spooled, least)


def _compared(
    one: shingles.Positions, other: shingles.Positions, spooled: shingles.SpooledList, least: float
) -> Iterator[tuple[int, int, float]]:
    """The pairs that are similar enough, with their similarity; those of one `other` have to stand
    together."""
    place, later = -1, _NOTHING
    for first, second in zip(one.tolist(), other.tolist(), strict=True):
        if second != place:
            place, later = second, spooled[second]
        similarity = shingles.jaccard(spooled[first], later)
        if similarity >= least:
            yield first, second, similarity


def _crowds(leaders: shingles.Positions) -> Iterator[list[int]]:
    """The texts that lead to one and the same first text, where they are too many for each to be compared
    with each other."""
    while (leaders[leaders] != leaders).any():
        leaders = leaders[leaders]
    counts = np.bincount(leaders)
    for leader in np.flatnonzero(counts > LEADERS + NEIGHBOURS).tolist():
        yield np.flatnonzero(leaders == leader).tolist()


def _centred(
    crowd: Sequence[int], texts: Sequence[int], spooled: shingles.SpooledList, least: float
) -> Iterator[Pair]:
    """Pairs of each text of a crowd with the crowd's centre: the shingles that most of its first texts have.

    The centre is no row, so no cut leaves it out, and it is closer to all of them than they are to each
    other.
    """
    members = crowd[: LEADERS + NEIGHBOURS + 1]
    values, counts = np.unique(np.concatenate([spooled[member] for member in members]), return_counts=True)
    centre, name = (
        values[counts > len(members) // 2],
        int(shingles.mixed(np.array([texts[crowd[0]]]).view(np.uint64)).view(np.int64)[0]),
    )
    for member in crowd:
        similarity = shingles.jaccard(centre, spooled[member])
        if similarity >= least:
            yield Pair(name, texts[member], similarity)


def _suspects(rows: Rows, file: IO[bytes], least: float) -> tuple[shingles.Positions, shingles.Positions]:
    """Pairs of places in `rows` that look alike; a text that several rows have stands in the first of
    them."""
    _, first = np.unique(rows.texts, return_index=True)
    places, meets = [], []
    for hashes in (rows.questions, rows.facts):
        _, group, sizes = np.unique(hashes[first], return_inverse=True, return_counts=True)
        places.append(np.sort(first[(sizes[group] > 1) & (hashes[first] != 0)]))
        meets.append(hashes[places[-1]].view(np.uint64))
    entries = np.concatenate(places)
    signatures = (
        np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, shingles.PERMUTATIONS)
        if len(entries)
        else _NO_SIGNATURES
    )
    return lsh.pairs(signatures, entries, np.concatenate(meets), least)


def _spooled(sources: Sequence[str], file: IO[bytes]) -> Rows:
    """The rows that have a text; their signatures go to the file, one after another."""
    columns = ["text_hash", "question_hash", "facts_hash"]
    found = [array("q") for _ in range(4)]
    before = 0
    for source in sources:
        for table in shards.read_tables(source, [*columns, "minhash", "failure"]):
            usable = pc.and_(pc.is_null(table["failure"]), pc.is_valid(table["minhash"]))
            found[0].frombytes((np.flatnonzero(usable) + before).tobytes())
            for values, name in zip(found[1:], columns, strict=True):
                values.frombytes(pc.fill_null(table[name].filter(usable), 0).to_numpy().tobytes())
            file.write(b"".join(table["minhash"].filter(usable).to_pylist()))
            before += len(table)
    file.flush()
    return Rows(*(np.frombuffer(values, dtype=np.int64) for values in found))


def _texts(sources: Sequence[str], rows: shingles.Positions) -> Iterator[str]:
    """The texts of rows in ascending order; row groups without any of them are not read."""
    before = 0
    for source in sources:
        filesystem, name = fsspec.core.url_to_fs(source)
        with filesystem.open(name, "rb") as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            for group in range(parquet.num_row_groups):
                start, before = before, before + parquet.metadata.row_group(group).num_rows
                wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, before)] - start
                if len(wanted):
                    yield from _texts_of_group(parquet, group, wanted)


def _texts_of_group(parquet: pq.ParquetFile, group: int, wanted: shingles.Positions) -> Iterator[str]:
    before = 0
    for batch in parquet.iter_batches(
        batch_size=BATCH_ROWS, row_groups=[group], columns=["thinking", "answer"]
    ):
        start, before = before, before + len(batch)
        chosen = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, before)] - start
        for row in batch.take(pa.array(chosen)).to_pylist():
            yield shingles.whole(row["thinking"], row["answer"])
