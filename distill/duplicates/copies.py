"""Which of similar texts stay, and what is a copy of what: one pass over them in the order of preference.

A copy is a copy of a text that stays, so similarity never drifts along a chain. Nothing here compares texts:
pairs that are not linked are copies only when their similarities to a third text prove it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from distill.text import shingles


@dataclass(frozen=True, slots=True)
class Links:
    """The similar texts of each text, the most similar ones first."""

    starts: shingles.Positions
    others: shingles.Positions
    similarities: NDArray[np.float64]

    def of(self, text: int) -> list[tuple[int, float]]:
        """(other text, similarity)."""
        found = slice(self.starts[text], self.starts[text + 1])
        return list(zip(self.others[found].tolist(), self.similarities[found].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a text answers to what; texts of one question that come to different answers are no copies."""

    question: int = 0
    answer: int = 0
    """0: none is known."""
    correct: bool = False


def links(
    count: int, ones: shingles.Positions, others: shingles.Positions, similarities: NDArray[np.float64]
) -> Links:
    """The links of texts 0 to `count`, each in both directions."""
    sources, targets = np.concatenate((ones, others)), np.concatenate((others, ones))
    both = np.concatenate((similarities, similarities))
    order = np.lexsort((-both, sources))
    return Links(np.searchsorted(sources[order], np.arange(count + 1)), targets[order], both[order])


def merged(
    order: Iterable[int], similar: Links, claims: Mapping[int, Claim], threshold: float
) -> dict[int, tuple[int, float]]:
    """Each copy with the text that stays and their similarity; texts come in the order of preference, and
    links may lead to others.

    Jaccard distances obey the triangle inequality, so a text in the middle proves two to be copies when both
    are close enough to it.
    """
    copies: dict[int, tuple[int, float]] = {}
    staying: set[int] = set()
    closest: dict[tuple[int, Claim], tuple[int, float]] = {}
    for text in order:
        claim, found = claims[text], similar.of(text)
        stays = next((link for link in found if link[0] in staying and _agree(claim, claims[link[0]])), None)
        if stays is None:
            known = ((link, closest.get((link[0], claim))) for link in found)
            proved = [(one[0], link[1] + one[1] - 1) for link, one in known if one is not None]
            stays = max((link for link in proved if link[1] >= threshold), key=itemgetter(1), default=None)
        if stays is not None:
            copies[text] = stays
            continue
        staying.add(text)
        for other, similarity in found:
            if similarity > closest.get((other, claim), (0, 0.0))[1]:
                closest[other, claim] = text, similarity
    return copies


def _agree(one: Claim, other: Claim) -> bool:
    """Whether nothing speaks against two texts being copies."""
    if one.question != other.question or (one.correct and other.correct):
        return True
    return one.answer == other.answer or not one.answer or not other.answer
