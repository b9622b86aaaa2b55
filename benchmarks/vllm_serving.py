r"""Measures how much of a vLLM server's speed the sampling stage gets out of it, beside raw load on the same
server in the same run.

    DISTILL_VLLM_PYTHON=.../bin/python .venv/bin/python benchmarks/vllm_serving.py
    .venv/bin/python benchmarks/vllm_serving.py --model FOLDER --dtype bfloat16 --concurrency 512 \
        --requests 2048 --engines 1 2 4

For each number in `--engines` so many copies share a GPU (without a GPU, the processor). `stage`: the sampling
stage with its kept completions, through to a finished shard on disk. `raw`: a bare aiohttp loop that posts the very
same bodies (prompts, seeds, lengths; every completion is `--max-tokens` long) at the same concurrency and
counts the tokens of the replies. They take turns after a warm-up of each; the figure is the median of the
ratios of neighbours. `bench`: vLLM's own `vllm bench serve`, which streams, with random prompts of the same
length, where it runs and there is one server. CPU is this process's, a completion.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from distill.engines import Completion, Completions, Request
from distill.engines.server import ServerEngine, wire_format
from distill.engines.vllm import vllm_python
from distill.engines.vllm.engine import told
from distill.engines.vllm.processes import KEY, Servers
from distill.progress import showing
from distill.recipe import Sampling, Teacher
from distill.records import Problem, Trace
from distill.sample import Asked, sample
from distill.store import shards

SAMPLES = 4
BENCH = """
import argparse, sys
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@dataclass(slots=True)
class Recorder:
    """An engine that answers nothing real: it shows what the stage asks."""

    asked: list[Request] = field(default_factory=list)

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """An empty completion for each request."""
        for request in requests:
            if request is not None:
                self.asked.append(request)
                yield Completion(request.key, "")


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement."""

    tokens: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def main() -> int:
    chosen = arguments()
    problems = [
        Problem(
            f"p{number}",
            "bench",
            "math",
            f"A farm has {number} hens. Each lays 3 eggs a day. How many eggs are there in a week?",
            "21",
        )
        for number in range(chosen.requests // SAMPLES)
    ]
    sampling = Sampling(n=SAMPLES, max_tokens=chosen.max_tokens)
    found = []
    print(
        "| servers | start s | stage tok/s | raw tok/s | stage / raw | bench serve tok/s | CPU ms a "
        "completion, stage and raw |",
        flush=True,
    )
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for engines in chosen.engines:
        teacher = Teacher(
            engine="vllm",
            model=chosen.model,
            dtype=chosen.dtype,
            context_tokens=chosen.context,
            concurrency=chosen.concurrency,
            engines_per_gpu=engines,
            extra_body={"ignore_eos": True},
        )
        found.append(measure(teacher, sampling, problems, chosen.repeats))
        print(row(found[-1]), flush=True)
    if chosen.output:
        chosen.output.write_text(json.dumps([vars(chosen) | {"output": None}, *found], indent=1))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="data/models/tiny-teacher")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--requests", type=int, default=256, help="a multiple of 4: samples of one problem")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--engines", type=int, nargs="+", default=[1])
    parser.add_argument("--output", type=Path, help="a file for the figures as JSON")
    return parser.parse_args()


def measure(teacher: Teacher, sampling: Sampling, problems: list[Problem], repeats: int) -> dict[str, Any]:
    """Starts the servers and lets stage and raw loop take turns."""
    began = time.monotonic()
    with showing(sys.stderr):
        servers = Servers(teacher)
    start_seconds = time.monotonic() - began
    client = told(teacher, servers.urls)
    try:
        stages, raws = [], []
        for _ in range(1 + repeats):
            stages.append(stage(client, sampling, problems))
            raws.append(raw(client, sampling, problems))
            print(
                f"stage {stages[-1].rate:,.0f}, raw {raws[-1].rate:,.0f} tok/s", file=sys.stderr, flush=True
            )
        stages, raws = stages[1:], raws[1:]
        one, requests = len(servers.urls) == 1, len(problems) * SAMPLES
        bench = vllm_bench(servers, teacher, sampling, requests) if one else None
    except BaseException:
        servers.failed = True  # its logs stay
        raise
    finally:
        servers.stop()
    assert len({run.tokens for run in [*stages, *raws]}) == 1, (
        "both sides are given the same number of tokens"
    )
    return {
        "servers": len(servers.urls),
        "start_seconds": start_seconds,
        "stage": [run.rate for run in stages],
        "raw": [run.rate for run in raws],
        "ratios": [one.rate / other.rate for one, other in zip(stages, raws, strict=True)],
        "bench": bench,
        "cpu_ms": [
            1000 * statistics.median(run.cpu_seconds for run in runs) / requests for runs in (stages, raws)
        ],
    }


def stage(teacher: Teacher, sampling: Sampling, problems: list[Problem]) -> Run:
    """The sampling stage from the first request to a shard on disk."""
    with tempfile.TemporaryDirectory() as folder, ServerEngine(teacher) as engine:
        began = clock()
        with Completions(f"{folder}/0.sqlite") as kept:
            shards.write(
                Trace, sample(problems, Asked(teacher, sampling), engine, kept), f"{folder}/0.parquet"
            )
        ended = clock()
        tokens = sum(
            (trace.thinking_tokens or 0) + (trace.answer_tokens or 0)
            for trace in shards.read(Trace, f"{folder}/0.parquet")
        )
    return Run(tokens, ended[0] - began[0], ended[1] - began[1])


def raw(teacher: Teacher, sampling: Sampling, problems: list[Problem]) -> Run:
    """The same bodies from a bare loop."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder, Completions(f"{folder}/0.sqlite") as kept:
        list(sample(problems, Asked(teacher, sampling), recorder, kept))
    bodies = [json.dumps(wire_format.body(request, teacher, sampling)).encode() for request in recorder.asked]
    began = clock()
    tokens = asyncio.run(post(bodies, teacher))
    ended = clock()
    return Run(tokens, ended[0] - began[0], ended[1] - began[1])


