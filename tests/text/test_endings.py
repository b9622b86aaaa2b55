"""How a completion ended, in the words of servers and files."""

import json
import logging

import pytest
from teacher_questions import ask, serving

from distill.engines import Request, open_engine
from distill.files import traces
from distill.recipe import Sampling, Teacher
from distill.records import Message, Problem
from distill.text import endings

WORDS = [
    ("length", "length"),
    ("LENGTH", "length"),
    ("max_tokens", "length"),
    ("MAX_TOKENS", "length"),
    ("FinishReason.MAX_TOKENS", "length"),
    ("maxTokens", "length"),
    ("max-tokens", "length"),
    ("model_length", "length"),
    ("max_length", "length"),
    ("token_limit", "length"),
    ("max_output_tokens", "length"),
    ("incomplete", "length"),
    ("stop", "stop"),
    ("STOP", "stop"),
    ("eos", "stop"),
    ("eos_token", "stop"),
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("COMPLETE", "stop"),
    ("FINISHED", "stop"),
    ("content_filter", "error"),
    ("SAFETY", "error"),
    ("abort", "error"),
    ("error", "error"),
    ("unknown", "unknown"),
    ("tool_calls", "unknown"),
    ("", "unknown"),
]
UNKNOWN = ("tool_calls", "")


@pytest.fixture(scope="module")
def url():
    with serving() as address:
        yield address


def told(caplog):
    return [record.getMessage() for record in caplog.records if "finish_reason" in record.getMessage()]


@pytest.mark.parametrize(("word", "reason"), WORDS)
def test_the_words_of_servers_and_files_are_folded(word, reason):
    assert (endings.ending(word) or endings.UNKNOWN).reason == reason
    assert (endings.ending(word) is None) == (word in UNKNOWN)
    assert endings.ending({"type": word}) == endings.ending(word)


@pytest.mark.parametrize("value", [None, 3, [], {}, ["length"], float("nan")])
def test_what_is_no_word_is_not_known(value):
    assert endings.ending(value) is None


@pytest.mark.parametrize(
    ("word", "reason"), [one for one in WORDS if one[1] in ("length", "stop") and "." not in one[0]]
)
def test_a_reply_is_cut_whatever_its_server_calls_that(url, word, reason):
    (found,) = ask(url, [f"[fault=ends-{word}]"])
    assert (found.finish_reason, found.failure) == (reason, None)


def test_a_reply_that_takes_all_the_tokens_that_were_asked_for_is_cut_though_it_says_stop(url):
    whole, cut, nothing = ask(url, ["well", "[fault=full]", "[fault=fullthinking]"])
    assert (whole.finish_reason, cut.finish_reason, cut.completion_tokens) == ("stop", "length", 2000)
    assert (nothing.finish_reason, nothing.failure) == ("length", None)


def test_a_limit_that_was_not_asked_for_cuts_nothing():
    with serving('--models=[{"id": "teacher", "max_model_len": 2000}]') as address:
        (found,) = ask(address, ["[fault=full]"])
    assert (found.finish_reason, found.completion_tokens) == ("stop", 2000)


def test_a_word_of_a_server_that_is_not_known_is_told_once_and_costs_nothing(url, caplog):
    caplog.set_level(logging.INFO, "distill")
    questions = [
        f"{number} [fault=ends-{word}]" for number in range(3) for word in ("tool_calls", "null", "eos")
    ]
    found = ask(url, questions)
    assert [one.finish_reason for one in found] == ["unknown", "unknown", "stop"] * 3
    assert all(one.failure is None for one in found)
    assert len(told(caplog)) == 2
    assert any("'tool_calls'" in line for line in told(caplog)) and any(
        "null" in line for line in told(caplog)
    )


def rows():
    return [
        {
            "question": f"{number}?",
            "reference": "4",
            "finish_reason": word,
            "response": "<think>\nt\n</think>\n\n\\boxed{4}",
        }
        for number, (word, _) in enumerate([*WORDS, *WORDS, (None, "unknown")])
    ]


def test_the_words_of_a_file_are_folded_and_the_unknown_ones_told_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "distill")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    found = [candidate.trace.finish_reason for candidate in traces.candidates_from(str(path))]
    assert found == [reason for _, reason in WORDS] * 2 + ["unknown"]
    assert len(told(caplog)) == len(UNKNOWN) and all(str(path) in line for line in told(caplog))


def test_the_words_of_traces_to_replay_are_folded_and_no_limit_is_held_against_them(tmp_path, caplog):
    caplog.set_level(logging.INFO, "distill")
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(row | {"completion_tokens": 5000}) + "\n" for row in rows()), encoding="utf-8"
    )
    asked = [
        Request(
            f"k{n}",
            Problem(f"{n}", "s", "math", row["question"], "4"),
            0,
            (Message("user", row["question"]),),
            "",
            2000,
            0,
        )
        for n, row in enumerate(rows())
    ]
    with open_engine(Teacher(engine="replay", model=str(path))) as engine:
        found = [completion.finish_reason for completion in engine.complete(asked, Sampling(max_tokens=2000))]
    assert found == [reason for _, reason in WORDS] * 2 + ["unknown"]
    assert len(told(caplog)) == len(UNKNOWN)
