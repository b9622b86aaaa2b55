"""Texts whose signatures look alike: pairs at the similarity are met, and a crowd meets few of its own."""

import numpy as np
import pytest

from distill.duplicates import lsh
from distill.text import shingles


def signatures(sets):
    return shingles.signatures(np.concatenate(sets), np.cumsum([0, *map(len, sets)]))


def met(sets, meets, least=0.65, places=None):
    places = np.arange(len(sets)) if places is None else np.array(places)
    one, other = lsh.pairs(signatures(sets), places, np.array(meets, dtype=np.uint64), least)
    return list(zip(one.tolist(), other.tolist(), strict=True))


def with_share(generator, share, count=2, size=600):
    """Sets whose pairs have about that Jaccard similarity: each holds a common part and one of its own."""
    common = round(size * 2 * share / (1 + share))
    core = generator.integers(0, 2**32 - 1, size=common, dtype=np.uint32)
    return [
        np.unique(np.append(core, generator.integers(0, 2**32 - 1, size - common, dtype=np.uint32)))
        for _ in range(count)
    ]


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_the_bands_find_pairs_at_the_similarity(similarity):
    bands, size = lsh.banding(similarity)
    assert bands * size <= shingles.PERMUTATIONS
    assert 1 - (1 - similarity**size) ** bands >= 0.99


def test_similar_sets_meet_and_others_do_not():
    generator = np.random.default_rng(1)
    sets = [one for _ in range(300) for one in with_share(generator, 0.66)]
    assert len(set(met(sets, [7] * 600)) & {(row, row + 1) for row in range(0, 600, 2)}) >= 291
    sets = [one for _ in range(300) for one in with_share(generator, 0.3)]
    assert not met(sets, [7] * 600)


def test_only_places_that_may_meet_do():
    same = with_share(np.random.default_rng(2), 1.0) * 2
    assert met(same, [1, 2, 1, 2]) == [(0, 2), (1, 3)]
    assert met(same, [1, 2, 3, 4]) == [] == met(same, [], places=[])
    assert met(same, [1, 1, 5, 5], places=[0, 1, 1, 3]) == [(0, 1), (1, 3)]


def test_of_a_crowd_each_meets_the_first_ones_and_its_neighbours_and_the_most_similar_one():
    generator = np.random.default_rng(3)
    crowd = with_share(generator, 0.7, 400)
    crowd[390] = np.unique(np.append(crowd[200], generator.integers(0, 2**32 - 1, 5, dtype=np.uint32)))
    found = met(crowd, [7] * 400)
    assert (200, 390) in found
    earlier = np.bincount([other for _, other in found], minlength=400)
    assert earlier.max() <= lsh.LEADERS + lsh.NEIGHBOURS and earlier[100:].min() >= lsh.LEADERS
    assert found == sorted(found, key=lambda pair: pair[::-1])
