"""The vllm engine: what its servers are started with, that they stay up when they should, and that none is
left behind.

Most tests run a stand-in for vLLM's server as real processes; the last two run a real vLLM where
`DISTILL_VLLM_PYTHON` names one. Not tested: a GPU.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill import hardware
from distill.engines import STOPPED, Completion, EngineError, Request
from distill.engines.transformers import ROOT, LocalEngine
from distill.engines.vllm import kept
from distill.engines.vllm.arguments import hides_tags, places, plans, vllm_python
from distill.engines.vllm.engine import VllmEngine, told
from distill.engines.vllm.processes import KEY, PORTS, free_ports, served
from distill.hardware import Gpu
from distill.recipe import Sampling, Teacher
from distill.records import Message, Problem

MODEL = ROOT / "data" / "models" / "tiny-teacher"
PROBLEM = Problem("p", "test", "math", "?", "1")
QUESTIONS = (
    "Tom has 4 apples. He buys 3 more. How many apples does Tom have now?",
    "小明有5个苹果,又买了7个。小明现在有多少个苹果?",
)
GREEDY = Sampling(temperature=0)
PARENT = """
import sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/engines"]
import test_vllm as t
engines = [t.VllmEngine(t.teacher(**changes)) for changes in eval(sys.argv[2])]
found = [next(iter(engine.complete(t.requests(1, 20), t.GREEDY))) for engine in engines]
print([(completion.content, completion.reasoning) for completion in found], flush=True)
time.sleep(600)
"""


def teacher(**changes: Any) -> Teacher:
    return Teacher(
        **{
            "engine": "vllm",
            "model": str(MODEL),
            "dtype": "float32",
            "concurrency": 16,
            "context_tokens": 512,
        }
        | changes
    )


def requests(count: int, max_tokens: int = 100, prefill: str = "") -> list[Request]:
    asked = [QUESTIONS[number % 2] + " Again." * (number % 7) for number in range(count)]
    return [
        Request(f"key{n}", PROBLEM, n, (Message("user", text),), prefill, max_tokens, n * 7919)
        for n, text in enumerate(asked)
    ]


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(processes: set[int], seconds: float = 30.0) -> bool:
    until = time.monotonic() + seconds
    while any(alive(process) for process in processes) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(alive(process) for process in processes)


def descendants(process: int) -> set[int]:
    """A process and all that it and its children have started."""
    return {process}.union(*map(descendants, children(process)))


def children(process: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return [int(child) for child in listed.stdout.split()]


def told_by(engine: VllmEngine, count: int = 1) -> list[dict[str, Any]]:
    """What the stand-in's completions tell."""
    return [json.loads(completion.content or "{}") for completion in engine.complete(requests(count), GREEDY)]


