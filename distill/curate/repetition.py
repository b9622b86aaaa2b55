"""How much of a text says again what it said before: stretches of words, lines, bytes, and loops.

Stretches and loops are found for a batch of texts at a time on arrays of word hashes; what comes out for a
text depends on that text alone. A loop is one stretch back to back. A near-loop is one whose rounds differ in
one number only ("Step 41: ... Step 42: ..."). An enumeration looks much the same, so what is called a
near-loop has many rounds of many words and fills most of the text: tables, cases, digit by digit checks and
lists of tries that work something out are none. Rounds that differ in words, and endless counting, are not
found. Repetition at a distance is no loop: `repetition` counts it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill.text import shingles, words

VERSION = 1
GRAM_WORDS = 8
"""A stretch that repeats is at least so long: shorter ones are phrases that all reasoning repeats ("let me
check that again")."""
LOOP_ROUNDS = 4
LOOP_WORDS = 48
"""A loop is one stretch, back to back, in so many rounds and words: recomputing a step once or twice is
none."""
LOOP_SUSPECT = 0.05
"""Below this repetition no loop is looked for: a loop of `LOOP_WORDS` in a very long trace is a stumble that
was got over."""
NEAR_LOOP_ROUNDS = 32
NEAR_LOOP_WORDS = 256
NEAR_LOOP_SHARE = 0.6
"""Of the text's words, bare numbers aside, in one stretch."""
NEAR_LOOP_ROUND_WORDS = 10
"""In each round, of which one number changes, a counter: where two do, one is worked out from the other, and
it is an enumeration."""
NEAR_LOOP_COMPRESSION = 0.38
"""A text that is a near-loop for the most part is compressed to less than this: others are not searched for
one."""
_CODEC = pa.Codec("zstd", compression_level=1)
"""Of pyarrow and not of the system, whose zlib differs from machine to machine."""
UNBROKEN_CHARACTERS = 200
"""A longer word ("0.33333...", "hahaha...") is cut into pieces, so that a loop without spaces is one too."""
PIECE_CHARACTERS = 12

_PLACE_BITS, _HASH_BITS = 20, 32
_MOST_WORDS = 1 << _PLACE_BITS
"""So many words of a text are looked at."""
_UNBROKEN = re.compile(rf"[^\s\u3000-\u9fff]{{{UNBROKEN_CHARACTERS},}}")
_PIECE = re.compile(rf".{{{PIECE_CHARACTERS}}}")
_WORD = re.compile(r"[\u3000-\u9fff]|[^\s\u3000-\u9fff]+")
_PARAGRAPH = re.compile(r"\n\s*\n")
_LETTERS = re.compile(r"[^\W\d_]{2}|[\u3040-\u9fff]")
_NUMBER = re.compile(r"\d+")
_DIGITS = re.compile("[0-9]+")


@dataclass(frozen=True, slots=True)
class Repeats:
    """What repeats in one text."""

    repetition: float
    """Share of its stretches of 8 words that stood in it before; 0 for fewer than 16 words."""
    line_repetition: float
    """Share of its lines, by characters, that stood in it before."""
    compression: float | None
    """Share of its bytes that zlib leaves at its fastest; None for an empty text."""
    loop: str | None
    """The stretch that it is caught in, with the number of rounds."""


@dataclass(frozen=True, slots=True)
class Run:
    """A part of a text that repeats the `period` words before it, over and over."""

    start: int
    """The first word of the first round."""
    words: int
    period: int
    share: float
    """Of the text's words."""


def measure(texts: Sequence[str]) -> list[Repeats]:
    """What repeats in each text."""
    return [found for batch in shingles.batches(texts) for found in _batch(batch)]


def paragraph_words(text: str) -> int:
    """Words of the longest paragraph."""
    most = 0
    for paragraph in sorted(_PARAGRAPH.split(text), key=len, reverse=True):
        if len(paragraph) <= 2 * most:
            break
        most = max(most, len(words.words(paragraph)))
    return most


def code_blocks(text: str) -> int:
    """Fenced code blocks, the last one closed or not."""
    return (text.count("```") + 1) // 2


def _batch(texts: Sequence[str]) -> Iterator[Repeats]:
    plain = [_broken(text) for text in texts]
    packed = [_compression(text) for text in plain]
    exact = _stretches(shingles.cut(plain))
    loops = [
        _loop(text, runs) if share >= LOOP_SUSPECT else None
        for text, (share, runs) in zip(plain, exact, strict=True)
    ]
    suspects = [
        number
        for number, left in enumerate(packed)
        if left is not None and left <= NEAR_LOOP_COMPRESSION and not loops[number]
    ]
    near = _stretches(shingles.cut([_DIGITS.sub("", plain[number]) for number in suspects]))
    for number, (_, runs) in zip(suspects, near, strict=True):
        loops[number] = _near_loop(plain[number], runs)
    for text, (share, _), left, found in zip(plain, exact, packed, loops, strict=True):
        yield Repeats(share, _line_repetition(text), left, found)


def _broken(text: str) -> str:
    """The text with spaces inside runs that have none; such a run covers a whole stretch of half its
    length."""
    step = UNBROKEN_CHARACTERS // 2
    if all(text.find(" ", start, start + step) >= 0 for start in range(0, len(text) - step, step)):
        return text
    return _UNBROKEN.sub(lambda run: _PIECE.sub(r"\g<0> ", run.group()), text)


def _compression(text: str) -> float | None:
    data = text.encode("utf-8", "surrogatepass")
    return _CODEC.compress(data).size / len(data) if data else None


def _line_repetition(text: str) -> float:
    lines = [line for line in text.split("\n") if line]
    distinct = set(lines)
    if len(distinct) == len(lines):
        return 0.0
    total = sum(map(len, lines))
    return (total - sum(map(len, distinct))) / total


def _stretches(found: shingles.Words) -> list[tuple[float, list[Run]]]:
    """The share of repeated stretches of each text, and its runs of at least `LOOP_ROUNDS` and
    `LOOP_WORDS`."""
    grams, bounds = shingles.shingles(found, GRAM_WORDS)
    counts = np.diff(bounds)
    texts = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(grams)) - np.repeat(bounds[:-1], counts)
    distances = _distances(grams, texts, places)
    repeated = np.bincount(texts, distances > 0, minlength=len(counts))
    shares = np.where(np.diff(found.bounds) >= 2 * GRAM_WORDS, repeated / np.maximum(counts, 1), 0.0)
    runs: list[list[Run]] = [[] for _ in counts]
    for text, run in _runs(distances, texts, places):
        runs[text].append(run)
    return list(zip(shares.tolist(), runs, strict=True))


