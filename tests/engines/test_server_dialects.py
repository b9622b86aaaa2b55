"""What servers say in ways of their own: errors in a reply of 200, thinking in parts and fields, completions
in pieces only."""

import json
import threading
import time

import pytest
from teacher_questions import SAMPLING, ask, bodies, everything, log, request, sends, serving

from distill.engines import EngineError
from distill.engines.server import ServerEngine
from distill.engines.server.errors import moderated, other_way, told
from distill.engines.server.stream import Stream
from distill.recipe import Teacher
from distill.sample.traces import of_tries
from distill.text import thinking

STREAM_ONLY = "parameter.enable_thinking must be set to false for non-streaming calls"


@pytest.fixture(scope="module")
def url():
    with serving() as address:
        yield address


def whole(message, finish_reason="stop", **more):
    return {
        "model": "teacher",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        **more,
    }


# Errors in a reply of 200

STOPPING = [
    ("credit", {"error": {"code": 402, "message": "no"}}),
    ("credit", {"error": {"type": "insufficient_quota", "message": "You exceeded your current quota"}}),
    ("credit", {"error": {"code": 429, "type": "insufficient_quota", "message": "no"}}),
    ("credit", {"error": "Insufficient Balance"}),
    ("credit", {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
    ("key", {"error": {"code": "invalid_api_key", "type": "invalid_request_error"}}),
    ("key", {"error": {"code": "401", "message": "no"}, "choices": []}),
    ("key", {"error": {"status": "UNAUTHENTICATED", "code": 16}}),
    ("key", {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}),
    ("key", {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "1"}),
    ("model", {"error": {"code": 403, "message": "not for you"}}),
    ("model", {"error": {"type": "permission_error"}}),
    (
        "address",
        {"object": "error", "type": "NotFoundError", "code": 404, "message": "The model does not exist"},
    ),
    ("address", {"error": {"message": "The model `x` does not exist"}}),
    (
        "address",
        {
            "choices": [
                {"error": {"code": "model_not_found"}, "message": {"role": "assistant", "content": ""}}
            ]
        },
    ),
    ("address", [{"error": {"code": 404, "status": "NOT_FOUND"}}]),
]


@pytest.mark.parametrize(("word", "body"), STOPPING)
def test_an_error_of_all_requests_in_a_reply_of_200_stops_the_run_with_its_cause(url, word, body):
    began = time.monotonic()
    with pytest.raises(EngineError, match=word):
        ask(url, [sends(200, body)])
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("body", [body for _, body in STOPPING if isinstance(body, dict)])
def test_such_an_error_as_an_event_stops_it_too(body):
    with serving("--streams", "only stream mode is supported") as url, pytest.raises(EngineError):
        ask(url, [sends("events", f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n")])


WAITED_FOR = [
    (
        429,
        {
            "error": {
                "code": 429,
                "message": "Provider returned error",
                "metadata": {"raw": "Too Many Requests"},
            }
        },
    ),
    (429, {"error": {"type": "rate_limit_exceeded", "message": "slow down"}}),
    (429, {"error": {"status": "RESOURCE_EXHAUSTED"}, "choices": None}),
    (429, {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"}),
    (429, {"choices": [{"error": {"code": 429}, "finish_reason": "error", "message": {"content": ""}}]}),
    (503, {"error": {"type": "overloaded_error"}}),
    (503, {"error": "The server is overloaded"}),
    (502, {"choices": [{"error": {"code": 502}, "finish_reason": "error", "message": {"content": None}}]}),
    (500, {"error": {"code": "internal_server_error"}}),
]


@pytest.mark.parametrize(("status", "body"), WAITED_FOR)
def test_an_error_that_passes_is_the_status_that_it_names(status, body):
    assert told(200, body).status == status


@pytest.mark.parametrize("body", [body for status, body in WAITED_FOR if status == 429])
def test_a_busy_server_in_a_reply_of_200_uses_up_no_tries(url, body):
    questions = [
        sends(200, body).replace("]", "*6]"),
        *(f"else [fault=slow-40] {number}" for number in range(40)),
    ]
    found = ask(url, questions, concurrency=2, max_retries=1)
    assert [completion.failure for completion in found] == [None] * 41


def test_an_outage_in_replies_of_200_is_waited_for():
    with serving() as url:
        everything(url, sends(200, {"error": {"code": 503, "message": "no"}})[7:-1])
        threading.Timer(0.6, everything, (url, "well")).start()
        found = ask(url, [f"out {number}" for number in range(20)], concurrency=8, max_retries=0)
    assert [completion.failure for completion in found] == [None] * 20


def test_the_wait_that_an_object_names_is_kept(url):
    body = {"error": {"code": 429, "metadata": {"headers": {"Retry-After": "1"}}}}
    began = time.monotonic()
    assert ask(url, [sends(200, body).replace("]", "*1]")])[0].failure is None
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize(
    ("failure", "body"),
    [
        ("http_400", {"error": {"code": 400, "message": "the messages must alternate"}}),
        ("http_400", {"error": {"type": "invalid_request_error", "message": "no"}}),
        ("prompt_too_long", {"error": {"code": 400, "message": "the prompt is too long"}}),
    ],
)
def test_an_error_of_one_request_is_its_failure(url, failure, body):
    question = sends(200, body)
    found, well = ask(url, [question, "well"], max_retries=8)
    assert (found.failure, well.failure) == (failure, None)
    assert len(bodies(url, question)) <= 2


MODERATED = [
    {"error": {"code": 403, "message": "no", "metadata": {"reasons": ["violence"], "flagged_input": "..."}}},
    {"error": {"code": "content_policy_violation", "type": "invalid_request_error"}},
    {"error": {"code": 400, "message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
    {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."},
    {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}},
    {"error": {"code": 403, "message": "Your input was flagged"}},
]


@pytest.mark.parametrize("status", [200, 400, 403])
def test_moderated_prompts_are_rows_of_their_own_and_no_end_of_the_run(status):
    questions = [f"{sends(status, MODERATED[number % len(MODERATED)])} {number}" for number in range(48)]
    with serving() as url:
        found = ask(url, [*questions, "well"], concurrency=4)
        assert len(log(url)["requests"]) == len(questions) + 1
    assert [completion.failure for completion in found] == ["content_filter"] * len(questions) + [None]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 403, "message": "Your account was flagged"}},
        {"error": {"code": 403, "message": "Key limit exceeded"}},
        {"error": {"message": "the messages must alternate"}},
        {"error": {}, "choices": []},
        {"detail": "Not Found"},
        [],
        5,
    ],
)
def test_other_refusals_are_no_moderation(body):
    assert not moderated(403, body)


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"error": None}, {"error": {"code": 0}}, {"error": [1]}, {"choices": [5]}, {"code": 1302}],
)
def test_what_names_no_status_is_none(body):
    assert told(200, body) is None


def test_an_error_beside_a_whole_completion_says_nothing(url):
    found, broken = ask(
        url,
        [
            sends(200, whole({"content": "<think>a</think>b"}, error={"code": 0, "message": ""})),
            sends(200, whole({"content": "<think>a</think>b"}, None, error={"code": 502, "message": "no"})),
        ],
        max_retries=1,
    )
    assert (found.failure, broken.failure) == (None, "interrupted")


@pytest.mark.parametrize("type_", ["insufficient_user_quota", "insufficient_quota"])
def test_a_general_status_is_read_by_the_name_beside_it(url, type_):
    with pytest.raises(EngineError, match="credit"):
        ask(url, [sends(500, {"error": {"type": "new_api_error", "code": type_, "message": "no"}})])


# Parts and fields

TEXT = {"type": "text", "text": "B"}


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "A"}]}, TEXT]},
        {"content": [{"type": "thinking", "thinking": "A", "signature": "x"}, TEXT]},
        {
            "content": [
                {"type": "reasoning", "text": "A"},
                {"type": "output_text", "text": "B", "annotations": []},
            ]
        },
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "A"}]}, TEXT]},
        {
            "content": [
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "<think>A</think>"},
                TEXT,
            ]
        },
        {"content": [{"text": "A", "thought": True}, {"text": "B"}]},
        {"content": ["<think>A</think>", "B"]},
        {"content": TEXT, "thinking": "A"},
        {"content": "B", "thinking": "A"},
        {
            "content": "B",
            "reasoning": "A",
            "reasoning_content": "A",
            "reasoning_details": [{"type": "reasoning.text", "text": "A"}],
        },
        {"content": "<think>\nA\n</think>\n\nB", "reasoning_content": "A"},
        {"content": "B", "reasoning": "", "reasoning_content": "\n", "thinking": "A"},
        {
            "content": "B",
            "reasoning": None,
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}, {"text": "A"}],
        },
        {"content": "B", "reasoning_details": [{"type": "reasoning.summary", "summary": "A"}]},
        {"content": "B", "reasoning": {"content": "A"}},
        {"content": "B", "thinking_blocks": [{"type": "thinking", "thinking": "A", "signature": "x"}]},
        {"content": [TEXT], "reasoning_content": "A"},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_kept_with_its_answer_once_wherever_it_is(url, message, stream):
    (found,) = ask(url, [sends(200, whole(message))], stream=stream)
    assert found.failure is None
    assert thinking.split(found.content, found.reasoning) == thinking.Parts("A", "B", True)


