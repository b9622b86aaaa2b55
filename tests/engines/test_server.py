import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from teacher_questions import SAMPLING, SERVER, ask, log, request, serving

from distill.engines import EngineError
from distill.engines.server import ServerEngine
from distill.engines.server.wire_format import retry_after_seconds
from distill.recipe import Teacher
from distill.text import thinking

KEY = "sk-canary-0123456789abcdef"


@pytest.fixture(scope="module")
def url():
    with serving() as address:
        yield address


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def test_every_request_gets_its_own_completion_once(url):
    questions = [f"once: question {number}" for number in range(300)]
    found = ask(url, questions, concurrency=32)
    assert all(completion.failure is None and completion.finish_reason == "stop" for completion in found)
    assert [thinking.split(completion.content).answer for completion in found] == [
        f"\\boxed{{{number}}}" for number in range(300)
    ]
    assert {
        (completion.model, completion.prompt_tokens, completion.completion_tokens) for completion in found
    } == {("teacher", 7, 20)}
    asked = Counter(entry["body"]["messages"][0]["content"] for entry in log(url)["requests"])
    assert all(asked[question] == 1 for question in questions)


def test_what_is_sent_is_what_the_recipe_says(url):
    ask(url, ["sent as it is"])
    body = next(
        e["body"] for e in log(url)["requests"] if e["body"]["messages"][0]["content"] == "sent as it is"
    )
    assert body == {
        "model": "teacher",
        "messages": [{"role": "user", "content": "sent as it is"}],
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 2000,
        "seed": 0,
        "n": 1,
        "stream": False,
    }


def test_a_prefill_opens_the_assistant_turn_and_is_gone_on_with(url):
    (completion,) = ask(url, ["with a prefill"], prefill="<think>\n")
    body = next(
        e["body"] for e in log(url)["requests"] if e["body"]["messages"][0]["content"] == "with a prefill"
    )
    assert body["messages"][-1] == {"role": "assistant", "content": "<think>\n"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    parts = thinking.split(completion.content, completion.reasoning, "<think>\n")
    assert parts.think_closed
    assert parts.thinking.startswith("thinking ")


def test_requests_in_flight_are_bounded_and_requests_are_taken_lazily():
    taken = 0

    def requests():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield request(f"[fault=slow-5] {number}", number)

    with serving() as url, ServerEngine(Teacher(model="teacher", urls=(url,), concurrency=4)) as engine:
        completions = engine.complete(requests(), SAMPLING)
        next(completions)
        assert taken == 4
        assert len(list(completions)) == 99
        assert log(url)["most_in_flight"] == 4


PASSING = """status-500*3 status-503*2 status-408*1 busy-0*3 garbled*2 html*1 nothing*1 array*1 deep*1 latin*1 error*2
nochoices*3 nomessage*1 null*2 empty*1 number*1 abort*1 cut*2"""


@pytest.mark.parametrize("fault", PASSING.split())
def test_what_passes_by_itself_is_waited_for(url, fault):
    (completion,) = ask(url, [f"passes [fault={fault}]"])
    assert completion.failure is None
    assert completion.content


@pytest.mark.parametrize(
    ("fault", "failure", "tries"),
    [
        ("status-500", "http_500", 4),
        ("status-400", "http_400", 1),
        ("status-413", "http_413", 1),
        ("garbled", "bad_response", 4),
        ("deep", "bad_response", 4),
        ("nochoices", "bad_response", 4),
        ("null", "null_content", 3),
        ("empty", "empty", 3),
        ("abort", "interrupted", 4),
        ("cut", "broken_connection", 4),
    ],
)
def test_what_does_not_pass_is_a_failure_after_bounded_tries(url, fault, failure, tries):
    question = f"stays [fault={fault}]"
    completion, well = ask(url, [question, "well"])
    assert completion.failure == failure
    assert well.failure is None
    asked = sum(entry["body"]["messages"][0]["content"] == question for entry in log(url)["requests"])
    assert asked == tries


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_never_finishes_is_left_and_its_slot_freed(url, fault):
    began = time.monotonic()
    hung, well = ask(url, [f"[fault={fault}]", "well"], concurrency=1, timeout_seconds=0.3)
    assert hung.failure == "timeout"
    assert well.failure is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("fault", "content", "reasoning", "finish_reason"),
    [
        ("reasoning", "\n\n\\boxed{1}", "thinking in a field", "stop"),
        ("reasoning_content", "\n\n\\boxed{1}", "thinking in a field", "stop"),
        ("cutthinking", None, "thinking that was cut", "length"),
    ],
)
def test_thinking_in_a_field_is_recorded(url, fault, content, reasoning, finish_reason):
    (completion,) = ask(url, [f"[fault={fault}]"])
    assert (completion.content, completion.reasoning, completion.finish_reason) == (
        content,
        reasoning,
        finish_reason,
    )
    assert completion.failure is None


def test_a_reply_without_usage_has_unknown_counts(url):
    (completion,) = ask(url, ["[fault=nousage]"])
    assert (completion.prompt_tokens, completion.completion_tokens, completion.reasoning_tokens) == (
        None,
        None,
        None,
    )
    assert completion.failure is None


def test_a_cut_completion_is_a_completion_with_its_reason(url):
    (completion,) = ask(url, ["[fault=length]"])
    assert (completion.finish_reason, completion.failure) == ("length", None)


@pytest.mark.parametrize("fault", ["busy-1*1", "busydate-2*1"])
def test_retry_after_is_honoured(url, fault):
    began = time.monotonic()
    (completion,) = ask(url, [f"patience [fault={fault}]"])
    assert completion.failure is None
    assert time.monotonic() - began >= 0.9


