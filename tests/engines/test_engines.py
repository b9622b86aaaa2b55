import gzip
import json
import subprocess
import sys
from collections import Counter
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill import records
from distill.engines import ENGINES, EngineError, Request, open_engine, scripted
from distill.recipe import Sampling, Teacher
from distill.records import Message, Problem, Trace
from distill.store import shards
from distill.text import thinking

SAMPLING = Sampling(max_tokens=2000)


def problem(question="What is 6 * 7?", number=0, **fields):
    return Problem(
        f"{number:016x}",
        "test",
        fields.pop("kind", "math"),
        question,
        fields.pop("reference", "42"),
        **fields,
    )


def request(question="What is 6 * 7?", number=0, prefill="", index=0):
    asked = problem(question, number)
    return Request(
        f"key{number}.{index}",
        asked,
        index,
        (Message("user", question),),
        prefill,
        SAMPLING.max_tokens,
        seed=number,
    )


def replayed(path, questions, response="response"):
    requests = [request(question, number, index=index) for number, (question, index) in enumerate(questions)]
    with open_engine(Teacher(engine="replay", model=str(path), response=response)) as engine:
        return list(engine.complete(requests, SAMPLING))


ROWS = [
    {
        "question": "One  plus\none?",
        "response": "<think>a</think>2",
        "finish_reason": "stop",
        "model": "r1",
        "completion_tokens": 9,
    },
    {"question": "Other?", "response": "<think>b"},
    {"question": "One plus one?", "response": "<think>c</think>two", "finish_reason": "length"},
    {"question": None, "response": "passed over"},
    {"question": "Other?", "response": None},
]


def test_replay_gives_the_traces_of_a_question_in_order(tmp_path):
    text = "\n".join(json.dumps(row) for row in ROWS) + "\n"
    (tmp_path / "traces.jsonl").write_text(text + "{torn")
    with gzip.open(tmp_path / "traces.jsonl.gz", "wt") as file:
        file.write(text)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "traces.parquet")
    asked = [("One plus one?", 1), ("One plus one?", 0), (" One plus one?", 2), ("Other?", 0), ("Never?", 0)]
    for name in ("traces.jsonl", "traces.jsonl.gz", "traces.parquet"):
        found = replayed(tmp_path / name, asked)
        assert [c.content for c in found] == [
            "<think>c</think>two",
            "<think>a</think>2",
            None,
            "<think>b",
            None,
        ]
        assert [c.failure for c in found] == [None, None, "no_more_traces", None, "no_more_traces"]
        assert [c.finish_reason for c in found] == ["length", "stop", "error", "unknown", "error"]
        assert (found[1].model, found[1].completion_tokens) == ("r1", 9)


def test_replay_takes_lists_of_completions(tmp_path):
    row = {
        "problem": "Q?",
        "generations": ["first", "second"],
        "finish_reasons": ["stop", "length"],
        "answer": "2",
    }
    (tmp_path / "openr1.jsonl").write_text(json.dumps(row))
    found = replayed(tmp_path / "openr1.jsonl", [("Q?", 0), ("Q?", 1)], response="generations")
    assert [(c.content, c.finish_reason) for c in found] == [("first", "stop"), ("second", "length")]


def test_replay_takes_our_own_shards(tmp_path):
    counts = {"prompt_tokens": 5, "thinking_tokens": 6, "answer_tokens": 7, "teacher": "r1"}
    kept = Trace(problem("Q?"), "a", 0, "thought", "said", True, "stop", **counts)
    cut = Trace(problem("Q?"), "b", 1, "thou", "", False, "length")
    shards.write(records.Trace, [kept, cut], str(tmp_path / "00000.parquet"))
    whole, half = replayed(tmp_path, [("Q?", 0), ("Q?", 1)])
    assert thinking.split(whole.content, whole.reasoning) == thinking.Parts("thought", "said", True)
    assert (whole.completion_tokens, whole.reasoning_tokens, whole.model) == (13, 6, "r1")
    assert thinking.split(half.content, half.reasoning) == thinking.Parts("thou", "", False)


@pytest.mark.parametrize("text", ["", '{"question": "Q?", "reply": "R"}\n'])
def test_replay_without_completions_is_an_error_with_the_remedy(tmp_path, text):
    (tmp_path / "traces.jsonl").write_text(text)
    with pytest.raises(EngineError, match=r"teacher\.response"):
        replayed(tmp_path / "traces.jsonl", [("Q?", 0)])


