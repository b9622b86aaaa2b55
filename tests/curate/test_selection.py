"""A choice depends on the stored numbers of a problem's own traces, or on a seeded hash, and on nothing
else."""

import random
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from distill.curate.selection import choice, not_selected, quotas
from distill.recipe import Selection
from distill.records import Measures, Outline
from distill.text import shingles

NO_SHARES: dict[str, float] = {}


def outline(problem=0, sample=0, source="a", tokens=100, rate=None, minhash=None):
    return Outline(
        id=f"t{problem}-{sample}",
        problem_id=f"p{problem}",
        source=source,
        kind="math",
        language="en",
        sample_index=sample,
        finish_reason="stop",
        think_closed=True,
        outcome="correct",
        answer_tokens=tokens,
        measures=Measures(pass_rate=rate, minhash=minhash),
    )


def signature(*words):
    return shingles.signatures(*shingles.shingles(shingles.cut([" ".join(words)]), 1))[0].tobytes()


def left_out(outlines, shares=NO_SHARES, **section):
    """Trace id to rule, for outlines in rows of their order."""
    selection = Selection.model_validate(section)
    rows = list(outlines)
    found = not_selected([choice(row, one, selection) for row, one in enumerate(rows)], selection, shares)
    return {rows[row].id: rule for row, rule in found.items()}


def kept(outlines, shares=NO_SHARES, **section):
    out = left_out(outlines, shares, **section)
    return {one.id for one in outlines if one.id not in out}


PROBLEMS = [
    outline(problem, sample, "ab"[problem % 2], 40 + (problem * 7 + sample * 31) % 60)
    for problem in range(30)
    for sample in range(4)
]
PRINTED = [
    replace(one, measures=Measures(minhash=signature(*map(str, range(one.answer_tokens)))))
    for one in PROBLEMS
]
PER_PROBLEM = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(["correct", "shortest", "diverse", "majority"]),
        "per_problem": st.integers(1, 3),
    }
)


def test_without_a_limit_everything_is_kept():
    for policy in ("correct", "diverse", "majority", "none"):
        assert left_out(PROBLEMS, policy=policy) == {}


@given(st.randoms(use_true_random=False), PER_PROBLEM)
def test_the_order_of_rows_does_not_matter(shuffle, section):
    shuffled = list(PRINTED)
    shuffle.shuffle(shuffled)
    assert left_out(shuffled, **section) == left_out(PRINTED, **section)
    assert kept(shuffled, max_examples=17, shares={"a": 0.7}) == kept(
        PRINTED, max_examples=17, shares={"a": 0.7}
    )


@given(st.integers(1, 29), PER_PROBLEM)
def test_traces_of_other_problems_change_no_choice_among_siblings(count, section):
    some = [one for one in PROBLEMS if int(one.problem_id[1:]) < count]
    assert kept(some, **section) == kept(PROBLEMS, **section) & {one.id for one in some}


def test_more_samples_move_no_first_ones_and_shorter_ones_only_to_shorter_ones():
    more = [
        *PROBLEMS,
        *(outline(problem, sample, tokens=45) for problem in range(30) for sample in range(4, 8)),
    ]
    assert kept(more, per_problem=2) == kept(PROBLEMS, per_problem=2)
    lengths = {one.id: one.answer_tokens for one in more}
    moved = kept(more, policy="shortest") - kept(PROBLEMS, policy="shortest")
    assert moved and {lengths[name] for name in moved} == {45}


def test_a_seeded_choice_moves_by_as_many_rows_as_were_added():
    names = {one.id for one in PROBLEMS}
    grown = [*PROBLEMS, *(outline(problem, 0) for problem in range(30, 60))]
    before, after = kept(PROBLEMS, max_examples=60), kept(grown, max_examples=60)
    assert len(before) == len(after) == 60
    assert after & names <= before
    assert kept(PROBLEMS, max_examples=60, seed=1) != before


def test_the_shortest_are_taken_and_the_rule_says_so():
    rows = [outline(0, sample, tokens=tokens) for sample, tokens in enumerate([30, 10, 20, 10])]
    assert left_out(rows, policy="shortest") == dict.fromkeys(
        ["t0-0", "t0-2", "t0-3"], "the shortest 1 of its problem are taken"
    )
    assert kept(rows, policy="shortest", per_problem=3) == {"t0-1", "t0-2", "t0-3"}


def test_the_most_different_are_taken():
    by_parts, by_formula, by_table = (
        signature(*(f"{way}{word}" for word in range(60))) for way in ("parts", "formula", "table")
    )
    again = signature(*(f"parts{word}" for word in range(57)))
    rows = [
        outline(0, sample, minhash=print_)
        for sample, print_ in enumerate([by_parts, again, by_formula, again, by_table, None])
    ]
    assert kept(rows, policy="diverse", per_problem=2) == {"t0-0", "t0-2"}
    assert kept(rows, policy="diverse", per_problem=3) == {"t0-0", "t0-2", "t0-4"}
    assert "t0-5" in left_out(rows, policy="diverse", per_problem=5)
    assert kept(rows[5:], policy="diverse", per_problem=1) == {"t0-5"}


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=9), st.integers(2, 3))
def test_the_most_different_are_within_twice_of_the_best_spread(starts, limit):
    """Farthest-first is a 2-approximation for every metric, and the share of unequal bytes is one."""
    prints = [signature(*map(str, range(start, start + 40))) for start in starts]
    rows = [outline(0, sample, minhash=print_) for sample, print_ in enumerate(prints)]
    chosen = [int(name.split("-")[1]) for name in kept(rows, policy="diverse", per_problem=limit)]

    def spread(samples):
        arrays = [np.frombuffer(prints[sample], dtype=np.uint8) for sample in samples]
        return min(int((one != other).sum()) for one, other in combinations(arrays, 2))

    assert len(chosen) == limit
    assert 2 * spread(chosen) >= max(spread(samples) for samples in combinations(range(len(rows)), limit))


