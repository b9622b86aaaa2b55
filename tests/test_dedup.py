"""Exact and near duplicates: every planted copy is found, and different problems and samples survive."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import dedup
from distill.recipe import Duplicates
from distill.records import Problem, Trace

WORDS = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no", "pa") for b in ("ra", "si", "to", "vu", "xe", "za", "gi", "ho")]

SECTION = Duplicates()


def text(seed, count=300):
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(count))


def edited(original, seed, share):
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) if generator.random() < share else word for word in original.split())


def trace(thinking, question="What is asked?", problem="p", answer="4"):
    return Trace(Problem(problem, "s", "math", question, "4"), "t", 0, thinking, answer, True, "stop")


def copies(traces, ranks=None, section=SECTION):
    """(exact, near) copies by row number."""
    index = dedup.Index(section)
    for row, one in enumerate(traces):
        index.add(row, one, ranks[row] if ranks else 0)
    exact = index.exact()
    suspects = {row: index.shingles(traces[row]) for row in index.suspects(exact)}
    return exact, index.near(suspects)


def test_the_same_words_to_the_same_question_are_exact_duplicates():
    assert copies([trace("a b  c"), trace("a b\nc"), trace("a b d")]) == ({1: 0}, {})
    assert copies([trace("a b c"), trace("a b c", question="What is asked  ?")]) == ({}, {})
    assert copies([trace("a b c"), trace("a b c", question="What  is\nasked?", problem="q")]) == ({1: 0}, {})


def test_sixteen_different_samples_of_one_problem_survive():
    assert copies([trace(text(seed)) for seed in range(16)]) == ({}, {})


def test_every_pair_at_the_threshold_is_found_and_none_below():
    originals = [text(seed) for seed in range(60)]
    rows = [trace(original, f"question {n}", f"p{n}") for n, original in enumerate(originals)]
    rows += [trace(edited(original, n, 0.005 * (n % 12)), f"question {n}", f"c{n}") for n, original in enumerate(originals)]
    exact, near = copies(rows)
    index = dedup.Index(Duplicates())
    for n in range(60):
        similar = dedup.jaccard(index.shingles(rows[n]), index.shingles(rows[60 + n])) >= 0.8
        assert ((60 + n) in exact or near.get(60 + n) == n) == similar
    assert len(exact) + len(near) > 10


def test_problems_from_one_template_do_not_merge():
    template = "We start with {a}. " + text(5, 120) + " Adding {b} makes {c}. So we get {c}. "
    rows = [
        trace(template.format(a=a, b=a + 3, c=2 * a + 3), f"Emma has {a} cards and finds {a + 3} more. How many are there?", f"p{a}")
        for a in range(20, 60)
    ]
    assert copies(rows) == ({}, {})


def test_a_copy_under_a_reworded_question_is_found_when_its_numbers_agree():
    thinking = "Adding 5 and 7 makes 12. " + text(6)
    rows = [
        trace(thinking, "What is 5 plus 7?", "a"),
        trace(edited(thinking, 1, 0.005), "Compute the sum of 5 and 7.", "b"),
        trace(thinking, "What is 5 plus 8?", "c"),
        trace(thinking.replace("12", "13"), "Find 5 plus 7.", "d"),
    ]
    assert copies(rows)[1] == {1: 0}


def test_short_traces_of_different_questions_do_not_merge():
    assert copies([trace("5 + 7 = 12", "What is 5 + 7?", "a"), trace("5 + 7 = 12", "Ann has 5 pens and buys 7. How many?", "b")]) == (
        {},
        {},
    )


def test_the_better_rank_stays_then_the_earlier_row():
    thinking = text(7)
    assert copies([trace(thinking), trace(thinking), trace(thinking)], [1, 0, 0])[0] == {0: 1, 2: 1}
    near = [trace(edited(thinking, seed, 0.005)) for seed in range(3)]
    assert copies(near, [1, 1, 0])[1] == {0: 2, 1: 2}


def test_similarity_does_not_drift_along_a_chain():
    words = text(8, 400).split()
    chain = [trace(" ".join(words[start : start + 300])) for start in range(0, 100, 20)]
    _, near = copies(chain)
    index = dedup.Index(Duplicates())
    assert near and all(dedup.jaccard(index.shingles(chain[row]), index.shingles(chain[stays])) >= 0.8 for row, stays in near.items())
    assert not set(near) & set(near.values())


def test_both_screens_can_be_off():
    rows = [trace(text(9))] * 2
    assert copies(rows, section=Duplicates(exact=False))[1] == {1: 0}
    assert copies(rows, section=Duplicates(exact=False, near=False)) == ({}, {})
    assert copies([], section=Duplicates()) == ({}, {})


def test_chinese_text_has_words():
    original = "小丽有三十个苹果,送出五个,又买了十二个。我们先算送出以后还有多少个,再加上买来的,最后检查一遍结果是否合理。" * 3
    assert copies([trace(original), trace(original.replace("合理", "正确", 1))])[1] == {1: 0}


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_banding_finds_pairs_at_the_threshold(threshold):
    bands, rows = dedup.banding(threshold)
    assert bands * rows <= dedup.PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=400), st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=400))
def test_jaccard_is_that_of_the_sets(one, other):
    arrays = [np.array(sorted(values), dtype=np.uint64) for values in (one, other)]
    assert dedup.jaccard(*arrays) == len(one & other) / len(one | other)


def test_signatures_agree_as_often_as_the_sets_do():
    generator = np.random.default_rng(3)
    for size in (20, 200, 2000):
        agreements = []
        for _ in range(40):
            values = np.unique(generator.integers(0, 2**64 - 1, size=size, dtype=np.uint64))
            share = size // 3
            pair = (np.sort(values[:-share]), np.sort(values[share:]))
            agreements.append(float((dedup.signature(pair[0]) == dedup.signature(pair[1])).mean()) - dedup.jaccard(*pair))
        assert abs(float(np.mean(agreements))) < 0.08
