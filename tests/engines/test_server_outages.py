import json
import logging
import threading
import time

import pytest
from teacher_questions import SAMPLING, ask, bodies, everything, log, request, serving

from distill.engines import STOPPED, EngineError
from distill.engines.server import ServerEngine
from distill.recipe import Sampling, Teacher

VLLM = json.dumps([{"id": "teacher", "max_model_len": 2000}])


@pytest.fixture(scope="module")
def url():
    with serving() as address:
        yield address


@pytest.mark.parametrize(
    "fault", ["status-503", "status-500", "busy-0", "busy-1", "garbled", "error", "hang", "cut"]
)
def test_an_outage_uses_up_no_tries_and_is_asked_little(fault):
    with serving() as url:
        timer = threading.Timer(0.6, everything, (url, "well"))
        everything(url, fault)
        timer.start()
        found = ask(
            url, [f"out {number}" for number in range(40)], concurrency=8, max_retries=0, timeout_seconds=0.2
        )
        asked = log(url)
    assert [completion.failure for completion in found] == [None] * 40
    assert len(asked["requests"]) <= 40 + 2 * 8
    assert asked["controls"] < 20


@pytest.mark.parametrize("fault", ["status-503", "busy-0", "busy-1", "html", "hang"])
def test_a_teacher_that_serves_nobody_stops_the_run_when_patience_is_over(fault, caplog):
    with serving() as url:
        everything(url, fault)
        began = time.monotonic()
        with pytest.raises(
            EngineError, match=r"for 0.5 s now \(teacher.patience_seconds\).*Everything finished is saved"
        ):
            ask(
                url,
                [f"gone {number}" for number in range(100)],
                patience_seconds=0.5,
                concurrency=8,
                timeout_seconds=0.2,
            )
        assert 0.4 < time.monotonic() - began < 8
    assert sum("no server can be asked just now" in line for line in caplog.messages) == 1


def test_a_teacher_that_is_gone_ends_the_calls_of_all_threads_once_what_is_paid_for_has_come_home(
    url, caplog
):
    found, errors = {}, {}

    def requests():
        yield from (request(f"paid for [fault=slow-900] {n}", n) for n in range(4))
        while True:
            yield None

    def wait(engine, name, asked):
        found[name] = []
        try:
            for completion in engine.complete(asked, SAMPLING):
                found[name].append(completion.failure)
        except EngineError as error:
            errors[name] = str(error)

    with ServerEngine(Teacher(model="teacher", urls=(url,))) as engine:
        thread = threading.Thread(target=wait, args=(engine, "paid", requests()))
        thread.start()
        while len(bodies(url, "paid for")) < 4:
            time.sleep(0.02)
        wait(engine, "refused", [request("[fault=status-402]", 99)])
        thread.join(timeout=5)
        wait(engine, "late", [request("too late")])
    assert not thread.is_alive() and found == {"paid": [None] * 4, "refused": [STOPPED], "late": []}
    assert errors.keys() == found.keys() and all("credit" in error for error in errors.values())
    assert sum("4 completions that are on their way" in line for line in caplog.messages) == 1
    assert not bodies(url, "too late")


def test_a_request_that_the_server_chokes_on_is_a_failure_although_nobody_else_is_left(url):
    found = ask(
        url,
        ["[fault=status-500] one", "[fault=garbled] two", "[fault=status-504] three", "well"],
        max_retries=2,
    )
    assert [completion.failure for completion in found] == ["http_500", "bad_response", "http_504", None]
    assert max(len(bodies(url, mark)) for mark in ("] one", "] two", "] three")) <= 4


def test_a_server_that_lets_time_run_out_gets_fewer_requests(url):
    with serving() as other:
        everything(other, "hang")
        found = ask(
            (other, url),
            [f"fewer {number} [fault=slow-20]" for number in range(200)],
            concurrency=8,
            timeout_seconds=0.3,
        )
        assert [completion.failure for completion in found] == [None] * 200
        assert len(log(other)["requests"]) <= 20


