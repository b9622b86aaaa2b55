r"""What a row costs from the request to a fsynced Parquet file, beside distilabel and curator at the same
server, in one run.

    python3 -m venv A && A/bin/pip install distilabel==1.5.3 requests openai
    python3 -m venv B && B/bin/pip install bespokelabs-curator==0.1.31
    .venv/bin/python benchmarks/rows_end_to_end.py --distilabel-python A/bin/python --curator-python B/bin/python

The teacher is an OpenAI-compatible process on loopback that answers 8 KB after 50 ms; its CPU is not counted.
A contender is a process of its own at two sizes; CPU is that of it and of all its children, user and system,
and what counts is the slope between the sizes: start-up drops out. `distill stages` is engine, kept
completions, sampling stage and shards without Prefect; `distill sample` is the command, its flow and Prefect
with it (Prefect's server, where one is shared, runs beside and is not counted); `plain loop` is what a user
writes: aiohttp, nothing kept, no resume. Curator's token counter is replaced by one that needs no network. All keep 256
requests in flight; distilabel sends its batch of 256 and waits for all of it. Server and client share the
cores: CPU is the figure, wall time a hint.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

LATENCY_SECONDS = 0.05
ANSWER_BYTES = 8192
TEXTS = 256
"""Different answers: compression finds no repetition within a page."""
IN_FLIGHT = 256
SAMPLES = 4
SHARD_PROBLEMS = 256
MODEL = "gpt-4o-mini"
"""Curator knows prices by name."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took."""

    rows: int
    wall_seconds: float
    cpu_seconds: float


def main() -> int:
    chosen = arguments()
    if chosen.serve:
        asyncio.run(serve())
    elif chosen.contender:
        CONTENDERS[chosen.contender](chosen.url, chosen.rows, chosen.folder)
    else:
        compare(chosen)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distilabel-python", help="interpreter that can import distilabel")
    parser.add_argument("--curator-python", help="interpreter that can import bespokelabs.curator")
    parser.add_argument("--sizes", type=int, nargs=2, default=(4096, 16384), help="rows of the two runs")
    parser.add_argument(
        "--peer-sizes", type=int, nargs=2, default=(512, 2048), help="the same for the slow ones"
    )
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs of each")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(chosen: argparse.Namespace) -> None:
    """Runs every contender at both sizes, in turns, and prints a row for each."""
    pythons = {"distilabel": chosen.distilabel_python, "curator": chosen.curator_python}
    names = [name for name in chosen.only or CONTENDERS if pythons.get(name, sys.executable)]
    found: dict[str, list[tuple[Run, Run]]] = {name: [] for name in names}
    with teacher() as url:
        for _ in range(chosen.repeats):
            for name in names:
                sizes = chosen.peer_sizes if name in pythons else chosen.sizes
                small, large = (
                    measured(name, pythons.get(name, sys.executable), url, rows) for rows in sizes
                )
                found[name].append((small, large))
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    print(f"load {load:.1f}, {cores} cores; medians of {chosen.repeats}, lowest and highest in brackets")
    print(
        f"{'':16}{'rows':>14}{'CPU ms a row':>30}{'start-up CPU s':>16}{'wall rows/s (slope)':>21}{'largest run, rows/s':>21}"
    )
    for name, pairs in found.items():
        tell(name, pairs)


def tell(name: str, pairs: list[tuple[Run, Run]]) -> None:
    """Prints one contender's row."""
    slopes = [
        (large.cpu_seconds - small.cpu_seconds) / (large.rows - small.rows) * 1000 for small, large in pairs
    ]
    starts = [
        small.cpu_seconds - slope * small.rows / 1000 for (small, _), slope in zip(pairs, slopes, strict=True)
    ]
    rates = [(large.rows - small.rows) / (large.wall_seconds - small.wall_seconds) for small, large in pairs]
    whole = [large.rows / large.wall_seconds for _, large in pairs]
    sizes = f"{pairs[0][0].rows:,}-{pairs[0][1].rows:,}"
    slope = f"{statistics.median(slopes):.3f} ({min(slopes):.3f} to {max(slopes):.3f})"
    print(
        f"{name:16}{sizes:>14}{slope:>30}{statistics.median(starts):16.1f}{statistics.median(rates):21.0f}{statistics.median(whole):21.0f}"
    )


