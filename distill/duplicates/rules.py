"""Duplicates among traces, from hashes and pairs that were measured before: no text is needed to say what is
a copy of what.

What counts as a duplicate:
- the same question (white space apart): traces with equal words are exact duplicates, traces whose word
  shingles have at least the threshold's Jaccard similarity are near ones, unless they come to different
  answers. Different ways to solve one problem are far below it.
- different questions: near-duplicates only when the questions hold the same numbers, the reference answers
  are equal and a number, the traces hold the same numbers, and the traces have 32 words or more. Word
  problems from one template differ in little but their numbers; merging them would remove problems and not
  copies. "Yes" or "(B)" is the answer to too many questions.

Numbers are words in shingles. Of a group of copies the one with the best rank stays, then the earliest; a row
is a copy of a row that stays, so similarity never drifts along a chain. Two texts that were not compared (see
`pairs`) are copies only when their similarities to a third prove it. What comes out depends on the rows and
their order alone. Paraphrases are not found.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, pairwise
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.duplicates import copies, lsh
from distill.duplicates.copies import Claim
from distill.duplicates.pairs import Pair
from distill.recipe import Duplicates
from distill.records import Outline, Problem, Trace
from distill.text import shingles
from distill.text import words as reading

VERSION = 3
MIN_WORDS_ACROSS = 32
"""Shorter traces of different questions may agree by chance: 19 + 9 = 28 is all there is to say."""
COMMON = 20
"""More problems than this with the same stretch of words: instructions, or a template."""

_NOTHING: shingles.Shingles = np.zeros(0, dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Print:
    """What is stored of a trace to find its copies: the columns of the same names in `Measures`."""

    question_hash: int
    text_hash: int
    facts_hash: int | None
    minhash: bytes | None
    """None for a text without words."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Why a row is a duplicate: the row that stays in its place, and how similar they are."""

    stays: int
    similarity: float | None
    """Jaccard similarity, or what it is at least; None for equal words."""


class Index:
    """The hashes of the rows that may stay: arrays of 34 bytes a row."""

    def __init__(self, section: Duplicates) -> None:
        self.section = section
        self.rows = array("q")
        self.ranks = array("b")
        self.texts = array("q")
        self.questions = array("q")
        self.answers = array("q")
        self.correct = array("b")

    def add(self, row: int, outline: Outline, rank: int) -> None:
        """Takes in one measured row under its number; a lower rank is the better copy."""
        measures = outline.measures
        if measures.text_hash is None:
            return
        self.rows.append(row)
        self.ranks.append(rank)
        self.texts.append(measures.text_hash)
        self.questions.append(measures.question_hash or 0)
        self.answers.append(
            0 if outline.extracted is None else hash(outline.extracted)
        )  # compared in this process only
        self.correct.append(outline.outcome == "correct")

    def copies(self, pairs: Iterable[Pair]) -> dict[int, Copy]:
        """Row number of each duplicate with the row that stays; `pairs` are those of all rows, whether they
        were added or not."""
        if not (self.section.exact or self.section.near):
            return {}
        order = np.lexsort((_array(self.rows), _array(self.ranks)))
        texts, best, group = np.unique(_array(self.texts)[order], return_index=True, return_inverse=True)
        stays, similarity = np.arange(len(texts)), np.full(len(texts), np.nan if self.section.exact else 1.0)
        if self.section.near:
            for text, (other, alike) in self._near(texts, best, order, pairs).items():
                stays[text], similarity[text] = other, alike
        rows, instead = _array(self.rows)[order], best[stays[group]]
        found = np.flatnonzero(instead != np.arange(len(order)))
        columns = rows[found], rows[instead[found]], similarity[group[found]]
        return {
            row: Copy(one, None if isnan(alike) else alike)
            for row, one, alike in zip(*map(_list, columns), strict=True)
        }

    def _near(
        self,
        texts: shingles.Positions,
        best: shingles.Positions,
        order: shingles.Positions,
        pairs: Iterable[Pair],
    ) -> dict[int, tuple[int, float]]:
        """Place of each near-duplicate in `texts` with the place of the one that stays and their
        similarity."""
        close: list[array[Any]] = [array("q"), array("q"), array("d")]
        for pair in pairs:
            if pair.similarity >= self.section.threshold:
                for column, value in zip(close, (pair.one, pair.other, pair.similarity), strict=True):
                    column.append(value)
        ones, others, similarities = map(_array, close)
        nodes = np.unique(np.concatenate((ones, others)))
        similar = copies.links(
            len(nodes), np.searchsorted(nodes, ones), np.searchsorted(nodes, others), similarities
        )
        present = np.flatnonzero(np.isin(nodes, texts))
        places = np.searchsorted(texts, nodes[present])
        columns = (
            _array(values)[order[best[places]]] for values in (self.questions, self.answers, self.correct)
        )
        claims = dict(zip(present.tolist(), map(Claim, *map(_list, columns)), strict=True))
        merged = copies.merged(
            present[np.argsort(best[places])].tolist(), similar, claims, self.section.threshold
        )
        place = dict(zip(present.tolist(), places.tolist(), strict=True))
        return {place[text]: (place[stays], similarity) for text, (stays, similarity) in merged.items()}