def test_servers_get_requests_by_weight():
    with serving() as first, serving() as second:
        ask(
            (first, second),
            [f"[fault=slow-10] {number}" for number in range(80)],
            concurrency=8,
            url_weights=(3, 1),
        )
        shares = [len(log(url)["requests"]) for url in (first, second)]
    assert 50 <= shares[0] <= 70
    assert sum(shares) == 80


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0)])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(EngineError, match="url_weights"):
        ServerEngine(Teacher(model="m", urls=("http://one/v1", "http://two/v1"), url_weights=weights))


def test_replies_that_could_not_be_used_are_counted_as_lost(url):
    late, never = ask(url, ["late [fault=nullusage*2]", "never [fault=nullusage]"])
    assert (late.failure, late.lost_prompt_tokens, late.lost_completion_tokens, late.completion_tokens) == (
        None,
        14,
        40,
        20,
    )
    assert (
        never.failure,
        never.lost_prompt_tokens,
        never.lost_completion_tokens,
        never.completion_tokens,
    ) == ("null_content", 14, 40, 20)


@pytest.mark.parametrize(
    ("fault", "prompt", "cached", "completion", "fingerprint"),
    [("cached", 7, 6, 20, "fp_1"), ("cachehit", 7, 4, 20, None), ("oddusage", None, None, None, None)],
)
def test_usage_is_read_where_servers_put_it(url, fault, prompt, cached, completion, fingerprint):
    (found,) = ask(url, [f"[fault={fault}]"])
    assert (found.prompt_tokens, found.cached_prompt_tokens, found.completion_tokens) == (
        prompt,
        cached,
        completion,
    )
    assert (found.system_fingerprint, found.failure) == (fingerprint, None)


def test_the_first_of_several_choices_is_taken_and_a_filtered_one_is_not_asked_again(url):
    two, filtered = ask(url, ["[fault=two]", "[fault=filter]"])
    assert "thinking" in two.content
    assert filtered.failure == "content_filter"
    assert len(bodies(url, "[fault=filter]")) == 1


@pytest.mark.parametrize("words", ["vllm", "oldvllm", "deepseek", "sglang", "llamacpp"])
def test_a_prompt_that_is_too_long_is_a_failure_of_its_own_and_no_sign_of_an_outage(url, words):
    questions = [f"[fault=refusal-{words}] {number}" for number in range(40)]
    assert {completion.failure for completion in ask(url, questions)} == {"prompt_too_long"}
    asked = bodies(url, questions[0])
    assert ["max_tokens" in body for body in asked[:2]] == [True, False]
    assert len(asked) <= 4


def test_any_other_refusal_of_a_request_is_its_failure(url):
    (found,) = ask(url, ["[fault=refusal-other]"])
    assert found.failure == "http_400"


@pytest.mark.parametrize(
    ("name", "remedy", "settings"),
    [
        ("temperature", r"teacher\.ignores", {"ignores": ("temperature",)}),
        ("seed", r"teacher\.ignores", {"ignores": ("seed",)}),
        (
            "max_tokens",
            r'max_tokens_field = "max_completion_tokens"',
            {"max_tokens_field": "max_completion_tokens"},
        ),
        ("thinking", r"teacher\.extra_body", {"extra_body": {}}),
    ],
)
def test_a_setting_that_the_server_refuses_stops_at_once_and_the_remedy_helps(name, remedy, settings):
    with serving("--refuses", name) as url:
        with pytest.raises(EngineError, match=remedy):
            ask(url, ["hello"] * 50, concurrency=2, extra_body={"thinking": {"type": "enabled"}})
        assert len(log(url)["requests"]) <= 2
        assert ask(url, ["hello"], **settings)[0].failure is None


def test_an_account_without_credit_stops_at_once(url):
    with pytest.raises(EngineError, match="credit"):
        ask(url, ["[fault=quota]"])


@pytest.mark.parametrize(("context", "asked"), [(2000, 1), (2003, 2), (2007, 1)])
def test_a_completion_may_go_on_to_the_end_of_the_context(context, asked, caplog):
    with serving("--models", json.dumps([{"id": "teacher", "max_model_len": context}])) as url:
        teacher = Teacher(model="teacher", urls=(url,))
        with ServerEngine(teacher) as engine:
            assert engine.context_tokens == context
            (found,) = engine.complete([request("as long as it gets")], SAMPLING)
        assert found.failure is None
        limits = [body.get("max_tokens") for body in bodies(url, "as long")]
    assert len(limits) == asked
    assert ("a completion may end there" in caplog.text) == (context == 2000)
    assert limits[-1] == (2000 if context == 2007 else None)