async def post(bodies: list[bytes], teacher: Teacher) -> int:
    """Posts all bodies, so many at a time over all servers, and adds up the completion tokens of the
    replies."""
    waiting, tokens = iter(bodies), 0
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ[KEY]}"}

    async def work(url: str) -> None:
        nonlocal tokens
        for body in waiting:
            try:
                reply = await answer(url, body)
            except (
                aiohttp.ClientConnectionError
            ) as error:  # a server on a busy processor breaks a connection off now and then
                print(f"asked again: {error or type(error).__name__}", file=sys.stderr)
                reply = await answer(url, body)
            tokens += reply["usage"]["completion_tokens"]

    async def answer(url: str, body: bytes) -> Any:
        async with session.post(f"{url}/chat/completions", data=body) as response:
            text = await response.read()
            assert response.status == 200, text
            return json.loads(text)

    timeout = aiohttp.ClientTimeout(total=3600)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        await asyncio.gather(
            *(
                work(url)
                for _, url in zip(range(teacher.concurrency), itertools.cycle(teacher.urls), strict=False)
            )
        )
    return tokens


def clock() -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime + used.ru_stime


def vllm_bench(servers: Servers, teacher: Teacher, sampling: Sampling, count: int) -> float | None:
    """Output tokens a second that `vllm bench serve` reports, or None with a word where it does not run."""
    url = servers.urls[0].removesuffix("/v1")
    told = ["--backend", "openai-chat", "--base-url", url, "--endpoint", "/v1/chat/completions"]
    told += ["--tokenizer", servers.model, "--model", servers.model, "--served-model-name", teacher.model]
    told += ["--dataset-name", "random", "--random-input-len", "40"]
    told += ["--random-output-len", str(sampling.max_tokens), "--num-prompts", str(count), "--ignore-eos"]
    told += ["--max-concurrency", str(teacher.concurrency), "--temperature", str(sampling.temperature)]
    done = subprocess.run(
        [vllm_python(), "-c", BENCH, *told],
        env={**os.environ, "OPENAI_API_KEY": os.environ[KEY], "VLLM_NO_USAGE_STATS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    rate = re.search(r"Output token throughput \(tok/s\):\s+([\d.]+)", done.stdout)
    if rate is None:
        print(
            "vllm bench serve does not run here:",
            *(done.stderr or done.stdout).strip().splitlines()[-1:],
            file=sys.stderr,
        )
    return float(rate[1]) if rate else None


def row(found: dict[str, Any]) -> str:
    """The figures of one number of servers: medians, and the ends of the ratios."""
    low, *_, high = sorted(found["ratios"])
    rates = [f"{statistics.median(found[side]):,.0f}" for side in ("stage", "raw")]
    ratio = f"{statistics.median(found['ratios']):.3f} ({low:.3f} to {high:.3f})"
    bench = "-" if found["bench"] is None else f"{found['bench']:,.0f}"
    cpu = f"{found['cpu_ms'][0]:.2f}, {found['cpu_ms'][1]:.2f}"
    return (
        f"| {found['servers']} | {found['start_seconds']:.0f} | {rates[0]} | {rates[1]} | {ratio} | "
        f"{bench} | {cpu} |"
    )


if __name__ == "__main__":
    sys.exit(main())