def measured(name: str, python: str, url: str, rows: int) -> Run:
    """One run of a contender; raises RuntimeError with what it said when it fails."""
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/said", "w+", encoding="utf-8") as said:
        command = [
            python,
            __file__,
            "--contender",
            name,
            "--url",
            url,
            "--rows",
            str(rows),
            "--folder",
            folder,
        ]
        started = time.monotonic()
        child = subprocess.Popen(
            command,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment(folder),
            cwd=Path(__file__).parents[1],
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        told = said.read()
        if child.returncode:
            raise RuntimeError(f"{name} ended with {child.returncode}: {told[-2000:]}")
        run = Run(rows, wall, used.ru_utime + used.ru_stime)
    note = [json.loads(line.removeprefix(NOTE)) for line in told.splitlines() if line.startswith(NOTE)]
    return Run(rows, run.wall_seconds - note[0][0], run.cpu_seconds - note[0][1]) if note else run


def environment(folder: str) -> dict[str, str]:
    """Everything that a contender keeps is in the folder, and nothing is sent anywhere."""
    kept = {"DISTILL_STORE": "store", "PREFECT_HOME": "prefect", "HF_HOME": "hf", "HOME": ""}
    quiet = {"OPENAI_API_KEY": "none", "CURATOR_DISABLE_RICH_DISPLAY": "1", "TELEMETRY_ENABLED": "0"}
    return os.environ | {name: f"{folder}/{place}" for name, place in kept.items()} | quiet


NOTE = "not counted: "
"""What comes before the seconds (wall, CPU) that a contender took for what is not its subject."""

# The teacher


@contextmanager
def teacher() -> Iterator[str]:
    """The server's base URL, while it runs."""
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    finally:
        server.kill()
        server.wait()


async def serve() -> None:
    """Answers until it is killed; prints its port."""
    texts, numbers = replies(), count()
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(texts, numbers), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def replies() -> list[bytes]:
    """Whole HTTP replies whose texts are random English-like words."""
    dice = random.Random(0)
    words = ["".join(dice.choices("etaoinshrdlucmfw", k=dice.randint(2, 9))) for _ in range(3000)]
    found = []
    for number in range(TEXTS):
        text = " ".join(dice.choices(words, k=ANSWER_BYTES // 6))[: ANSWER_BYTES - 40]
        message = {"role": "assistant", "content": f"<think>\n{text}\n</think>\n\n\\boxed{{{number}}}"}
        usage = {"prompt_tokens": 20, "completion_tokens": 2000, "total_tokens": 2020}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        told = {"id": "x", "object": "chat.completion", "created": 1, "model": MODEL}
        body = json.dumps(told | {"choices": [choice], "usage": usage})
        limits = "x-ratelimit-limit-requests: 100000000\r\nx-ratelimit-limit-tokens: 100000000000\r\n"
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{limits}Content-Length: "
            f"{len(body)}\r\n\r\n"
        )
        found.append((head + body).encode())
    return found


class Answering(asyncio.Protocol):
    """One connection, spoken to in as much HTTP as clients need."""

    def __init__(self, texts: list[bytes], numbers: Iterator[int]) -> None:
        self.texts, self.numbers, self.data = texts, numbers, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self.data) < end + 4 + length:
                return
            self.data = self.data[end + 4 + length :]
            listing = head.startswith(b"get ")
            asyncio.get_running_loop().call_later(0.0 if listing else LATENCY_SECONDS, self.answer, listing)

    def answer(self, listing: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(LISTING if listing else self.texts[next(self.numbers) % TEXTS])


MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
LISTING = (
    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(MODELS)}\r\n\r\n{MODELS}"
).encode()


# Contenders: each asks `rows` times at `url` and leaves Parquet in `folder`. The peers' interpreters cannot
# import this project.


def questions(rows: int) -> list[str]:
    """So many different questions."""
    return [
        f"What is the sum of {number} apples and {number % 97 + 2} pears? Say how you count them."
        for number in range(rows)
    ]


def stages(url: str, rows: int, folder: str) -> None:
    """This project's stages, shard after shard."""
    from distill.engines import Completions
    from distill.engines.server import ServerEngine
    from distill.recipe import Sampling, Teacher
    from distill.records import Problem, Trace
    from distill.sample import Asked, sample
    from distill.store import shards

    asked = Asked(Teacher(model=MODEL, urls=(url,), concurrency=IN_FLIGHT), Sampling(n=SAMPLES))
    problems = [
        Problem(f"{n:016x}", "bench", "math", text, "-1") for n, text in enumerate(questions(rows // SAMPLES))
    ]
    written = 0
    with ServerEngine(asked.teacher) as engine:
        for first in range(0, len(problems), SHARD_PROBLEMS):
            with Completions(f"{folder}/{first}.sqlite") as kept:
                traces = sample(problems[first : first + SHARD_PROBLEMS], asked, engine, kept)
                written += shards.write(Trace, traces, f"{folder}/{first}.parquet")
    assert written == rows


def command(url: str, rows: int, folder: str) -> None:
    """The whole command, on problems that were collected before."""
    lines = (json.dumps({"question": text, "answer": "-1"}) for text in questions(rows // SAMPLES))
    Path(folder, "problems.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = f"""
        description = "generated questions"
        shard_problems = {SHARD_PROBLEMS}
        [[problems]]
        name = "bench"
        path = "{folder}/problems.jsonl"
        question = "question"
        reference = "answer"
        [teacher]
        model = "{MODEL}"
        urls = ["{url}"]
        concurrency = {IN_FLIGHT}
        [sampling]
        n = {SAMPLES}
    """
    Path(folder, "bench.toml").write_text(recipe, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "distill", "collect", "--dataset", f"{folder}/bench.toml"], check=True
    )
    used = os.times()
    print(f"{NOTE}{json.dumps([used.elapsed - STARTED, sum(used[:4])])}", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "distill", "sample", "--dataset", f"{folder}/bench.toml"])


def plain(url: str, rows: int, folder: str) -> None:
    """A loop as a user writes it."""
    import aiohttp
    import pyarrow as pa
    import pyarrow.parquet as pq

    async def ask(session: aiohttp.ClientSession, question: str) -> dict[str, Any]:
        body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 4096}
        async with session.post(f"{url}/chat/completions", json=body) as response:
            told = await response.json()
        return {"question": question, "response": told["choices"][0]["message"]["content"], **told["usage"]}

    async def everything() -> list[dict[str, Any]]:
        waiting, found = iter(questions(rows)), list[dict[str, Any]]()

        async def worker(session: aiohttp.ClientSession) -> None:
            for question in waiting:
                found.append(await ask(session, question))

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(worker(session) for _ in range(IN_FLIGHT)))
        return found

    with open(f"{folder}/plain.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pylist(asyncio.run(everything())), file, compression="zstd")
        os.fsync(file.fileno())


def distilabel(url: str, rows: int, folder: str) -> None:
    """distilabel 1.5.3: a pipeline of two steps."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    with Pipeline(name="bench", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(
            data=[{"instruction": question} for question in questions(rows)], batch_size=IN_FLIGHT
        )
        model = OpenAILLM(
            model=MODEL, base_url=url, api_key="none", generation_kwargs={"max_new_tokens": 4096}
        )
        load >> TextGeneration(llm=model, input_batch_size=IN_FLIGHT)
    table = pipeline.run(use_cache=False)["default"]["train"]
    assert len(table) == rows and all(table["generation"])
    with open(f"{folder}/distilabel.parquet", "wb") as file:
        table.to_parquet(file)
        os.fsync(file.fileno())


def curator(url: str, rows: int, folder: str) -> None:
    """bespokelabs-curator 0.1.31: its OpenAI backend."""
    os.environ["CURATOR_CACHE_DIR"] = folder
    import tiktoken

    class Words:
        """Counts tokens without the vocabulary, which would come from the network."""

        def encode(self, text: str, **_: Any) -> list[str]:
            return text.split()

    tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_: Words()
    from bespokelabs import curator as library
    from datasets import Dataset

    limits = {
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
        "max_concurrent_requests": IN_FLIGHT,
    }
    model = library.LLM(model_name=MODEL, backend="openai", backend_params={"base_url": url, **limits})
    answered = model(Dataset.from_dict({"prompt": questions(rows)})["prompt"])
    table = getattr(answered, "dataset", answered)
    assert len(table) == rows
    with open(f"{folder}/curator.parquet", "wb") as file:
        table.to_parquet(file)
        os.fsync(file.fileno())


STARTED = os.times().elapsed
CONTENDERS: dict[str, Callable[[str, int, str], None]] = {
    "distill stages": stages,
    "distill sample": command,
    "plain loop": plain,
    "distilabel": distilabel,
    "curator": curator,
}

if __name__ == "__main__":
    sys.exit(main())