def test_a_model_that_a_vllm_server_does_not_serve_is_told_with_those_it_does():
    with (
        serving("--models", VLLM) as url,
        pytest.raises(EngineError, match=r"set teacher\.model to one of teacher"),
    ):
        ServerEngine(Teacher(model="student", urls=(url,))).__enter__()
    with serving("--models", '[{"id": "gpt"}]') as url:
        assert ask(url, ["hello"])[0].failure is None


def test_the_names_that_a_server_gives_its_model_are_counted_and_a_strange_one_is_told_once(url, caplog):
    questions = ["[fault=othermodel] 1", "[fault=othermodel] 2", "[fault=dated]", "named as asked"]
    with ServerEngine(Teacher(model="teacher", urls=(url,))) as engine:
        list(
            engine.complete(
                [request(question, number) for number, question in enumerate(questions)], SAMPLING
            )
        )
    assert engine.models == {"another": 2, "teacher-2025-01-20": 1, "teacher": 1}
    assert sum("answers as another" in line for line in caplog.messages) == 1
    assert "2025" not in caplog.text
    with pytest.raises(EngineError, match="reply_model"):
        ask(url, ["[fault=othermodel]"], reply_model="teacher")


def test_the_body_follows_the_recipe(url):
    settings = {
        "ignores": ("temperature", "seed"),
        "extra_body": {"chat_template_kwargs": {"enable_thinking": True}},
    }
    teacher = Teacher(model="teacher", urls=(url,), max_tokens_field="max_completion_tokens", **settings)
    with ServerEngine(teacher) as engine:
        list(engine.complete([request("by the recipe")], Sampling(top_k=20, min_p=0.1)))
    (body,) = bodies(url, "by the recipe")
    del body["messages"]
    assert body == {
        "model": "teacher",
        "top_p": 0.95,
        "top_k": 20,
        "min_p": 0.1,
        "max_completion_tokens": 2000,
        "n": 1,
        "stream": False,
        "chat_template_kwargs": {"enable_thinking": True},
    }


@pytest.mark.parametrize("name", ["messages", "model", "seed", "n", "stream", "max_tokens"])
def test_extra_fields_may_not_change_what_is_asked(name):
    with pytest.raises(EngineError, match=f"extra_body may not set {name}"):
        ServerEngine(Teacher(model="m", extra_body={name: 1}))