@pytest.mark.parametrize(
    ("rate", "tokens", "rule"),
    [
        (1.0, 100, None),
        (1.0, 101, "101 tokens, the budget at pass rate 1 is 100"),
        (0.5, 550, None),
        (0.5, 551, "551 tokens, the budget at pass rate 0.5 is 550"),
        (0.25, 775, None),
        (0.0, 1001, "1001 tokens, the budget at pass rate 0 is 1000"),
        (None, 10**6, None),
    ],
)
def test_the_length_budget_rises_with_measured_difficulty(rate, tokens, rule):
    found = left_out([outline(rate=rate, tokens=tokens)], easy_tokens=100, hard_tokens=1000)
    assert found == ({} if rule is None else {"t0-0": rule})


def test_problems_outside_the_pass_rate_window_are_left_out_and_unmeasured_ones_stay():
    rows = [outline(problem, rate=rate) for problem, rate in enumerate([0.0, 0.2, 0.6, 1.0, None])]
    assert left_out(rows, min_pass_rate=0.2, max_pass_rate=0.9) == {
        "t0-0": "pass rate 0 is outside 0.2 to 0.9",
        "t3-0": "pass rate 1 is outside 0.2 to 0.9",
    }


def test_a_trace_over_its_budget_takes_no_siblings_place():
    rows = [outline(0, sample, tokens=tokens, rate=1.0) for sample, tokens in enumerate([900, 90, 80])]
    assert kept(rows, easy_tokens=100, hard_tokens=200, per_problem=1) == {"t0-1"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"easy_tokens": 10}, "set both or neither"),
        ({"hard_tokens": 10}, "set both or neither"),
        ({"easy_tokens": 11, "hard_tokens": 10}, "rises with difficulty"),
        ({"min_pass_rate": 0.8, "max_pass_rate": 0.2}, "nothing would be left"),
        ({"keep_unverified": ["essay"]}, "keep_unverified"),
    ],
)
def test_half_a_budget_and_an_empty_window_are_errors(section, message):
    with pytest.raises(ValidationError, match=message):
        Selection.model_validate(section)


SOURCES = st.lists(st.sampled_from("abc"), min_size=0, max_size=60)


@given(
    SOURCES,
    st.dictionaries(st.sampled_from("ab"), st.floats(0.01, 0.5), max_size=2),
    st.none() | st.integers(1, 70),
)
def test_quotas_hold_the_limit_and_the_shares(names, shares, most):
    rows = [choice(row, outline(row, source=name), Selection()) for row, name in enumerate(names)]
    counts = Counter(name if name in shares else None for name in names)
    found = quotas(rows, shares, most)
    total = sum(found.values())
    assert all(0 <= found[group] <= counts[group] for group in counts) and set(found) == set(counts)
    assert most is None or total <= most
    named = sum(shares[group] for group in counts if group is not None)
    for group in counts if named < 1 and None in counts else ():
        share = shares.get(group, 0) if group is not None else 1 - named
        assert abs(found[group] - share * total) <= 2


def test_quotas_use_the_limit_up_and_never_go_beyond():
    rows = [choice(row, outline(row, source="abc"[row % 3]), Selection()) for row in range(90)]
    assert quotas(rows, {}, None) == {None: 90}
    assert quotas(rows, {"a": 0.35, "b": 0.35}, 10) == {"a": 4, "b": 3, None: 3}
    assert quotas(rows[::-1], {"b": 0.35, "a": 0.35}, 10) == {"a": 4, "b": 3, None: 3}
    assert quotas(rows, {"a": 0.5, "b": 0.5}, 3 * 90) == {"a": 30, "b": 30, None: 0}
    assert quotas([], {"a": 0.1}, 5) == {}


def test_the_scarcest_source_decides_how_much_there_is():
    rows = [outline(row, source="a" if row < 10 else "b") for row in range(100)]
    chosen = Counter(
        "a" if int(name[1:].split("-")[0]) < 10 else "b" for name in kept(rows, shares={"a": 0.5, "b": 0.5})
    )
    assert chosen == {"a": 10, "b": 10}
    assert set(left_out(rows, shares={"a": 0.5, "b": 0.5}).values()) == {
        "a seeded choice of 10 from source 'b'"
    }


def test_a_choice_is_small():
    rows = [
        choice(
            row, outline(row // 4, row % 4, tokens=random.Random(row).randrange(9999), rate=0.5), Selection()
        )
        for row in range(1000)
    ]
    own = sum(
        sys.getsizeof(one) + sum(map(sys.getsizeof, (one.row, one.tokens, one.draw))) for one in rows
    ) / len(rows)
    assert own < 200
    assert len({id(one.problem_id) for one in rows}) == 250