def prints(traces: Sequence[Trace], section: Duplicates) -> list[Print]:
    """The print of each trace; it depends on that trace alone."""
    found: list[Print] = []
    remaining = iter(traces)
    for batch in shingles.batches(shingles.whole(trace.thinking, trace.answer) for trace in traces):
        found += _prints(batch, [trace.problem for trace in islice(remaining, len(batch))], section)
    return found


def problems(rows: Sequence[Problem], section: Duplicates) -> dict[int, int]:
    """Row number of each problem that repeats an earlier one, with that one: numbers and a numeric reference
    are equal, words alike.

    Stretches of words that many questions have, instructions most of all, say nothing about two of them being
    the same.
    """
    meets = np.array([_facts(problem) for problem in rows], dtype=np.uint64)
    texts, signatures, sets = _questions(rows, section)
    asked = np.flatnonzero(meets)
    _, first, group = np.unique(texts[asked] ^ meets[asked], return_index=True, return_inverse=True)
    exact = dict(zip(asked.tolist(), asked[first[group]].tolist(), strict=True))
    asked = np.sort(asked[first])
    one, other = lsh.pairs(signatures, asked, meets[asked], section.threshold)
    values, counts = np.unique(
        np.concatenate([*map(sets.__getitem__, asked.tolist()), _NOTHING]), return_counts=True
    )
    common = values[counts > COMMON]
    own = {
        row: np.setdiff1d(sets[row], common, assume_unique=True) for row in np.union1d(one, other).tolist()
    }
    alike = np.array(
        [
            min(len(own[a]), len(own[b])) and shingles.jaccard(own[a], own[b])
            for a, b in zip(*map(_list, (one, other)), strict=True)
        ]
    )
    close = np.flatnonzero(alike >= section.threshold)
    similar = copies.links(len(rows), one[close], other[close], alike[close])
    merged = copies.merged(asked.tolist(), similar, dict.fromkeys(asked.tolist(), Claim()), section.threshold)
    stays = {row: merged[one][0] if one in merged else one for row, one in exact.items()}
    return {row: one for row, one in stays.items() if row != one}


def _prints(texts: Sequence[str], asked: Sequence[Problem], section: Duplicates) -> Iterator[Print]:
    words = shingles.cut(texts)
    distinct = {(problem.question, problem.reference): problem for problem in asked}
    known = {
        key: (_hash(" ".join(problem.question.split())), _facts(problem)) for key, problem in distinct.items()
    }
    questions, facts = np.array(
        [known[problem.question, problem.reference] for problem in asked], dtype=np.uint64
    ).T
    counts = np.diff(words.bounds)
    across = np.where((facts != 0) & (counts >= MIN_WORDS_ACROSS), shingles.mixed(facts ^ words.numbers), 0)
    signatures = shingles.signatures(*shingles.shingles(words, section.shingle_words))
    columns = (
        signed.view(np.int64).tolist()
        for signed in (questions, shingles.mixed(words.identities() ^ questions), across)
    )
    for question, text, shared, count, signature in zip(*columns, counts.tolist(), signatures, strict=True):
        yield Print(question, text, shared or None, signature.tobytes() if count else None)


def _questions(
    rows: Sequence[Problem], section: Duplicates
) -> tuple[shingles.Hashes, shingles.Signatures, list[shingles.Shingles]]:
    """A hash of the words, the signature and the sorted distinct shingles of each question."""
    texts, signatures, sets = (
        [np.zeros(0, dtype=np.uint64)],
        [np.zeros((0, shingles.PERMUTATIONS), dtype=np.uint8)],
        [],
    )
    for batch in shingles.batches(problem.question for problem in rows):
        words = shingles.cut(batch)
        hashes, bounds = shingles.shingles(words, section.shingle_words)
        texts.append(words.identities())
        signatures.append(shingles.signatures(hashes, bounds))
        sets += [np.unique(hashes[start:stop]) for start, stop in pairwise(bounds)]
    return np.concatenate(texts), np.concatenate(signatures), sets


def _facts(problem: Problem) -> int:
    """The numbers of a question with its reference answer, in which copies agree; 0 where the answer is no
    number and says too little."""
    reference = problem.reference or ""
    return (
        _hash(" ".join([*sorted(reading.quantities(problem.question)), "|", *reference.split()]))
        if reading.numbers(reference)
        else 0
    )


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) or 1


def _array(values: Any) -> NDArray[Any]:
    """A copy of an `array`, which can grow on."""
    return np.array(values)


def _list(values: NDArray[Any]) -> list[Any]:
    found: list[Any] = values.tolist()
    return found
