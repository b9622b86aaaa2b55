"""Exact and near duplicates: every planted copy is found, and different problems and samples survive."""

import random

import pytest

from distill import dedup, shingles
from distill.recipe import Duplicates
from distill.records import Problem, Trace

WORDS = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no", "pa") for b in ("ra", "si", "to", "vu", "xe", "za", "gi", "ho")]

SECTION = Duplicates()


def text(seed, count=300):
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(count))


def edited(original, seed, share):
    """Each word is replaced, left out or followed by another one with the given probability."""
    generator = random.Random(seed)
    found = []
    for word in original.split():
        if generator.random() >= share:
            found.append(word)
        else:
            found += generator.choice([[generator.choice(WORDS)], [], [word, generator.choice(WORDS)]])
    return " ".join(found)


def trace(thinking, question="What is asked?", problem="p", answer="4", reference="4"):
    return Trace(Problem(problem, "s", "math", question, reference), "t", 0, thinking, answer, True, "stop")


def copies(traces, ranks=None, section=SECTION):
    """(exact, near) copies by row number."""
    index = dedup.Index(section)
    for row, one in enumerate(traces):
        index.add(row, one, ranks[row] if ranks else 0)
    exact = index.exact()
    with dedup.shingles_of(traces, index.suspects(exact), section) as suspects:
        return exact, index.near(suspects)


def similarity(one, other):
    return shingles.jaccard(*shingles.sets([dedup.text_of(one), dedup.text_of(other)], SECTION.shingle_words))


def test_the_same_words_to_the_same_question_are_exact_duplicates():
    assert copies([trace("a b  c"), trace("a b\nc"), trace("a b d")]) == ({1: 0}, {})
    assert copies([trace("a b c"), trace("a b c", question="What is asked  ?")]) == ({}, {})
    assert copies([trace("a b c"), trace("a b c", question="What  is\nasked?", problem="q")]) == ({1: 0}, {})
    assert copies([trace(None, answer=""), trace("", answer=" ")]) == ({1: 0}, {})


def test_sixteen_different_samples_of_one_problem_survive():
    assert copies([trace(text(seed)) for seed in range(16)]) == ({}, {})


@pytest.mark.parametrize("threshold", [0.7, 0.8])
def test_every_pair_at_the_threshold_is_found_and_none_below(threshold):
    originals = [text(seed) for seed in range(60)]
    rows = [trace(original, f"question {n}", f"p{n}") for n, original in enumerate(originals)]
    rows += [trace(edited(original, n, 0.005 * (n % 12)), f"question {n}", f"c{n}") for n, original in enumerate(originals)]
    exact, near = copies(rows, section=Duplicates(threshold=threshold))
    for n in range(60):
        similar = similarity(rows[n], rows[60 + n]) >= threshold
        assert ((60 + n) in exact or near.get(60 + n) == n) == similar
    assert len(exact) + len(near) > 10


def test_two_percent_of_all_words_may_be_edited():
    rows = [trace(text(seed, 700), f"question {seed}") for seed in range(100)]
    rows += [trace(edited(text(seed, 700), seed, 0.02), f"question {seed}") for seed in range(100)]
    exact, near = copies(rows)
    assert exact == {} and len(near) >= 95 and all(stays == row - 100 for row, stays in near.items())


def test_problems_from_one_template_do_not_merge():
    template = "We start with {a}. " + text(5, 120) + " Adding {b} makes {c}. So we get {c}. "
    rows = [
        trace(template.format(a=a, b=a + 3, c=2 * a + 3), f"Emma has {a} cards and finds {a + 3} more. How many are there?", f"p{a}")
        for a in range(20, 60)
    ]
    assert copies(rows) == ({}, {})
    rows = [trace(text(5, 120), f"Emma has {number} cards and finds more.", number) for number in ("two", "three", "a dozen")]
    assert copies(rows) == ({}, {})
    assert copies([trace(text(5, 120), f"小丽有{number}个苹果。", number) for number in "三四十"]) == ({}, {})
    for references in (("1", "2"), ("Yes", "Yes"), (None, None)):
        rows = [trace(text(5), f"Is {word} prime?", word, reference=one) for word, one in zip("pq", references, strict=True)]
        assert copies(rows) == ({}, {})


def test_a_copy_under_a_reworded_question_is_found_when_its_numbers_agree():
    thinking = "Adding 5 and 7 makes 12. " + text(6)
    rows = [
        trace(thinking, "What is 5 plus 7?", "a"),
        trace(thinking + " done", "Compute the sum of 5 and 7.", "b"),
        trace(thinking, "What is 5 plus 8?", "c"),
        trace(thinking.replace("12", "13"), "Find 5 plus 7.", "d"),
        trace(thinking, "Add 5 to 7.", "e", reference="12"),
    ]
    assert copies(rows)[1] == {1: 0}


