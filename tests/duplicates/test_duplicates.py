"""Exact and near duplicates: every planted copy is found, and different problems and samples survive."""

import random
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest

from distill import duplicates
from distill.duplicates import Pair, pairs
from distill.recipe import Duplicates
from distill.records import Candidate, Measures, Outline, Problem, Trace, Verdict
from distill.store import shards
from distill.text import shingles

WORDS = [
    f"{a}{b}"
    for a in ("ba", "do", "ki", "lu", "me", "no", "pa")
    for b in ("ra", "si", "to", "vu", "xe", "za", "gi", "ho")
]

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


def measured(traces, section=SECTION):
    """Candidates as `measure` leaves them, as far as duplicates are concerned."""
    prints = duplicates.prints(traces, section)
    return [
        Candidate(
            one,
            Verdict("correct", one.answer),
            measures=Measures(**{name: getattr(found, name) for name in found.__slots__}),
        )
        for one, found in zip(traces, prints, strict=True)
    ]


def outline(candidate):
    one, problem = candidate.trace, candidate.trace.problem
    labels = problem.problem_id, problem.source, problem.kind, problem.language
    verdict = candidate.verdict
    return Outline(
        one.id,
        *labels,
        0,
        one.finish_reason,
        True,
        verdict.outcome,
        verdict.extracted,
        failure=one.failure,
        measures=candidate.measures,
    )


def near_pairs(candidates, section=SECTION, shard_rows=1000):
    """The pairs of candidates in shards."""
    with TemporaryDirectory() as folder:
        sources = [f"{folder}/{start}.parquet" for start in range(0, len(candidates), shard_rows)]
        for number, source in enumerate(sources):
            shards.write(Candidate, candidates[number * shard_rows : (number + 1) * shard_rows], source)
        return list(pairs.find(sources, section))


def copies(traces, ranks=None, section=SECTION):
    """(exact, near) copies by row number."""
    candidates = measured(traces, section)
    index = duplicates.Index(section)
    for row, candidate in enumerate(candidates):
        index.add(row, outline(candidate), ranks[row] if ranks else 0)
    found = index.copies(near_pairs(candidates, section))
    return tuple(
        {row: copy.stays for row, copy in found.items() if (copy.similarity is None) == exact}
        for exact in (True, False)
    )


def whole(one):
    return shingles.whole(one.thinking, one.answer)


def similarity(one, other):
    return shingles.jaccard(*shingles.sets([whole(one), whole(other)], SECTION.shingle_words))


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
    rows += [
        trace(edited(original, n, 0.005 * (n % 12)), f"question {n}", f"c{n}")
        for n, original in enumerate(originals)
    ]
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
        trace(
            template.format(a=a, b=a + 3, c=2 * a + 3),
            f"Emma has {a} cards and finds {a + 3} more. How many are there?",
            f"p{a}",
        )
        for a in range(20, 60)
    ]
    assert copies(rows) == ({}, {})
    rows = [
        trace(text(5, 120), f"Emma has {number} cards and finds more.", number)
        for number in ("two", "three", "a dozen")
    ]
    assert copies(rows) == ({}, {})
    assert copies([trace(text(5, 120), f"小丽有{number}个苹果。", number) for number in "三四十"]) == ({}, {})
    for references in (("1", "2"), ("Yes", "Yes"), (None, None)):
        rows = [
            trace(text(5), f"Is {word} prime?", word, reference=one)
            for word, one in zip("pq", references, strict=True)
        ]
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
    rows = [
        trace("5 + 7 = 12", "What is 5 + 7?", "a"),
        trace("5 + 7 = 12", "Ann has 5 pens and buys 7. How many?", "b"),
    ]
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
    assert near and all(
        similarity(chain[row], chain[stays]) >= SECTION.threshold for row, stays in near.items()
    )
    assert not set(near) & set(near.values())


@pytest.fixture(scope="module")
def crowd():
    """Very many copies of one text, each with some other words changed, and the pairs that are stored of
    them."""
    candidates = measured([trace(edited(text(11, 200), seed, 0.005)) for seed in range(3000)])
    sets = list(shingles.sets([whole(candidate.trace) for candidate in candidates], SECTION.shingle_words))
    return [outline(candidate) for candidate in candidates], sets, near_pairs(candidates)


@pytest.mark.parametrize(
    "chosen", [slice(None), slice(1500, None), slice(40, None, 37), slice(1, None, 2), slice(2000, 2200)]
)
def test_whatever_part_of_a_crowd_is_cut_few_of_it_stay(crowd, chosen):
    outlines, sets, stored = crowd
    assert len(stored) < 40 * len(outlines)
    index = duplicates.Index(SECTION)
    for row in range(len(outlines))[chosen]:
        index.add(row, outlines[row], 0)
    found = index.copies(stored)
    assert len(index.rows) - len(found) <= max(5, 0.01 * len(index.rows))
    for row, copy in found.items():
        assert copy.stays not in found
        exact = shingles.jaccard(sets[row], sets[copy.stays])
        assert exact >= SECTION.threshold and (copy.similarity is None or exact >= copy.similarity - 1e-9)


