"""Duplicates among traces: exact by a hash of the words, near by MinHash-LSH with the exact Jaccard similarity of each pair.

What counts as a duplicate:
- the same question (white space apart): traces with equal words are exact duplicates, traces whose word shingles have at
  least the threshold's Jaccard similarity are near ones. Different ways to solve one problem are far below it.
- different questions: near-duplicates only when the questions hold the same numbers, the reference answers are equal and a number,
  the traces hold the same numbers, and the traces have 32 words or more. Word problems from one template differ in little but
  their numbers; merging them would remove problems and not copies. "Yes" or "(B)" is the answer to too many questions.

Numbers are words in shingles. Of a group of copies the one with the best rank stays, then the earliest; a row is compared with
rows that stay only, so similarity never drifts along a chain. What comes out depends on the rows and their order alone.
Memory is some 500 bytes a trace at its peak; the shingles of traces that look alike go to a temporary file. LSH overlooks some
1 % of the pairs just at the threshold; where very many different traces look alike each is compared with `CROWD` of them for
each band, so time stays linear and a few more copies may be overlooked. Paraphrases are not found.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from distill import shingles
from distill.recipe import Duplicates
from distill.records import Problem, Trace
from distill.shingles import PERMUTATIONS, Hashes, Positions, Shelf, Shingles, Signatures, jaccard, mixed
from distill.words import numbers, quantities

VERSION = 2
RECALL_AT_THRESHOLD = 0.99
MIN_WORDS_ACROSS = 32
"""Shorter traces of different questions may agree by chance: 19 + 9 = 28 is all there is to say."""
SIGNATURE_MARGIN = 0.15
"""Pairs whose signatures agree on less than the threshold minus this are not compared: 3.7 standard deviations at 0.7."""
CROWD = 32
NEIGHBOURS = 8
"""So many rows on each side in a band are looked at to see whether a row looks alike any other."""
COMMON = 20
"""More problems than this with the same stretch of words: instructions, or a template."""
CHUNK = 1 << 15


class Index:
    """The prints of texts, in arrays: what finding their duplicates needs and no text."""

    def __init__(self, section: Duplicates) -> None:
        self.section = section
        self.bands, self.rows_per_band = banding(section.threshold)
        self.rows = array("q")
        self.ranks = array("b")
        self.within = array("Q")
        self.across = array("Q")
        self.texts = array("Q")
        self.prints = bytearray()
        self.pending: list[str] = []
        self.pending_characters = 0
        self.last: tuple[str, str | None, int, int] = ("", None, _hash(""), 0)

    def add(self, row: int, trace: Trace, rank: int) -> None:
        """Takes in one trace under its row number; a lower rank is the better copy."""
        problem = trace.problem
        if self.last[:2] != (problem.question, problem.reference):
            self.last = (problem.question, problem.reference, _hash(" ".join(problem.question.split())), _facts(problem))
        self.add_text(row, text_of(trace), rank, *self.last[2:])

    def add_text(self, row: int, text: str, rank: int, within: int, across: int = 0) -> None:
        """Takes in a text; only texts with an equal `within`, or with equal numbers and an equal `across` but 0, can be copies."""
        self.rows.append(row)
        self.ranks.append(rank)
        self.within.append(within)
        self.across.append(across)
        self.pending.append(text)
        self.pending_characters += len(text)
        if shingles.full(self.pending, self.pending_characters):
            self._digest()

    def exact(self) -> dict[int, int]:
        """Row number of each exact duplicate, with the row that stays."""
        self._digest()
        first: dict[int, int] = {}
        copies: dict[int, int] = {}
        for position in self._by_rank():
            row = self.rows[position]
            stays = first.setdefault(self.texts[position], row)
            if stays != row:
                copies[row] = stays
        return copies if self.section.exact else {}

    def suspects(self, exact: Mapping[int, int]) -> set[int]:
        """Row numbers, exact duplicates apart, that share a band with another row they look alike."""
        self._digest()
        if not self.section.near or not self.rows:
            return set()
        order = np.array([position for position in self._by_rank() if self.rows[position] not in exact], dtype=np.int64)
        prints, linked = self._prints(order), np.zeros(len(order), dtype=bool)
        for keys in self._keys(prints, order):
            by_key = np.argsort(keys, kind="stable")
            for distance in range(1, NEIGHBOURS + 1):
                one, other = by_key[:-distance], by_key[distance:]
                meet = keys[one] == keys[other]
                if not meet.any():
                    break
                meet &= ~(linked[one] & linked[other])
                alike = self._alike(prints, one[meet], other[meet])
                linked[one[meet][alike]] = linked[other[meet][alike]] = True
        return set(np.frombuffer(self.rows, dtype=np.int64)[order[linked]].tolist())

    def near(self, suspects: Shelf | Mapping[int, Shingles]) -> dict[int, int]:
        """Row number of each near-duplicate among the suspects (row number to sorted shingles), with the row that stays."""
        order = np.array([position for position in self._by_rank() if self.rows[position] in suspects], dtype=np.int64)
        prints, rows = self._prints(order), [self.rows[position] for position in order.tolist()]
        groups, bounds = self._groups(prints, order)
        staying: dict[int, list[int]] = {}
        copies: dict[int, int] = {}
        for place, row in enumerate(rows):
            met = groups[bounds[place] : bounds[place + 1]].tolist()
            others = np.array(sorted({other for group in met for other in staying.get(group, ())}), dtype=np.int64)
            alike = others[self._alike(prints, others, np.full_like(others, place))]
            similar = (rows[other] for other in alike if jaccard(suspects[row], suspects[rows[other]]) >= self.section.threshold)
            if (stays := next(similar, None)) is not None:
                copies[row] = stays
                continue
            for group in met:
                if len(crowd := staying.setdefault(group, [])) < CROWD:
                    crowd.append(place)
        return copies

    def _digest(self) -> None:
        """Makes the prints of the pending texts."""
        if not self.pending:
            return
        words = shingles.cut(self.pending)
        new = slice(len(self.texts), len(self.rows))
        within = np.array(self.within[new], dtype=np.uint64)
        self.texts.frombytes(mixed(words.identities() ^ within).tobytes())
        facts, alone = np.array(self.across[new], dtype=np.uint64), ~np.array(self.rows[new], dtype=np.int64).view(np.uint64)
        meets = (facts != 0) & (np.diff(words.bounds) >= MIN_WORDS_ACROSS)
        self.across[new] = array("Q", mixed(np.where(meets, facts ^ words.numbers, alone)).tobytes())
        if self.section.near:
            self.prints += shingles.signatures(*shingles.shingles(words, self.section.shingle_words)).tobytes()
        self.pending, self.pending_characters = [], 0

    def _by_rank(self) -> list[int]:
        return sorted(range(len(self.rows)), key=self.ranks.__getitem__)

    def _prints(self, positions: Positions) -> Signatures:
        return np.frombuffer(self.prints, dtype=np.uint8).reshape(-1, PERMUTATIONS)[positions]

    def _keys(self, prints: Signatures, positions: Positions) -> Iterator[Hashes]:
        """Each band of each row, with the row's question and then with its facts: only rows of equal keys can be copies."""
        within, across = (np.frombuffer(facts, dtype=np.uint64)[positions] for facts in (self.within, self.across))
        for start in range(0, self.bands * self.rows_per_band, self.rows_per_band):
            band = np.zeros(len(positions), dtype=np.uint64)
            for column in range(start, start + self.rows_per_band):
                band = mixed(band + prints[:, column])
            yield band ^ within
            yield band ^ across

    def _groups(self, prints: Signatures, positions: Positions) -> tuple[Positions, Positions]:
        """The numbers of the keys that each row shares with another one, row after row, and where each row's begin."""
        places, groups, count = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], 0
        for keys in self._keys(prints, positions):
            _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
            places.append(np.flatnonzero(sizes[group] > 1))
            groups.append(group[places[-1]] + count)
            count += len(sizes)
        place = np.concatenate(places)
        return np.concatenate(groups)[np.argsort(place, kind="stable")], np.append(
            0, np.cumsum(np.bincount(place, minlength=len(positions)))
        )

    def _alike(self, prints: Signatures, one: Positions, other: Positions) -> NDArray[np.bool_]:
        """Whether the signatures of each pair agree well enough for a comparison of the texts."""
        least = (self.section.threshold - SIGNATURE_MARGIN) * PERMUTATIONS
        chunks = [slice(start, start + CHUNK) for start in range(0, max(len(one), 1), CHUNK)]
        return np.concatenate([np.count_nonzero(prints[one[chunk]] == prints[other[chunk]], axis=1) >= least for chunk in chunks])


