"""A benchmark's question is found however it is typed again or quoted, and a question that only resembles it
is not."""

import json
from typing import Any

import pytest

from distill import contamination
from distill.contamination import Benchmarks, Match
from distill.recipe import Decontamination
from distill.records import Problem, Trace
from distill.store import shards

LONG = "Anna walks along the river for 3 miles each morning before she opens the bakery, then cycles 12 miles to the market. How far is it?"
SHORT = "What is 26 + 33?"
CHINESE = "小明每天早上沿着河边走三公里,然后骑车十二公里去市场买菜,请问他一共走了多少公里?"


NUMBERLESS = "Does a square always have four equal sides?"
AIME = (
    "Alice and Bob take turns to remove stones from a pile until none is left, and whoever takes the last "
    "stone wins the game. "
    "The probability that Alice wins can be written in the form m/n, where m and n are relatively prime "
    "positive integers. Find m + n."
)
FILLER = "Let us go on with what was asked and add the numbers up one by one until nothing is left to add to the sum."


def benchmarks(*questions: str, **section: Any) -> Benchmarks:
    return Benchmarks([("bench", question) for question in questions], Decontamination(**section))


def rule(question: str, **section: Any) -> tuple[str, bool] | None:
    close = benchmarks(SHORT, LONG, CHINESE, **section).match(question)
    return close and (close.rule, contamination.drops(close, Decontamination(**section)))


def trace(
    thinking: str | None, answer: str = "It is 7.", question: str = "What is 3 + 4?", row: int = 0
) -> Trace:
    return Trace(
        Problem(f"p{row}", "source", "math", question, "7"), f"t{row}", 0, thinking, answer, True, "stop"
    )


def found(traces: list[Trace], *questions: str, **section: Any) -> list[Match]:
    return list(contamination.matches(traces, benchmarks(*questions, **section)))


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (LONG.upper().replace(" ", "\n"), "exact"),
        ("what is 26+33", "exact"),
        (f"Solve this problem step by step: {LONG} Put the answer in a box.", "ngram"),
        (LONG.replace("Anna", "Maria").replace("market", "office"), "ngram"),
        (LONG.replace("3 miles", "5 miles"), "ngram"),
        (
            LONG.replace("river", "lake")
            .replace("morning", "day")
            .replace("opens", "leaves")
            .replace("cycles", "rides"),
            "similar",
        ),
        (CHINESE.replace("买菜", ""), "similar"),
    ],
)
def test_a_question_that_is_typed_again_is_dropped(question, found):
    assert rule(question) == (found, True)