def test_a_proxy_of_the_environment_is_not_used(url, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(url, ["directly"])[0].failure is None


def test_a_pause_of_the_requests_lasts_until_a_completion_has_been_taken(url):
    log = []

    def requests():
        for number in range(0, 8, 2):
            yield request("paused [fault=slow-20]", number)
            yield request("paused [fault=slow-20]", number + 1)
            log.append("pause")
            yield None
            log.append("go on")

    with ServerEngine(Teacher(model="teacher", urls=(url,))) as engine:
        for _ in engine.complete(requests(), SAMPLING):
            log.append("taken")
    assert log[:5] == ["pause", "taken", "go on", "pause", "taken"]
    assert log.count("taken") == 8


def test_a_call_with_nothing_to_ask_holds_no_slot_and_looks_again_shortly(url):
    looks = []
    asked = threading.Event()

    def requests():
        while not asked.is_set():
            looks.append(time.monotonic())
            yield None
        yield request("at last", 1)

    with ServerEngine(Teacher(model="teacher", urls=(url,), concurrency=1)) as engine:
        found = []
        idle = threading.Thread(target=lambda: found.extend(engine.complete(requests(), SAMPLING)))
        idle.start()
        time.sleep(0.6)
        assert 2 <= len(looks) <= 4
        others = list(
            engine.complete([request(f"meanwhile [fault=slow-30] {n}", n) for n in range(20)], SAMPLING)
        )
        asked.set()
        idle.join(timeout=5)
    assert [completion.failure for completion in others] == [None] * 20
    assert [completion.key for completion in found] == ["key1.0"]


@pytest.mark.parametrize("fault", ["status-503", "busy-60", "hang"])
def test_a_drained_engine_tries_nothing_again_and_delivers_what_is_on_the_wire(fault):
    with (
        serving() as url,
        ServerEngine(
            Teacher(model="teacher", urls=(url,), timeout_seconds=1.5), first_wait_seconds=30.0
        ) as engine,
    ):
        questions = [f"[fault={fault}] {n}" for n in range(8)] + ["on the wire [fault=slow-1000]"]
        drain = threading.Timer(0.5, engine.drain)
        drain.start()
        began = time.monotonic()
        found = [
            c.failure
            for c in engine.complete([request(question, n) for n, question in enumerate(questions)], SAMPLING)
        ]
        drain.join()
        assert sorted(found, key=str) == [None] + [STOPPED] * 8
        assert time.monotonic() - began < 4
        asked = len(log(url)["requests"])
        engine.drain()
        assert [c.failure for c in engine.complete([request("after it")], SAMPLING)] == [STOPPED]
        assert len(log(url)["requests"]) == asked


def test_a_drain_before_the_engine_is_open_holds(url):
    engine = ServerEngine(Teacher(model="teacher", urls=(url,)))
    engine.drain()
    with engine:
        assert [c.failure for c in engine.complete([request()], SAMPLING)] == [STOPPED]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_of_one_request_after_good_ones_is_its_failure_and_one_of_all_requests_stops_the_run(
    status,
):
    with serving() as url:
        found = ask(url, ["well", f"[fault=status-{status}] one", "well too"], concurrency=1)
        assert [completion.failure for completion in found] == [None, f"http_{status}", None]
        assert len(bodies(url, "] one")) == 1
        with ServerEngine(Teacher(model="teacher", urls=(url,))) as engine:
            assert [c.failure for c in engine.complete([request()], SAMPLING)] == [None]
            everything(url, f"status-{status}")
            with pytest.raises(EngineError, match=str(status)):
                list(engine.complete([request("all")], SAMPLING))


def test_a_thread_that_has_nothing_in_flight_waits_for_a_slot_and_costs_nothing(url):
    found = []
    with ServerEngine(Teacher(model="teacher", urls=(url,), concurrency=1)) as engine:
        held = engine.complete([request(f"slot [fault=slow-300] {n}", n) for n in range(2)], SAMPLING)
        other = threading.Thread(
            target=lambda: found.extend(engine.complete([request("other", 9)], SAMPLING))
        )
        other.start()
        next(held)
        spent = time.thread_time()
        other.join(timeout=5)  # the first call holds one completion that nobody takes, and no slot
        assert [completion.key for completion in found] == ["key9.0"]
        assert len(list(held)) == 1
        assert time.thread_time() - spent < 0.2


def test_closing_the_engine_ends_every_thread_that_waits(url):
    errors = []

    def wait(engine, number):
        try:
            list(engine.complete([request(f"[fault=hang] {number}", number)], SAMPLING))
        except EngineError as error:
            errors.append(str(error))

    with ServerEngine(Teacher(model="teacher", urls=(url,), concurrency=1)) as engine:
        threads = [threading.Thread(target=wait, args=(engine, number)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join(timeout=5)
    assert len([error for error in errors if "closed" in error]) == 3


@pytest.mark.parametrize("fault", ["status-503", "nohttp", "hang", "garbled"])
def test_neither_waiting_nor_stopping_shows_the_key(monkeypatch, caplog, fault):
    key = "sk-canary-0123456789abcdef"
    monkeypatch.setenv("TEST_TEACHER_KEY", key)
    caplog.set_level(logging.DEBUG)
    with serving("--key", key) as url:
        everything(url, fault)
        with pytest.raises(EngineError) as caught:
            ask(
                f"{url}?token={key}",
                ["a", "b"],
                api_key_env="TEST_TEACHER_KEY",
                patience_seconds=0.2,
                timeout_seconds=0.5,
            )
    assert key not in str(caught.value) + caplog.text + repr(caught.value)