@pytest.mark.parametrize(
    "content", [[5], 5, [], [{"type": "thinking", "thinking": ""}], [{"type": "image_url"}]]
)
def test_parts_without_text_are_no_completion(url, content):
    assert ask(url, [sends(200, whole({"content": content}))], max_retries=0)[0].failure in (
        "bad_response",
        "empty",
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "input_tokens": 5,
                "output_tokens": 9,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 2,
            },
            (10, 3, 9, None),
        ),
        (
            {"input_tokens": 5, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 4}},
            (5, None, 9, 4),
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            (5, None, 9, 4),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 9, "reasoning_tokens": 4, "prompt_cache_hit_tokens": 2},
            (5, 2, 9, 4),
        ),
        (
            {
                "prompt_tokens": 5,
                "input_tokens": 6,
                "completion_tokens": 9,
                "output_tokens": 8,
                "cached_tokens": 1,
            },
            (5, 1, 9, None),
        ),
    ],
)
def test_usage_is_counted_under_its_other_names(url, usage, expected):
    (found,) = ask(url, [sends(200, whole({"content": "<think>a</think>b"}, usage=usage))])
    assert (
        found.prompt_tokens,
        found.cached_prompt_tokens,
        found.completion_tokens,
        found.reasoning_tokens,
    ) == expected