@pytest.mark.parametrize(
    "question",
    [
        (
            "Bob paints a fence. He opens the bakery, then cycles 12 miles to the market with two heavy bags of "
            "flour. What is the time?"
        ),
        "What is 26 - 33?",
        LONG.replace("3 miles", "-3 miles")
        .replace("river", "lake")
        .replace("opens", "leaves")
        .replace("cycles", "rides"),
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
    other = (
        LONG.replace("river", "lake")
        .replace("morning", "day")
        .replace("opens", "leaves")
        .replace("cycles", "rides")
    )
    assert rule(other.replace("12", "13")) is None


def test_the_recipe_sets_how_close_is_too_close():
    changed = LONG.replace("Anna", "Maria").replace("opens", "leaves")
    assert rule(changed) == ("ngram", True)
    assert rule(changed, gram_words=13) == ("similar", True)
    assert rule(changed, gram_words=13, min_similarity=None) is None
    assert rule(changed, min_shared=0.9, min_similarity=0.95) is None


def test_a_word_that_was_changed_may_have_meant_a_number():
    changed = LONG.replace("Anna", "Maria").replace("opens", "leaves").replace("cycles", "rides")
    known = benchmarks(LONG.replace("market", "market twice"), gram_words=13)
    assert (known.match(changed) or LONG)[2] == "similar"
    assert known.match(changed.replace("3 miles", "4 miles")) is None
    assert known.match(changed.replace("3 miles", "three times 3 miles")) is None
    assert known.match(changed.replace("each morning before she", "and then")) is None


def test_the_closest_benchmark_question_is_shown_with_its_score_and_its_benchmark():
    known = Benchmarks([("one", LONG.replace("Anna walks", "Tom runs")), ("two", LONG), ("three", LONG)])
    close = known.match(LONG + " Explain.")
    assert close is not None and (close.benchmark, close.question, close.score) == ("two", LONG, 1.0)
    (match,) = found([trace(None, question=LONG)], LONG)
    assert LONG in str(match) and "bench" in str(match)


def test_phrases_that_many_benchmark_questions_share_lead_nowhere():
    questions = [
        f"How many of the {'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]} are there in the box?"
        for n in range(100)
    ]
    known = [benchmarks(*some, gram_words=13) for some in (questions[:40], questions)]
    assert [one.match("How many of the pears are there in the box?") is None for one in known] == [
        False,
        True,
    ]


def test_without_benchmarks_nothing_matches():
    assert benchmarks().match(LONG) is None
    assert found([trace(LONG)]) == []


@pytest.mark.parametrize("question", [LONG, CHINESE, NUMBERLESS, AIME])
@pytest.mark.parametrize("part", ["thinking", "answer"])
def test_a_trace_that_quotes_a_benchmark_question_is_found_with_the_passage(question: str, part: str):
    text = f"{FILLER}\n\nI know one like it: **{question.upper()}** {FILLER}"
    one = trace(text if part == "thinking" else None, text if part == "answer" else "7")
    (match,) = found([trace(FILLER), one], LONG, CHINESE, NUMBERLESS, AIME)
    assert (match.row, match.part, match.rule, match.benchmark_question) == (1, part, "quote", question)
    assert match.text == question.upper().rstrip(".?!\uff1f")[:300] and match.score == 1.0
    assert contamination.drops(match, Decontamination())
    assert not contamination.drops(match, Decontamination(trace_gram_words=None))


def test_a_quote_with_some_other_words_is_a_quote_and_a_phrase_is_none():
    assert [
        match.rule for match in found([trace(f"{FILLER} {AIME.replace('pile', 'heap')} {FILLER}")], AIME)
    ] == ["quote"]
    assert found([trace(f"{FILLER} {AIME[:70]} {FILLER}")], AIME) == []
    assert found([trace(f"{FILLER} {NUMBERLESS.replace('always', 'not')}")], NUMBERLESS) == []


def test_what_many_benchmark_questions_end_with_is_no_quote():
    end = AIME[AIME.index("can be written") :]
    questions = [
        f"{start} The number that is asked for {end}"
        for start in ("Roll dice.", "Flip coins.", "Draw cards.", "Spin wheels.")
    ]
    assert found([trace(f"{FILLER} It {end}")], *questions) == []
    assert len(found([trace(f"{FILLER} It {end}")], *questions[:3])) == 1


def test_the_question_that_was_asked_may_be_quoted():
    asked = AIME.replace("Alice", "Carol").replace("stone wins", "stone loses")
    assert [match.part for match in found([trace(asked, question=asked)], AIME)] == ["question"]
    assert [match.part for match in found([trace(AIME, question=AIME)], AIME)] == ["question"]
    assert [match.part for match in found([trace(LONG, question=AIME)], AIME, LONG)] == [
        "question",
        "thinking",
    ]


def test_what_is_found_in_a_trace_depends_on_that_trace_alone():
    traces = [
        trace(f"{FILLER} {text}", row=row)
        for row, text in enumerate(["", LONG, AIME, CHINESE, "\ud800 \u0130 \u212b"] * 40)
    ]
    together = found(traces, LONG, AIME, CHINESE)
    assert [match.row for match in together] == sorted(match.row for match in together) and len(
        together
    ) == 120
    assert [match.text for match in together] == [
        match.text for one in traces for match in found([one], LONG, AIME, CHINESE)
    ]
    assert found(traces, LONG, AIME, CHINESE, trace_gram_words=None) == []


def test_matches_are_stored_as_they_are(tmp_path: Any):
    matches = found([trace(LONG, question=CHINESE)], LONG, CHINESE)
    assert shards.write(Match, matches, str(tmp_path / "matches.parquet")) == 2
    assert list(shards.read(Match, str(tmp_path / "matches.parquet"))) == matches


def test_the_report_counts_and_shows_each_pair_once():
    traces = [trace(FILLER, question=LONG, row=0)] * 3 + [trace(LONG, question="What is 27 + 33?", row=1)]
    matches = found(traces, LONG, SHORT)
    report = json.loads(json.dumps(contamination.report(matches, Decontamination())))
    exact, digits, quote = (
        {"problems": 1, "rows": rows, "dropped": dropped} for rows, dropped in ((3, 3), (1, 0), (1, 1))
    )
    assert report["benchmarks"] == {"bench": {"exact": exact, "digits": digits, "quote": quote}}
    assert [(pair["rule"], pair["rows"], pair["dropped"]) for pair in report["pairs"]] == [
        ("exact", 3, True),
        ("digits", 1, False),
        ("quote", 1, True),
    ]
    text = contamination.markdown(matches, Decontamination())
    assert all(
        cell in text
        for cell in (
            "| bench | exact | 1 | 3 | 3 |",
            "What is 27 + 33?",
            LONG[:40],
            "| bench | digits | 1.0 |",
        )
    )
    assert "No question" in contamination.markdown([], Decontamination())


def test_some_pairs_of_each_rule_are_shown_and_the_rest_is_counted():
    traces = [trace(FILLER, question=f"What is {number} + 7?", row=number) for number in range(30)] + [
        trace(FILLER, question=LONG, row=30)
    ]
    text = contamination.markdown(found(traces, SHORT, LONG), Decontamination())
    assert "| bench | exact | 1.0 |" in text and "11 more pairs" in text
