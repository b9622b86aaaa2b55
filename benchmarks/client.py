"""Measures what a completion costs the client of a server in CPU time, beside other clients of the same
server, in one run.

    .venv/bin/python benchmarks/client.py
    .venv/bin/python benchmarks/client.py --peers /path/to/another/venv/bin/python --json client.json
    .venv/bin/python benchmarks/client.py --soak 200000

The server is a process of its own on loopback that answers after 50 ms with 8 KB of text; its CPU is not
counted. A measurement is a process that asks as many requests as are in flight to warm up, then the ones that
count: user and system time of the whole process, JSON and the hand-over to the caller among it. Clients take
turns, and the figure is the median. The peers httpx and openai are measured where `--peers` names a Python
that has them: a throwaway environment with `pip install openai httpx aiohttp`. They are slow: they get fewer
requests, and are left out where more are in flight than `--peers-up-to`.

`--soak` asks so many requests in one call instead, and shows resident memory, files and threads on the way.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import string
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LATENCY_SECONDS = 0.05
ANSWER_CHARACTERS = 8000
QUESTION = "A train leaves the station at nine and travels at eighty kilometres an hour. " * 6
CLIENTS = ("distill", "aiohttp", "openai", "httpx")
PEERS = ("openai", "httpx")
SOAK_ROWS = 20


def main() -> int:
    chosen = arguments()
    if chosen.serve:
        asyncio.run(serve())
    elif chosen.client:
        print(json.dumps(measured(chosen.client, chosen.port, chosen.in_flight[0], chosen.requests)))
    elif chosen.soak:
        with serving() as port:
            report(
                soak(port, chosen.in_flight[0] if len(chosen.in_flight) == 1 else 1024, chosen.soak),
                chosen.json,
            )
    else:
        with serving() as port:
            report(compared(chosen, port), chosen.json)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument(
        "--requests", type=int, default=16_000, help="a measurement of distill and aiohttp; peers get a tenth"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", help="a Python with openai, httpx and aiohttp")
    parser.add_argument(
        "--peers-up-to", type=int, default=1024, help="most in flight that the peers are measured at"
    )
    parser.add_argument("--soak", type=int, help="ask so many requests and show the memory instead")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


# The server


class Server(asyncio.Protocol):
    """One connection: reads requests by their length, and answers each with the same reply."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.read = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            head = self.read[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self.read) < end + 4 + length:
                return
            self.read = self.read[end + 4 + length :]
            asyncio.get_running_loop().call_later(LATENCY_SECONDS, self.transport.write, self.reply)


async def serve() -> None:
    """Answers until it is killed; prints its port."""
    data = json.dumps(answer()).encode()
    reply = (
        b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % len(data)
        + data
    )
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(reply), "127.0.0.1", 0, backlog=8192
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def answer() -> dict[str, Any]:
    """What vLLM says, with words of random letters and some characters that JSON escapes."""
    rng = random.Random(0)
    words = (
        "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))
        + rng.choice(("", ",", ".\n", r"\frac{1}{2}"))
        for _ in range(1500)
    )
    text = "<think>\n" + " ".join(words)[:ANSWER_CHARACTERS] + "\n</think>\n\n\\boxed{4}"
    message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": []}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "teacher",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 120, "completion_tokens": 2000, "total_tokens": 2120},
    }


@contextmanager
def serving() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


# The clients


def measured(client: str, port: int, in_flight: int, requests: int) -> dict[str, float]:
    """Completions a CPU second and a second of one client, after a warm-up."""
    marks: list[tuple[float, float]] = []

    def mark() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        marks.append((used.ru_utime + used.ru_stime, time.perf_counter()))

    if client == "distill":
        by_distill(port, in_flight, requests, mark)
    else:
        asyncio.run(
            {"aiohttp": by_aiohttp, "openai": by_openai, "httpx": by_httpx}[client](
                port, in_flight, requests, mark
            )
        )
    (cpu_before, wall_before), (cpu, wall) = marks
    return {"per_cpu_second": requests / (cpu - cpu_before), "per_second": requests / (wall - wall_before)}


def by_distill(port: int, in_flight: int, requests: int, mark: Callable[[], None]) -> None:
    from distill.engines.server import ServerEngine
    from distill.recipe import Sampling, Teacher

    with ServerEngine(
        Teacher(model="teacher", urls=(f"http://127.0.0.1:{port}/v1",), concurrency=in_flight)
    ) as engine:
        for count in (in_flight, requests):
            for completion in engine.complete(distill_requests(count), Sampling()):
                assert completion.failure is None
            mark()