def test_a_busy_server_that_serves_others_drops_nothing(url):
    questions = ["rate [fault=busy-0*6]"] + [f"rate [fault=slow-40] {number}" for number in range(60)]
    found = ask(url, questions, concurrency=2, max_retries=3)
    assert [completion.failure for completion in found] == [None] * 61


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("3", 3, 3),
        ("0", 0, 0),
        ("99999", 600, 600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 21 Oct 2072 07:28:00 GMT", 600, 600),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped(header, low, high):
    assert low <= retry_after_seconds(header) <= high


@pytest.mark.parametrize("header", ["", "soon", "-5", "nan", "1e9", "\u0663\u00b2"])
def test_a_retry_after_that_says_nothing_is_ignored(header):
    assert retry_after_seconds(header) is None


@pytest.mark.parametrize(
    ("status", "word"), [(401, "key"), (402, "credit"), (403, "model"), (404, "teacher.urls")]
)
def test_what_will_not_pass_stops_at_once_with_the_remedy(url, status, word):
    began = time.monotonic()
    with pytest.raises(EngineError, match=word):
        ask(url, [f"[fault=status-{status}] {number}" for number in range(50)], concurrency=4)
    assert time.monotonic() - began < 3


def test_a_teacher_that_only_fails_stops_the_run(url):
    with pytest.raises(EngineError, match="in a row failed, the last with http_503"):
        ask(url, [f"[fault=status-503] {number}" for number in range(100)], max_retries=0)


def test_a_refused_key_is_shown_nowhere(caplog, monkeypatch):
    monkeypatch.setenv("TEST_TEACHER_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serving("--key", "another") as url, pytest.raises(EngineError) as caught:
        ask(url + "?key=" + KEY, ["hello"], api_key_env="TEST_TEACHER_KEY")
    assert "***" in str(caught.value)
    assert KEY not in str(caught.value) + caplog.text


def test_the_key_goes_to_the_server_and_not_along_a_redirect(monkeypatch):
    monkeypatch.setenv("TEST_TEACHER_KEY", KEY)
    with serving("--key", KEY) as url:
        assert ask(url, ["hello"], api_key_env="TEST_TEACHER_KEY")[0].failure is None
        assert log(url)["requests"][0]["authorization"] == f"Bearer {KEY}"
        with pytest.raises(EngineError, match="redirects"):
            ask(url, ["[fault=redirect]"], api_key_env="TEST_TEACHER_KEY")


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "line\nbreak"])
def test_a_key_that_is_none_is_refused_before_anything_is_sent(monkeypatch, value):
    monkeypatch.delenv("TEST_TEACHER_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEST_TEACHER_KEY", value)
    with pytest.raises(EngineError, match="TEST_TEACHER_KEY"):
        ServerEngine(Teacher(model="m", api_key_env="TEST_TEACHER_KEY"))


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ftp://host/v1", "http://", "http://user:secret@host/v1"]
)
def test_an_address_that_cannot_be_used_is_refused_without_showing_it(address):
    with pytest.raises(EngineError, match=r"teacher\.urls") as caught:
        ServerEngine(Teacher(model="m", urls=(address,)))
    assert "secret" not in str(caught.value)


def test_no_server_at_all_stops_the_run():
    with pytest.raises(EngineError, match="no server answers"):
        ask(f"http://127.0.0.1:{free_port()}/v1", ["hello"], patience_seconds=0.3)


def test_a_server_that_comes_late_is_waited_for():
    port = free_port()
    found = []
    asking = threading.Thread(
        target=lambda: found.extend(ask(f"http://127.0.0.1:{port}/v1", ["late"] * 8, max_retries=9))
    )
    asking.start()
    time.sleep(0.5)
    with serving("--port", str(port)):
        asking.join(timeout=20)
    assert [completion.failure for completion in found] == [None] * 8


def test_a_server_killed_in_the_middle_costs_nothing_when_another_is_there(url):
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    doomed = f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    threading.Timer(0.3, process.kill).start()
    found = ask(
        (doomed, url),
        [f"two servers [fault=slow-20] {number}" for number in range(120)],
        concurrency=8,
        max_retries=8,
    )
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert [completion.failure for completion in found] == [None] * 120


def test_requests_are_spread_over_servers():
    with serving() as first, serving() as second:
        ask((first, second), [f"[fault=slow-5] {number}" for number in range(40)], concurrency=8)
        assert all(len(log(url)["requests"]) > 10 for url in (first, second))


def test_one_engine_serves_several_threads(url):
    with ServerEngine(Teacher(model="teacher", urls=(url,), concurrency=8)) as engine:
        found: list[list] = [[], [], []]

        def take(place):
            found[place] = [
                c.key
                for c in engine.complete(
                    [request(f"thread {place} {n}", 100 * place + n) for n in range(40)], SAMPLING
                )
            ]

        threads = [threading.Thread(target=take, args=(place,)) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert [sorted(keys) for keys in found] == [
        sorted(f"key{100 * place + n}.0" for n in range(40)) for place in range(3)
    ]


def test_leaving_early_cancels_what_is_in_flight_and_ends_the_thread(url):
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with ServerEngine(Teacher(model="teacher", urls=(url,))) as engine:
        for _ in engine.complete(
            [request("well", 1)] + [request(f"[fault=hang] {n}", n) for n in range(2, 9)], SAMPLING
        ):
            break
    assert time.monotonic() - began < 5
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_half_a_surrogate_pair_comes_through_as_text_that_files_can_hold(url):
    (completion,) = ask(url, ["[fault=surrogate]"])
    assert thinking.split(completion.content).thinking == "bad \ufffd half"
