"""A benchmark's question is found however it is typed again, and a question that only resembles it is not."""

import pytest

from distill import contamination
from distill.recipe import Decontamination

LONG = "Anna walks along the river for 3 miles each morning before she opens the bakery, then cycles 12 miles to the market. How far is it?"
SHORT = "What is 26 + 33?"
CHINESE = "小明每天早上沿着河边走三公里,然后骑车十二公里去市场买菜,请问他一共走了多少公里?"


def rule(question, **section):
    match = contamination.Benchmarks([SHORT, LONG, CHINESE], Decontamination(**section)).match(question)
    return match and (match.rule, match.drop)


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (LONG.upper().replace(" ", "\n"), "exact"),
        ("what is 26+33", "exact"),
        (f"Solve this problem step by step: {LONG} Put the answer in a box.", "ngram"),
        (LONG.replace("Anna", "Maria").replace("market", "office"), "ngram"),
        (LONG.replace("3 miles", "5 miles"), "ngram"),
        (LONG.replace("river", "lake").replace("morning", "day").replace("opens", "leaves").replace("cycles", "rides"), "similar"),
        (CHINESE.replace("买菜", ""), "similar"),
    ],
)
def test_a_question_that_is_typed_again_is_dropped(question, found):
    assert rule(question) == (found, True)


@pytest.mark.parametrize(
    "question",
    [
        "Bob paints a fence. He opens the bakery, then cycles 12 miles to the market with two heavy bags of flour. What is the time?",
        "What is 26 - 33?",
        LONG.replace("3 miles", "-3 miles").replace("river", "lake").replace("opens", "leaves").replace("cycles", "rides"),
        "Anna walks along a street for 3 miles. She opens a shop, then drives 12 miles back. How far is it?",
        "",
        "?",
    ],
)
def test_a_question_that_shares_phrases_only_is_another_one(question):
    assert rule(question) is None


def test_other_numbers_make_another_problem_which_is_told_and_dropped_on_demand():
    assert rule("What is 27 + 1,330?") == ("digits", False)
    assert rule("What is 27 + 1,330?", drop_other_digits=True) == ("digits", True)
    other = LONG.replace("river", "lake").replace("morning", "day").replace("opens", "leaves").replace("cycles", "rides")
    assert rule(other.replace("12", "13")) is None


def test_the_recipe_sets_how_close_is_too_close():
    changed = LONG.replace("Anna", "Maria").replace("opens", "leaves")
    assert rule(changed) == ("ngram", True)
    assert rule(changed, gram_words=13) == ("similar", True)
    assert rule(changed, gram_words=13, min_similarity=None) is None
    assert rule(changed, min_shared=0.9, min_similarity=0.95) is None


def test_the_closest_benchmark_question_is_shown_with_its_score():
    benchmarks = contamination.Benchmarks([LONG.replace("Anna walks", "Tom runs"), LONG, LONG])
    match = benchmarks.match(LONG + " Explain.")
    assert match.benchmark_question == LONG and match.score == 1.0 and LONG in str(match)
    assert [found.question for found in contamination.matches(["Else?", LONG, "Else?", LONG], benchmarks)] == [LONG]


def test_phrases_that_many_benchmark_questions_share_lead_nowhere():
    questions = [f"How many of the {'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]} are there in the box?" for n in range(100)]
    found = [contamination.Benchmarks(some, Decontamination(gram_words=13)) for some in (questions[:40], questions)]
    assert [benchmarks.match("How many of the pears are there in the box?") is None for benchmarks in found] == [False, True]


def test_without_benchmarks_nothing_matches():
    assert contamination.Benchmarks([]).match(LONG) is None