# Pieces

REFUSING_WHOLE = [
    STREAM_ONLY,
    "This model only support stream mode, please enable the stream parameter to access the model.",
    "This model does not support non-streaming output.",
    "Stream must be set to true",
    "Requests with max_tokens > 4096 must have stream=true",
    "streaming is required for this model",
    "`stream` is required",
    "Streaming only",
]
MORE_REFUSING_WHOLE = [
    "enable_thinking only support stream call",
    "Please use stream mode",
    "Streaming is required for operations that may take longer than 10 minutes",
    "This model does not support synchronous calls, use streaming",
    "stream=false is not supported",
    "stream is false, but this model can only be called with stream = true",
    "Unsupported value: 'stream' does not support false",
    "'stream' parameter must be enabled",
    "此模型仅支持流式输出",
]


@pytest.mark.parametrize("words", REFUSING_WHOLE[:3])
def test_a_server_that_streams_only_is_asked_so_from_its_first_refusal_on(words):
    with serving("--streams", words) as url:
        found = ask(url, [f"streamed {number}" for number in range(20)], concurrency=2, max_retries=0)
        asked = [entry["body"] for entry in log(url)["requests"]]
    assert [completion.failure for completion in found] == [None] * 20
    assert [thinking.split(completion.content).answer for completion in found] == [
        f"\\boxed{{{number}}}" for number in range(20)
    ]
    assert {
        (completion.prompt_tokens, completion.completion_tokens, completion.model) for completion in found
    } == {(7, 20, "teacher")}
    assert sum(not body["stream"] for body in asked) <= 2
    assert all(body["stream_options"] == {"include_usage": True} for body in asked if body["stream"])


@pytest.mark.parametrize("words", [*REFUSING_WHOLE, *MORE_REFUSING_WHOLE])
def test_words_of_servers_that_stream_only(words):
    assert other_way(400, words, "whole") == "stream"


@pytest.mark.parametrize(
    "words",
    [
        "streaming is not supported",
        "stream must be false",
        "does not support streaming",
        "Unsupported value: 'stream' does not support true with this model",
        "your organization must be verified to stream this model",
        "no such field",
    ],
)
def test_other_refusals_are_no_wish_for_a_stream(words):
    assert other_way(400, words, "whole") is None