def distill_requests(count: int) -> Iterator[Any]:
    from distill.engines import Request
    from distill.records import Message, Problem

    problem = Problem("0" * 16, "benchmark", "math", QUESTION, "4")
    messages = (Message("user", QUESTION),)
    for number in range(count):
        yield Request(f"{number:016x}", problem, number, messages, "", 32768, number)


async def asked(
    in_flight: int, requests: int, mark: Callable[[], None], ask: Callable[[], Awaitable[None]]
) -> None:
    """Keeps so many in flight: the warm-up, then the requests that count; a mark after each."""
    for count in (in_flight, requests):
        left = iter(range(count))

        async def worker(left: Iterator[int] = left) -> None:
            for _ in left:
                await ask()

        await asyncio.gather(*(worker() for _ in range(in_flight)))
        mark()


def body() -> dict[str, Any]:
    return {
        "model": "teacher",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 32768,
        "seed": 1,
        "n": 1,
        "stream": False,
    }


async def by_aiohttp(port: int, in_flight: int, requests: int, mark: Callable[[], None]) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            async with session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body()) as response:
                assert (await response.json())["choices"][0]["message"]["content"]

        await asked(in_flight, requests, mark, ask)


async def by_openai(port: int, in_flight: int, requests: int, mark: Callable[[], None]) -> None:
    import httpx
    import openai

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="none",
        http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=600),
    )

    async def ask() -> None:
        assert (await client.chat.completions.create(**body())).choices[0].message.content

    await asked(in_flight, requests, mark, ask)


async def by_httpx(port: int, in_flight: int, requests: int, mark: Callable[[], None]) -> None:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:

        async def ask() -> None:
            response = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body())
            assert response.json()["choices"][0]["message"]["content"]

        await asked(in_flight, requests, mark, ask)


# Comparing


def compared(chosen: argparse.Namespace, port: int) -> list[dict[str, Any]]:
    """A row for each client and number in flight."""
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for in_flight in chosen.in_flight:
        for _ in range(chosen.repeats):
            for client in CLIENTS:
                if client not in PEERS or (chosen.peers and in_flight <= chosen.peers_up_to):
                    found.setdefault((in_flight, client), []).append(
                        in_process(chosen, client, port, in_flight)
                    )
    return [row(in_flight, client, runs, found) for (in_flight, client), runs in found.items()]


def in_process(chosen: argparse.Namespace, client: str, port: int, in_flight: int) -> dict[str, float]:
    python, requests = (
        (chosen.peers, chosen.requests // 10) if client in PEERS else (sys.executable, chosen.requests)
    )
    command = [
        python,
        __file__,
        "--client",
        client,
        "--port",
        str(port),
        "--in-flight",
        str(in_flight),
        "--requests",
        str(requests),
    ]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def row(
    in_flight: int,
    client: str,
    runs: list[dict[str, float]],
    found: dict[tuple[int, str], list[dict[str, float]]],
) -> dict[str, Any]:
    rates = [run["per_cpu_second"] for run in runs]
    ours = statistics.median(run["per_cpu_second"] for run in found[in_flight, "distill"])
    return {
        "in flight": in_flight,
        "client": client,
        "completions a CPU second": round(statistics.median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "a second": round(statistics.median(run["per_second"] for run in runs)),
        "distill is": f"{ours / statistics.median(rates):.1f}x",
    }


def soak(port: int, in_flight: int, requests: int) -> list[dict[str, Any]]:
    """What one long call holds on its way."""
    from distill.engines.server import ServerEngine
    from distill.recipe import Sampling, Teacher

    rows = []
    with ServerEngine(
        Teacher(model="teacher", urls=(f"http://127.0.0.1:{port}/v1",), concurrency=in_flight)
    ) as engine:
        for number, _ in enumerate(engine.complete(distill_requests(requests), Sampling()), 1):
            if number % (requests // SOAK_ROWS) == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                held = {
                    "memory MiB": round(pages * resource.getpagesize() / 2**20, 1),
                    "files": len(os.listdir("/proc/self/fd")),
                }
                rows.append({"completions": number} | held | {"threads": threading.active_count()})
    return rows


def report(rows: list[dict[str, Any]], path: Path | None) -> None:
    """Prints a table, and writes the same as JSON."""
    widths = {
        name: max(
            len(name),
            *(len(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name])) for row in rows),
        )
        for name in rows[0]
    }
    print("  ".join(name.rjust(width) for name, width in widths.items()))
    for row in rows:
        cells = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in row.items()}
        print("  ".join(cells[name].rjust(width) for name, width in widths.items()))
    if path is not None:
        path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