def test_what_is_found_does_not_depend_on_batches(monkeypatch):
    rows = [
        trace(edited(text(n // 4, 20 * (n // 4 % 5) + 1), n, 0.02), f"question {n // 8}") for n in range(200)
    ]
    whole = copies(rows)
    assert whole[0] and whole[1]
    monkeypatch.setattr(shingles, "BATCH_TEXTS", 3)
    assert copies(rows) == whole


def test_suspects_may_be_more_than_memory_holds(monkeypatch):
    rows = [trace(edited(text(n // 4), n, 0.01)) for n in range(40)]
    whole = copies(rows)
    monkeypatch.setattr(shingles, "SPOOLED_BYTES", 1000)
    assert copies(rows) == whole and len(whole[1]) > 20


def test_both_screens_can_be_off():
    rows = [trace(text(9))] * 2
    assert copies(rows, section=Duplicates(exact=False))[1] == {1: 0}
    assert copies(rows, section=Duplicates(near=False))[0] == {1: 0}
    assert copies(rows, section=Duplicates(exact=False, near=False)) == ({}, {})
    assert copies([], section=Duplicates()) == ({}, {})
    rows = [trace(text(9)), trace(text(9) + " done")]
    assert copies(rows)[1] == {1: 0} and copies(rows, section=Duplicates(near=False)) == ({}, {})


def judged(outcomes, section=SECTION):
    """Near copies of one text to one question with these (outcome, extracted)."""
    candidates = measured([trace(edited(text(3), seed, 0.005)) for seed in range(len(outcomes))])
    index = duplicates.Index(section)
    for row, (candidate, (outcome, extracted)) in enumerate(zip(candidates, outcomes, strict=True)):
        index.add(row, outline(replace(candidate, verdict=Verdict(outcome, extracted))), 0)
    return {row: copy.stays for row, copy in index.copies(near_pairs(candidates)).items()}


def test_traces_of_one_question_that_come_to_different_answers_are_no_copies():
    assert judged([("correct", "4"), ("wrong", "5"), ("wrong", "6"), ("wrong", "5"), ("correct", "8/2")]) == {
        3: 1,
        4: 0,
    }
    assert judged([("unverified", "4"), ("unverified", None), ("unverified", "5"), ("timeout", "4")]) == {
        1: 0,
        3: 0,
    }


def test_another_cut_needs_the_stored_pairs_only():
    traces = [trace(edited(text(seed // 8), seed, 0.004 * (seed % 8))) for seed in range(400)]
    candidates = measured(traces)
    stored = near_pairs(candidates)
    for section in (
        Duplicates(threshold=0.65),
        SECTION,
        Duplicates(threshold=0.8),
        Duplicates(threshold=0.9),
    ):
        index = duplicates.Index(section)
        for row in range(0, 400, 3):
            index.add(row, outline(candidates[row]), row % 2)
        found = {row: copy.stays for row, copy in index.copies(stored).items()}
        alone = copies(traces[::3], [row % 2 for row in range(0, 400, 3)], section)
        assert found == {3 * row: 3 * stays for part in alone for row, stays in part.items()}
        assert found


def test_a_copy_of_a_near_copy_names_the_row_that_stays():
    rows = [trace(text(4)), trace(text(4) + " done"), trace(text(4) + " done"), trace(text(4) + "  done")]
    assert copies(rows) == ({}, {1: 0, 2: 0, 3: 0})
    assert copies(rows, [0, 1, 1, 0], Duplicates(threshold=1)) == ({1: 3, 2: 3}, {})


def test_rows_that_were_never_measured_are_no_copies():
    index = duplicates.Index(SECTION)
    for row in range(2):
        index.add(row, outline(Candidate(trace("a b c"), Verdict("correct"))), 0)
    assert index.copies([Pair(1, 2, 0.9)]) == {}


def test_chinese_text_has_words():
    original = (
        "小丽有三十个苹果,送出五个,又买了十二个。我们先算送出以后还有多少个,再加上买来的,最后检查一遍结果是否合理。"
        * 3
    )
    assert copies([trace(original), trace(original.replace("合理", "正确", 1))])[1] == {1: 0}


def problem(question, reference="4"):
    return Problem(question, "s", "math", question, reference)


def test_a_problem_that_is_asked_again_is_found_and_one_with_other_numbers_is_not():
    asked = "A farmer sells {a} eggs every morning at the market for {b} dollars each and keeps the rest for baking. How much is that a week?"
    rows = [
        asked.format(a=16, b=2),
        asked.format(a=16, b=3),
        asked.format(a=16, b=2).replace("every", "each"),
        "How much is 16 by 2?",
    ]
    rows = [*map(problem, rows), problem(rows[1].upper()), problem(rows[0].replace("dollars", "pounds"), "5")]
    assert duplicates.problems(rows, Duplicates(threshold=0.6)) == {2: 0, 4: 1}
    assert duplicates.problems([], SECTION) == {}
    again = [rows[0], rows[2], rows[2], rows[0]]
    assert duplicates.problems(again, Duplicates(threshold=0.6)) == {1: 0, 2: 0, 3: 0}


def test_instructions_that_all_problems_share_do_not_make_them_equal():
    rows = [problem(f"{text(1, 100)} {text(seed, 20)}") for seed in range(2, 40)]
    assert duplicates.problems([*rows, problem(f"{text(1, 100)} {text(2, 20)} now")], SECTION) == {38: 0}