def test_a_recipe_may_want_streams_or_refuse_them():
    with serving() as url:
        assert ask(url, ["as a stream"], stream=True)[0].failure is None
        assert [body["stream"] for body in bodies(url, "as a stream")] == [True]
    with (
        serving("--streams", STREAM_ONLY) as url,
        pytest.raises(EngineError, match=r'teacher\.stream = "auto"'),
    ):
        ask(url, ["hello"], stream=False)


def test_a_server_that_knows_no_usage_in_streams_is_asked_without():
    with serving("--refuses", "stream_options") as url:
        (found,) = ask(url, ["bare"], stream=True, max_retries=0)
        assert [sorted(body.keys() & {"stream", "stream_options"}) for body in bodies(url, "bare")] == [
            ["stream", "stream_options"],
            ["stream"],
        ]
    assert (found.failure, found.completion_tokens) == (None, None)


def test_a_server_that_wants_streams_and_refuses_them_stops_the_run(url):
    with pytest.raises(EngineError, match="in pieces"):
        ask(url, [sends(400, {"error": {"message": STREAM_ONLY}})])


@pytest.mark.parametrize(
    ("fault", "failure", "reason"),
    [
        ("cut", "broken_connection", "error"),
        ("length", None, "length"),
        ("full", None, "length"),
        ("filter", "content_filter", "error"),
        ("abort", "interrupted", "error"),
        ("null", "empty", "error"),
        ("status-500", "http_500", "error"),
        ("hang", "timeout", "error"),
    ],
)
def test_streams_end_with_the_same_outcomes(url, fault, failure, reason):
    found, well = ask(url, [f"[fault={fault}]", "well"], stream=True, max_retries=1, timeout_seconds=0.5)
    assert (found.failure, well.failure) == (failure, None)
    assert found.finish_reason == reason or failure == "empty"


@pytest.mark.parametrize("fault", ["cut*2", "abort*2", "status-503*2", "busy-0*2"])
def test_a_stream_that_failed_is_tried_again(url, fault):
    assert ask(url, [f"streams [fault={fault}]"], stream=True)[0].failure is None


@pytest.mark.parametrize("fault", ["reasoning", "reasoning_content"])
def test_thinking_in_a_field_of_a_stream_is_kept(url, fault):
    (found,) = ask(url, [f"[fault={fault}]"], stream=True)
    assert (found.reasoning, found.content, found.reasoning_tokens) == (
        "thinking in a field",
        "\n\n\\boxed{1}",
        15,
    )


def test_events_are_read_whoever_asked_for_them_and_an_error_among_them_fails_its_try(url):
    good = 'data: {"choices":[{"delta":{"content":"<think>a</think>b"},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
    error = 'data: {"choices":[{"delta":{"content":"<think>a"}}]}\n\ndata: {"error":{"code":502,"message":"gone"}}\n\n'
    found, failed, garbled = ask(
        url, [sends("events", text) for text in (good, error, "data: {nothing\n\n")], max_retries=1
    )
    assert (found.content, found.failure) == ("<think>a</think>b", None)
    assert (failed.failure, garbled.failure) == ("interrupted", "bad_response")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_come_apart_wherever_the_network_cuts_them(size):
    data = (
        'event: x\ndata: {"choices":[{"delta":{"content":"é…"}}]}\n\n: c\n\n'
        'data: {"choices":[{"delta":{"content":"B"},\ndata: "finish_reason":"stop"}]}'
    )
    pieces, raw = Stream(), data.encode()
    for at in range(0, len(raw), size):
        pieces.feed(raw[at : at + size])
    pieces.end()
    assert (pieces.fault, pieces.broken) == ("", False)
    assert pieces.reply()["choices"] == [{"message": {"content": "é…B"}, "finish_reason": "stop"}]


def test_the_tags_of_a_teacher_are_read_from_its_server(url):
    teacher = Teacher(model="teacher", urls=(url,), think_tags="mistral")
    with ServerEngine(teacher) as engine:
        (found,) = engine.complete([request(sends(200, whole({"content": "[THINK]A[/THINK]B"})))], SAMPLING)
    trace = of_tries(request().problem, [found], teacher, 0, 0)
    assert (trace.thinking, trace.answer) == ("A", "B")
