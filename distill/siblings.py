"""Brings the traces of each problem together: shards of candidates that split no problem, whatever the order of the rows.

Problems come in the order in which they first appear, and the traces of a problem in theirs. Rows that already lie so, give or
take a few strangers among them, are written once. Others are dealt out to piles on disk, each for a stretch of neighbouring
problems, and every pile is put in order on its own. Memory is bounded by a shard's rows, or by twice a pile: 128 MiB, beyond
16 GiB of rows a 128th of them, and at least the largest problem. What is remembered of all rows is the name, the place and the
size of each problem, some 200 bytes. On disk, scattered rows lie twice for a while.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill import arrow, shards
from distill.records import Candidate

SHARD_ROWS = 4096
SHARD_CHARACTERS = 64 << 20
"""A shard is full at either."""
STRANGERS = 64
"""Rows of others, such as torn lines, that may lie between two siblings."""
PILE_BYTES = 128 << 20
MOST_PILES = 128
"""Each is an open file; a process may have 1,024 as a rule."""
ROW_BYTES = 512
"""Of a row beside its texts, about."""
SCHEMA = arrow.schema(Candidate)
TEXTS = ("question", "tests", "thinking", "answer", "extra")


@dataclass(frozen=True, slots=True)
class Seen:
    """The problems in order of their first rows, with about how many characters the rows of each have."""

    places: dict[str, int] = field(default_factory=dict)
    characters: "array[int]" = field(default_factory=lambda: array("q"))


def gather(candidates: Iterable[Candidate], folder: str) -> list[str]:
    """Writes the candidates into shards of a folder on this machine that appears when all are there, and returns their paths."""
    done = Path(folder)
    if not done.is_dir():
        spool = done.with_name(f"{done.name}.spool")
        rmtree(spool, ignore_errors=True)
        seen = Seen()
        if _write(candidates, spool, seen):
            piled = done.with_name(f"{done.name}.piles")
            rmtree(piled, ignore_errors=True)
            _deal(shards.list_shards(str(spool)), piled, seen)
            rmtree(spool)
            _put_in_order(piled, spool, seen)
            rmtree(piled)
        spool.rename(done)
    return shards.list_shards(folder)


def _write(candidates: Iterable[Candidate], folder: Path, seen: Seen) -> bool:
    """Writes the candidates, siblings together as far as they lie near each other; True when a problem's lay farther apart."""
    scattered = False
    shard: list[Candidate] = []
    characters = count = 0
    for problem, siblings in _near(candidates):
        size = sum(map(_size, siblings))
        place = seen.places.setdefault(problem, len(seen.places))
        if place == len(seen.characters):
            seen.characters.append(size)
        else:
            scattered = True
            seen.characters[place] += size
        shard += siblings
        characters += size
        if len(shard) >= SHARD_ROWS or characters >= SHARD_CHARACTERS:
            shards.write(Candidate, shard, f"{folder}/{count:05}.parquet")
            shard, characters, count = [], 0, count + 1
    if shard or not count:
        shards.write(Candidate, shard, f"{folder}/{count:05}.parquet")
    return scattered


def _near(candidates: Iterable[Candidate]) -> Iterator[tuple[str, list[Candidate]]]:
    """Each problem with those of its rows that have at most STRANGERS rows of others between them, in first order."""
    waiting: dict[str, list[Candidate]] = {}
    last: dict[str, int] = {}
    held = 0
    for number, one in enumerate(candidates):
        problem = one.trace.problem.problem_id
        waiting.setdefault(problem, []).append(one)
        last[problem] = number
        held += _size(one)
        while len(waiting) > 1:
            first = next(iter(waiting))
            if number - last[first] <= STRANGERS and number - last[problem] < SHARD_ROWS and held < SHARD_CHARACTERS:
                break
            held -= sum(map(_size, waiting[first]))
            del last[first]
            yield first, waiting.pop(first)
    yield from waiting.items()