def _distances(
    grams: NDArray[np.uint32], texts: shingles.Positions, places: shingles.Positions
) -> shingles.Positions:
    """How many words before each stretch the same one stood last in its text; 0 for none."""
    inside = places < _MOST_WORDS
    keys = (texts[inside].astype(np.uint64) << np.uint64(_HASH_BITS)) | grams[inside]
    keys = np.sort((keys << np.uint64(_PLACE_BITS)) | places[inside].astype(np.uint64))
    same = np.flatnonzero((keys[1:] >> np.uint64(_PLACE_BITS)) == (keys[:-1] >> np.uint64(_PLACE_BITS)))
    first = np.append(np.flatnonzero(places == 0), 0)
    distances = np.zeros(len(grams), dtype=np.int64)
    own = first[
        np.searchsorted(
            texts[first[:-1]], (keys[same + 1] >> np.uint64(_HASH_BITS + _PLACE_BITS)).astype(np.int64)
        )
    ]
    place = keys[same + 1] & np.uint64(_MOST_WORDS - 1)
    distances[own + place.astype(np.int64)] = place - (keys[same] & np.uint64(_MOST_WORDS - 1))
    return distances


def _runs(
    distances: shingles.Positions, texts: shingles.Positions, places: shingles.Positions
) -> Iterator[tuple[int, Run]]:
    """The text and extent of each stretch of equal distances that is long enough for a loop."""
    if not len(distances):
        return
    turns = np.flatnonzero((distances[1:] != distances[:-1]) | (texts[1:] != texts[:-1])) + 1
    starts, ends = np.append(0, turns), np.append(turns, len(distances))
    periods = distances[starts]
    covered = ends - starts + GRAM_WORDS - 1 + periods
    totals = np.bincount(texts) + GRAM_WORDS - 1
    for run in np.flatnonzero(
        (periods > 0) & (covered >= np.maximum(LOOP_WORDS, LOOP_ROUNDS * periods))
    ).tolist():
        start, period = int(starts[run]), int(periods[run])
        text, words_before = int(texts[start]), int(places[start]) - period
        yield text, Run(words_before, int(covered[run]), period, float(covered[run] / totals[text]))


def _loop(text: str, runs: Sequence[Run]) -> str | None:
    """The first run whose stretch holds a word of letters: a table of zeros is none."""
    pieces = _pieces(text) if runs else []
    for run in runs:
        stretch = " ".join(pieces[run.start : run.start + run.period])
        if _LETTERS.search(stretch):
            return f"{run.words // run.period} times: {stretch}"
    return None


def _near_loop(text: str, runs: Sequence[Run]) -> str | None:
    """The run of words without their digits that is most of the text, with long rounds that differ in one
    number."""
    longest = max(runs, key=lambda run: run.words, default=Run(0, 0, 1, 0.0))
    rounds = longest.words // longest.period
    if longest.words < NEAR_LOOP_WORDS or rounds < NEAR_LOOP_ROUNDS or longest.share < NEAR_LOOP_SHARE:
        return None
    pieces = _pieces(text)
    places = [place for place, piece in enumerate(pieces) if piece.strip("0123456789")]
    if longest.start + longest.words > len(places):
        return None  # control characters, which `shingles.cut` takes for spaces
    starts = [places[longest.start + number * longest.period] for number in range(rounds)]
    looping = [pieces[start:end] for start, end in pairwise(starts)]
    stretch = " ".join(looping[0])
    if len(looping[0]) < NEAR_LOOP_ROUND_WORDS or len(_changing(looping)) > 1 or not _LETTERS.search(stretch):
        return None
    return f"{rounds} times but for a number: {stretch}"


def _pieces(text: str) -> list[str]:
    """The words that `shingles.cut` hashes, control characters aside."""
    return text.split() if text.isascii() else _WORD.findall(text)


def _changing(rounds: Sequence[Sequence[str]]) -> set[tuple[str | None, ...]]:
    """The numbers that change from round to round, as columns; one that is written twice in a round is
    one."""
    written = [_NUMBER.findall(" ".join(words)) for words in rounds]
    return {column for column in zip_longest(*written) if len(set(column)) > 1}