def test_replay_of_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(EngineError, match="cannot be read"):
        replayed(tmp_path / "none.jsonl", [("Q?", 0)])


def scripted_parts(name, asked=None, sampling=SAMPLING, prefill=""):
    asked = asked or problem()
    one = Request("k", asked, 3, (Message("user", asked.question),), prefill, sampling.max_tokens, 1)
    completion = scripted.write(one, name, sampling)
    return completion, thinking.split(completion.content, completion.reasoning, prefill)


@pytest.mark.parametrize("name", ["right", *scripted.FAILURES])
@pytest.mark.parametrize("prefill", ["", "<think>\n"])
def test_the_script_is_the_same_every_time_and_says_that_it_is_one(name, prefill):
    assert scripted_parts(name, prefill=prefill) == scripted_parts(name, prefill=prefill)
    completion, parts = scripted_parts(name, prefill=prefill)
    assert completion.model == "scripted"
    assert (completion.failure is not None) == (scripted.FAILURES.get(name) == "failed")
    assert (completion.finish_reason == "length") == (name == "truncated")
    unclosed = ("truncated", "never_closed", *(("no_thinking", "empty") if prefill else ()))
    assert parts.think_closed == (name not in unclosed)


@pytest.mark.parametrize(
    "name", ["right", *(name for name, reason in scripted.FAILURES.items() if reason is None)]
)
def test_what_must_be_kept_is_thought_closed_and_right(name):
    _, parts = scripted_parts(name)
    assert parts.thinking
    assert "think>" not in parts.thinking + parts.answer
    assert parts.answer.rstrip("}").endswith("\\boxed{42")


def test_the_script_shows_every_failure_and_mostly_right_traces():
    asked = [request(f"Q{number}?", number, index=index) for number in range(300) for index in range(4)]
    names = Counter(scripted.choose(one.problem, one.sample_index, 0) for one in asked)
    assert set(names) == {"right", *scripted.FAILURES}
    assert 0.5 < names["right"] / len(asked) < 0.65


def test_a_scripted_duplicate_repeats_the_first_sample():
    engine = scripted.ScriptedEngine(Teacher(engine="scripted", model="any"))
    duplicates = [
        (n, i) for n in range(300) for i in range(4) if scripted.choose(problem("Q?", n), i, 0) == "duplicate"
    ]
    number, index = duplicates[0]
    first, again = engine.complete([request("Q?", number), request("Q?", number, index=index)], SAMPLING)
    assert first.content == again.content


def test_the_script_keeps_to_max_tokens():
    for name in ("right", "reasoning_field"):
        completion, parts = scripted_parts(name, sampling=Sampling(max_tokens=50))
        assert completion.completion_tokens == 50
        assert completion.finish_reason == "length"
        assert not parts.think_closed


def test_the_script_knows_tests_by_heart():
    tests = json.dumps({"mode": "stdio", "cases": [{"input": "3\n1 2 3\n", "output": "6\n"}]})
    _, parts = scripted_parts("right", problem(kind="code", reference=None, tests=tests))
    program = parts.answer.split("```python\n")[1].split("\n```")[0]
    assert (
        subprocess.run(
            [sys.executable, "-c", program], input="3\n1 2 3\n", capture_output=True, text=True
        ).stdout
        == "6\n"
    )
    tests = json.dumps(
        {"mode": "call", "entry_point": "total", "cases": [{"input": [[1, 2, 3]], "output": 6}]}
    )
    _, parts = scripted_parts("right", problem(kind="code", reference=None, tests=tests))
    names: dict = {}
    exec(parts.answer.split("```python\n")[1].split("\n```")[0], names)
    assert names["total"]([1, 2, 3]) == 6


def test_a_row_of_a_parquet_file_that_is_no_text_is_passed_over(tmp_path):
    good, bad = b"<think>\nA.\n</think>\n\n1", b"\xff"
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, len(bad), len(bad) + len(good)))
    response = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(bad + good)])
    pq.write_table(pa.table({"question": ["Q0?", "Q1?"], "response": response}), tmp_path / "traces.parquet")
    found = replayed(tmp_path / "traces.parquet", [("Q0?", 0), ("Q1?", 0)])
    assert [one.failure for one in found] == ["no_more_traces", None]


def test_the_table_has_a_row_for_every_engine_of_the_recipe() -> None:
    assert {*ENGINES} == {*get_args(Teacher.model_fields["engine"].annotation)}