def test_short_traces_of_different_questions_do_not_merge():
    rows = [trace("5 + 7 = 12", "What is 5 + 7?", "a"), trace("5 + 7 = 12", "Ann has 5 pens and buys 7. How many?", "b")]
    assert copies(rows) == ({}, {})


def test_the_better_rank_stays_then_the_earlier_row():
    thinking = text(7)
    assert copies([trace(thinking), trace(thinking), trace(thinking)], [1, 0, 0])[0] == {0: 1, 2: 1}
    near = [trace(edited(thinking, seed, 0.005)) for seed in range(3)]
    assert copies(near, [1, 1, 0])[1] == {0: 2, 1: 2}


def test_similarity_does_not_drift_along_a_chain():
    words = text(8, 400).split()
    chain = [trace(" ".join(words[start : start + 300])) for start in range(0, 100, 20)]
    _, near = copies(chain)
    assert near and all(similarity(chain[row], chain[stays]) >= SECTION.threshold for row, stays in near.items())
    assert not set(near) & set(near.values())


def test_very_many_copies_and_very_many_lookalikes_take_few_comparisons_each(monkeypatch):
    compared = []
    monkeypatch.setattr(dedup, "jaccard", lambda one, other: compared.append(1) or shingles.jaccard(one, other))
    thinking, half = text(11, 200), text(12, 40)
    many = [trace(edited(thinking, seed, 0.01)) for seed in range(2000)]
    lookalikes = [trace(f"{half} {text(seed, 12)}", "other") for seed in range(2000)]
    comparisons = []
    for count in (500, 2000):
        compared.clear()
        exact, near = copies(many[:count] + lookalikes[:count])
        comparisons.append(len(compared))
        assert len(exact) + len(near) > 0.9 * count and not [row for row in near if row >= count]
    assert count < comparisons[1] < 6 * comparisons[0]


def test_what_is_found_does_not_depend_on_batches(monkeypatch):
    rows = [trace(edited(text(n // 4, 20 * (n // 4 % 5) + 1), n, 0.02), f"question {n // 8}") for n in range(200)]
    whole = copies(rows)
    assert whole[0] and whole[1]
    monkeypatch.setattr(shingles, "BATCH_TEXTS", 3)
    assert copies(rows) == whole


def test_suspects_may_be_more_than_memory_holds(monkeypatch):
    rows = [trace(edited(text(n // 4), n, 0.01)) for n in range(40)]
    whole = copies(rows)
    monkeypatch.setattr(shingles, "SHELF_BYTES", 1000)
    assert copies(rows) == whole and len(whole[1]) > 20


def test_both_screens_can_be_off():
    rows = [trace(text(9))] * 2
    assert copies(rows, section=Duplicates(exact=False))[1] == {1: 0}
    assert copies(rows, section=Duplicates(exact=False, near=False)) == ({}, {})
    assert copies([], section=Duplicates()) == ({}, {})


def test_chinese_text_has_words():
    original = "小丽有三十个苹果,送出五个,又买了十二个。我们先算送出以后还有多少个,再加上买来的,最后检查一遍结果是否合理。" * 3
    assert copies([trace(original), trace(original.replace("合理", "正确", 1))])[1] == {1: 0}


def problem(question, reference="4"):
    return Problem(question, "s", "math", question, reference)


def test_a_problem_that_is_asked_again_is_found_and_one_with_other_numbers_is_not():
    asked = (
        "A farmer sells {a} eggs every morning at the market for {b} dollars each and keeps the rest for baking. How much is that a week?"
    )
    rows = [asked.format(a=16, b=2), asked.format(a=16, b=3), asked.format(a=16, b=2).replace("every", "each"), "How much is 16 by 2?"]
    rows = [*map(problem, rows), problem(rows[1].upper()), problem(rows[0].replace("dollars", "pounds"), "5")]
    assert dedup.problems(rows, Duplicates(threshold=0.6)) == {2: 0, 4: 1}
    assert dedup.problems([], SECTION) == {}


def test_instructions_that_all_problems_share_do_not_make_them_equal():
    rows = [problem(f"{text(1, 100)} {text(seed, 20)}") for seed in range(2, 40)]
    assert dedup.problems([*rows, problem(f"{text(1, 100)} {text(2, 20)} now")], SECTION) == {38: 0}


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_banding_finds_pairs_at_the_threshold(threshold):
    bands, rows = dedup.banding(threshold)
    assert bands * rows <= shingles.PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** bands >= 0.99