def shingles_of(traces: Iterable[Trace], rows: set[int], section: Duplicates) -> Shelf:
    """The sorted distinct shingles of the traces in the given rows, for the exact comparison."""
    texts = (text_of(trace) for row, trace in enumerate(traces) if row in rows)
    shelf = Shelf()
    for row, found in zip(sorted(rows), shingles.sets(texts, section.shingle_words), strict=True):
        shelf[row] = found
    return shelf


def problems(rows: Sequence[Problem], section: Duplicates) -> dict[int, int]:
    """Row number of each problem that repeats an earlier one, with that one: numbers and a numeric reference are equal, words alike.

    Stretches of words that many questions have, instructions most of all, say nothing about two of them being the same.
    """
    index = Index(section)
    for row, problem in enumerate(rows):
        index.add_text(row, problem.question, 0, _facts(problem) or _hash(f"row {row}"))
    exact = index.exact()
    found = [row for row in range(len(rows)) if row not in exact]
    sets = dict(zip(found, shingles.sets((rows[row].question for row in found), section.shingle_words), strict=True))
    values, counts = np.unique(np.concatenate([*sets.values(), np.zeros(0, dtype=np.uint32)]), return_counts=True)
    common = values[counts > COMMON]
    own = {row: np.setdiff1d(sets[row], common, assume_unique=True) for row in index.suspects(exact)}
    return exact | index.near({row: one for row, one in own.items() if len(one)})


def text_of(trace: Trace) -> str:
    """Thinking and answer as one text."""
    return f"{trace.thinking or ''}\n{trace.answer}"


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows a band) of 128 permutations: the most rows that still find 99 % of the pairs at the threshold."""
    for size in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // size
        if 1 - (1 - threshold**size) ** bands >= RECALL_AT_THRESHOLD:
            return bands, size
    return PERMUTATIONS, 1


def _facts(problem: Problem) -> int:
    """The numbers of a question with its reference answer, in which copies agree; 0 where the answer is no number and says too little."""
    reference = problem.reference or ""
    return _hash(" ".join([*sorted(quantities(problem.question)), "|", *reference.split()])) if numbers(reference) else 0


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) or 1