def value(arguments: Sequence[str], name: str) -> str:
    """The word after an option's first occurrence."""
    return arguments[arguments.index(name) + 1]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for logs, with `vllm` being the stand-in."""
    package = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    shutil.copy(Path(__file__).parents[1].joinpath("servers", "vllm_stand_in.py"), package / "api_server.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("DISTILL_VLLM_PYTHON", sys.executable)
    monkeypatch.setenv("DISTILL_LOGS", str(tmp_path / "logs"))
    return tmp_path / "logs"


def test_a_server_is_started_with_the_recipes_settings_and_is_gone_afterwards(stand_in: Path) -> None:
    with VllmEngine(teacher(serve_options=("--max-num-seqs", "7"))) as engine:
        assert not stand_in.exists(), "nothing is started before the first request"
        assert list(engine.complete([], GREEDY)) == [] and not stand_in.exists()
        found = told_by(engine)[0]
        assert len(list(stand_in.iterdir())) == 1
    assert gone({found["pid"], found["child"]}, 0.0) and not list(stand_in.iterdir())
    arguments, environment = found["arguments"], found["environment"]
    assert (
        arguments[-2:] == ["--max-num-seqs", "7"]
        and arguments.count("--max-num-seqs") == 2
        and "--enforce-eager" in arguments
    )
    wanted = {
        "--model": str(MODEL),
        "--dtype": "float32",
        "--max-model-len": "512",
        "--generation-config": "vllm",
        "--seed": "0",
    }
    wanted |= {"--host": "127.0.0.1", "--load-format": "safetensors", "--served-model-name": str(MODEL)}
    assert wanted == {name: value(arguments, name) for name in wanted}
    assert (
        "--trust-remote-code" not in arguments
        and "--revision" not in arguments
        and "--reasoning-parser" not in arguments
    )
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["VLLM_API_KEY"] == os.environ[KEY] and os.environ[KEY] not in " ".join(arguments)
    assert found["body"]["model"] == str(MODEL) and found["body"]["max_tokens"] == 100


def test_copies_share_the_requests_and_one_that_dies_is_started_again_on_its_port(stand_in: Path) -> None:
    with VllmEngine(teacher(replicas=2)) as engine:
        first = told_by(engine, 40)
        processes = {found["pid"]: found["child"] for found in first}
        assert len(processes) == 2
        victim, child = next(iter(processes.items()))
        os.kill(victim, signal.SIGKILL)
        assert gone({victim, child}, 5.0), "what a dead server has started goes with it"
        until, again = time.monotonic() + 30, {victim}
        while len(again - {victim}) < 2 and time.monotonic() < until:
            again |= {found["pid"] for found in told_by(engine, 16)}
        assert len(again - {victim}) == 2
        now = told_by(engine, 16)
    assert {found["environment"]["VLLM_CACHE_ROOT"][-10:] for found in first} == {"/distill-0", "/distill-1"}
    assert {value(found["arguments"], "--port") for found in [*first, *now]} == {
        value(found["arguments"], "--port") for found in first
    }
    assert gone({*again, *processes.values()}, 0.0)


def test_servers_that_keep_dying_stay_down_and_end_the_calls_that_wait(
    stand_in: Path, tmp_path: Path
) -> None:
    (tmp_path / "starts").mkdir()
    options = ("--starts", str(tmp_path / "starts"), "--good-starts", "1")
    with VllmEngine(teacher(serve_options=options, patience_seconds=600)) as engine:
        found = told_by(engine)[0]
        os.kill(found["pid"], signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(
                EngineError, match=r"(?s)vllm has stopped.*stays down.*distill-vllm-.*no more"
            ):
                told_by(engine)
    assert len(list((tmp_path / "starts").iterdir())) == 5 and len(list(stand_in.iterdir())) == 1, (
        "a log that an error names stays"
    )


def test_servers_are_kept_for_the_next_engine_and_ended_for_another_model(
    stand_in: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(MODEL, tmp_path / "other")
    with kept():
        with VllmEngine(teacher()) as engine:
            first = told_by(engine)[0]
        assert alive(first["pid"])
        with VllmEngine(teacher(prefill="<think>\n")) as engine:
            assert told_by(engine)[0]["pid"] == first["pid"]
        with VllmEngine(teacher(model=str(other))) as engine:
            second = told_by(engine)[0]
            assert gone({first["pid"], first["child"]}, 0.0)
        os.utime(other / "model.safetensors", (1, 1))
        with VllmEngine(teacher(model=str(other))) as engine:
            third = told_by(engine)[0]
        assert third["pid"] != second["pid"], "weights that were written anew are loaded anew"
        os.kill(third["pid"], signal.SIGKILL)
        with VllmEngine(teacher(model=str(other))) as engine:
            fourth = told_by(engine)[0]
    assert gone({found[name] for found in (first, second, third, fourth) for name in ("pid", "child")}, 0.0)
    assert not list(stand_in.iterdir())


def test_engines_with_the_same_settings_share_their_servers(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "starts").mkdir()
    with (
        VllmEngine(teacher(serve_options=("--starts", str(tmp_path / "starts")))) as one,
        VllmEngine(one.teacher) as other,
    ):
        threads = [threading.Thread(target=told_by, args=(engine, 5)) for engine in (one, other, one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = told_by(other)[0]
        one.__exit__(None, None, None)
        assert told_by(other)[0]["pid"] == found["pid"]
    assert gone({found["pid"]}, 0.0) and len(list((tmp_path / "starts").iterdir())) == 1


@pytest.mark.parametrize("victim", ["parent", "supervisor"])
def test_nothing_is_left_of_a_killed_run(stand_in: Path, victim: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(ROOT), "[{}]"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        ((content, _),) = eval(parent.stdout.readline())
        processes = descendants(parent.pid) - {parent.pid}
        (supervisor,) = children(parent.pid)
        os.kill(parent.pid if victim == "parent" else supervisor, signal.SIGKILL)
        left = processes - {json.loads(content)["child"]} if victim == "supervisor" else processes
        assert len(processes) == 3 and gone(left)
        parent.kill()
        for process in processes - left:
            os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ValueError: User-specified max_model_len (9000) is greater",
            r"lower teacher\.context_tokens.*logs: .*distill-vllm",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to",
            r"lower teacher\.concurrency or teacher\.context_tokens",
        ),
        (
            "api_server.py: error: unrecognized arguments: --bogus",
            r"correct teacher\.serve_options \(unrecognized arguments: --bogus",
        ),
        ("KeyError: 'something else'", r"(?s)something else.*INFO loading"),
        ("no reason", r"(?s)ended with code 1.*no reason"),
    ],
)
def test_a_start_that_dies_says_its_cause_and_keeps_the_log(stand_in: Path, text: str, message: str) -> None:
    with (
        VllmEngine(teacher(serve_options=("--fail", text))) as engine,
        pytest.raises(EngineError, match=message),
    ):
        told_by(engine)
    assert len(list(stand_in.iterdir())) == 1


def test_a_failed_start_is_told_to_all_threads_and_not_tried_again(stand_in: Path) -> None:
    errors: list[str] = []

    def ask(engine: VllmEngine) -> None:
        try:
            told_by(engine)
        except EngineError as error:
            errors.append(str(error))

    with VllmEngine(teacher(serve_options=("--fail", "KeyError: 'something else'"))) as engine:
        threads = [threading.Thread(target=ask, args=(engine,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(errors) == 8 and len(set(errors)) == 1
    assert len(list(stand_in.iterdir())) == 1, "one start, one log"


@pytest.mark.parametrize("end", ["drain", "close"])
def test_a_start_under_way_ends_with_the_run_and_none_is_begun_after_it(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("distill.engines.vllm.processes._answers", lambda port: False)
    engine = VllmEngine(teacher())
    threading.Timer(
        1.0, engine.drain if end == "drain" else lambda: engine.__exit__(None, None, None)
    ).start()
    for _ in range(2):
        if end == "drain":
            assert [completion.failure for completion in engine.complete(requests(3), GREEDY)] == [
                STOPPED
            ] * 3
        else:
            with pytest.raises(EngineError, match="the run is to end"):
                told_by(engine)
    assert not list(stand_in.iterdir()) and engine.client is None
    engine.__exit__(None, None, None)


def test_a_missing_serving_environment_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for python, message in (
        ("/nowhere/python", "check DISTILL_VLLM_PYTHON"),
        (sys.executable, "vllm is not installed for .*DISTILL_VLLM"),
    ):
        monkeypatch.setenv("DISTILL_VLLM_PYTHON", python)
        with VllmEngine(teacher()) as engine, pytest.raises(EngineError, match=message):
            told_by(engine)
    with pytest.raises(EngineError, match="vllm has no float64"):
        VllmEngine(teacher(dtype="float64"))
    with (
        VllmEngine(teacher(model="./nowhere")) as engine,
        pytest.raises(EngineError, match="no model folder"),
    ):
        told_by(engine)


@pytest.mark.parametrize(
    ("gpus", "changes", "expected"),
    [
        (0, {}, [""]),
        (0, {"replicas": 3}, ["", "", ""]),
        (1, {}, ["0"]),
        (4, {}, ["0", "1", "2", "3"]),
        (4, {"replicas": 2}, ["0", "1"]),
        (4, {"tensor_parallel": 2}, ["0,1", "2,3"]),
        (5, {"tensor_parallel": 2}, ["0,1", "2,3"]),
        (8, {"tensor_parallel": 8}, ["0,1,2,3,4,5,6,7"]),
        (2, {"engines_per_gpu": 2}, ["0", "0", "1", "1"]),
        (2, {"engines_per_gpu": 3, "replicas": 4}, ["0", "0", "0", "1"]),
        (1, {"tensor_parallel": 2}, None),
        (2, {"replicas": 3}, None),
    ],
)
def test_servers_are_laid_over_the_gpus(
    gpus: int, changes: dict[str, Any], expected: list[str] | None
) -> None:
    names = [str(number) for number in range(gpus)]
    if expected is None:
        with pytest.raises(EngineError, match="do not fit on"):
            places(teacher(**changes), names)
    else:
        assert places(teacher(**changes), names) == expected


def test_servers_that_share_a_gpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 79.6)])
    four = teacher(model="Qwen/Qwen2.5-1.5B-Instruct", dtype="auto", engines_per_gpu=4, concurrency=1000)
    found = plans(four, free_ports(4), ["0"] * 4)
    for plan in found:
        assert (
            plan.environment["CUDA_VISIBLE_DEVICES"] == "0" and value(plan.options, "--max-num-seqs") == "250"
        )
        share = float(value(plan.options, "--gpu-memory-utilization")) * 79.6
        cache = int(value(plan.options, "--kv-cache-memory-bytes")) / 2**30
        assert 4 * share <= 0.9 * 79.6 + 0.1 and 2 < cache < share - 3.1
    assert (
        len({plan.port for plan in found})
        == len({plan.environment["VLLM_CACHE_ROOT"] for plan in found})
        == 4
    )
    for changes, message in (
        ({"model": "org/unknown"}, "size of org/unknown"),
        ({"model": "Qwen/Qwen2.5-14B"}, "do not fit on one GPU"),
    ):
        with pytest.raises(EngineError, match=message):
            plans(four.model_copy(update=changes), free_ports(4), ["0"] * 4)
    assert not [word for word in plans(teacher(), [1], ["0"])[0].options if "memory" in word]


def test_free_ports_are_no_ports_that_a_client_is_given() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20 and set(found) <= set(PORTS)
    assert PORTS.stop <= int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_the_client_asks_for_tags_that_vllm_would_leave_out_and_changes_nothing_else(tmp_path: Path) -> None:
    special, _ = with_special_tags(shutil.copytree(MODEL, tmp_path / "special"))
    assert not hides_tags(teacher()) and hides_tags(teacher(model=str(special)))
    assert not hides_tags(teacher(model="nobody/nothing"))
    asked = told(
        teacher(model=str(special), extra_body={"a": 1}, max_tokens_field="max_completion_tokens"),
        ("http://127.0.0.1:1/v1",),
    )
    assert (
        asked.extra_body == {"skip_special_tokens": False, "a": 1}
        and asked.engine == "server"
        and asked.max_tokens_field == "max_tokens"
    )
    assert told(teacher(), ()).extra_body == {}


def test_only_what_the_servers_are_started_with_decides_whether_they_can_be_shared() -> None:
    same = [
        teacher(),
        teacher(timeout_seconds=5),
        teacher(prefill="x"),
        teacher(completion_usd_per_million=3),
    ]
    other = [
        teacher(context_tokens=256),
        teacher(concurrency=4),
        teacher(serve_options=("--x",)),
        teacher(dtype="auto"),
    ]
    assert len({served(one) for one in same}) == 1 and len({served(one) for one in [*same, *other]}) == 5


@pytest.fixture(scope="module")
def real() -> Iterator[None]:
    if vllm_python() == sys.executable and importlib.util.find_spec("vllm") is None:
        pytest.skip(
            "no serving environment: set DISTILL_VLLM_PYTHON to the Python of an environment with vllm"
        )
    with kept():
        yield


def test_vllm_completes_as_transformers_does(real: None) -> None:
    expected: dict[str, Completion] = {}
    with LocalEngine(teacher(engine="transformers", dtype="float64")) as local:
        expected = {completion.key: completion for completion in local.complete(requests(40), GREEDY)}
    with VllmEngine(teacher()) as engine:
        long = Request("long", PROBLEM, 0, (Message("user", "1 + 1 = 2 " * 500),), "", 10, 1)
        plain = list(engine.complete([*requests(40), long], GREEDY))
        opened = list(engine.complete(requests(40, prefill="<think>\n"), GREEDY))
        over = list(engine.complete(requests(2, 500), GREEDY))
        cut = list(engine.complete(requests(2, 3), GREEDY))
    assert [(c.key, c.failure) for c in plain if c.failure] == [("long", "prompt_too_long")]
    assert [(c.finish_reason, c.completion_tokens) for c in cut] == [("length", 3)] * 2
    assert not [c.failure for c in over if c.failure]
    for found in (plain, opened):
        same = [c for c in found if c.key in expected and shown(c) == shown(expected[c.key])]
        assert len(same) >= 36


def shown(completion: Completion) -> tuple[object, ...]:
    return (
        completion.content,
        completion.finish_reason,
        completion.prompt_tokens,
        completion.completion_tokens,
        completion.model,
    )


def test_a_real_vllm_shows_the_thinking_and_is_gone_after_its_run_was_killed(
    real: None, tmp_path: Path
) -> None:
    folder, end = with_special_tags(shutil.copytree(MODEL, tmp_path / "special"))
    served_with = {"model": str(folder), "reasoning_parser": "deepseek_r1", "concurrency": 3}
    changes = [served_with, served_with | {"extra_body": {"logit_bias": {str(end): 100}}}]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(ROOT), repr(changes)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        (_, reasoning), (content, _) = eval(parent.stdout.readline())
        processes = descendants(parent.pid)
        parent.kill()
        assert len(processes) >= 4 and gone(processes - {parent.pid})
    assert reasoning and content == "</think>" * 19


def with_special_tags(folder: Path) -> tuple[Path, int]:
    """A model whose tokenizer has think tags as special tokens, and the number of the closing one."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = np.vstack([rows, rows[-2:]])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    tokenizer, config = (
        json.loads((folder / name).read_text()) for name in ("tokenizer.json", "config.json")
    )
    for number, tag in enumerate(("<think>", "</think>"), len(rows)):
        tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": number, "content": tag})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": len(rows) + 2}))
    return folder, len(rows) + 1
