"""A teacher that fails on schedule: an OpenAI-compatible server process that keeps books of what it was asked
and what was paid.

`python tests/servers/fault_server.py FOLDER [--port N]` prints its port. The address `/NAME/v1` acts by
`FOLDER/NAME/plan.json` and writes `FOLDER/NAME/log.jsonl`: a line when a request arrives (one without `n` is
a probe), when its completion has been computed (and is paid for), and when the reply has been written. All
that it remembers is read from those files, so it goes on after an end. A reply depends on seed, messages and
`max_tokens` only. It models no tokens: a word is one.

A plan is `{"rules": [...], "latency_ms": 5, "key": null}`; the first rule that fits decides: `{"fault":
"status-503", "first": 10, "last": 30}` (numbers of requests, from 1), `"start"` and `"end"` (seconds since
the first request), `"share"` (of the requests, seeded), `"tries"` (only the first so many tries of a request;
without it, all).
"""

import argparse
import asyncio
import hashlib
import json
import math
import os
import re
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from aiohttp import web

RATES = (1.0, 1.0, 0.8, 0.5, 0.2, 0.0)
"""How often a right answer is given; a problem has one of these."""
MEDIAN_WORDS = 60


class Books:
    """What one name's clients have asked so far, kept in its log."""

    def __init__(self, folder: Path) -> None:
        self.plan = json.loads((folder / "plan.json").read_text())
        self.tries: Counter[str] = Counter()
        self.began: float | None = None
        self._log = os.open(folder / "log.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        for line in (folder / "log.jsonl").read_text().splitlines():
            entry = json.loads(line)
            self.began = self.began or entry["at"]
            self.tries[entry["id"]] += entry["event"] in ("received", "probed")

    def note(self, event: str, asked: str, **more: object) -> None:
        """Adds a line to the log."""
        entry = {"at": time.monotonic(), "event": event, "id": asked, **more}
        self.began = self.began or entry["at"]
        os.write(self._log, json.dumps(entry).encode() + b"\n")

    def fault(self, asked: str) -> str | None:
        """What the plan has for the request that has just been noted."""
        seconds, number, tries = time.monotonic() - (self.began or 0.0), self.tries.total(), self.tries[asked]
        for rule in self.plan.get("rules", ()):
            if (
                rule.get("first", 0) <= number <= rule.get("last", math.inf)
                and rule.get("start", 0.0) <= seconds < rule.get("end", math.inf)
                and tries <= rule.get("tries", math.inf)
                and draw(asked + str(rule["fault"])) < rule.get("share", 1.0)
            ):
                return str(rule["fault"])
        return None


class FaultServer:
    """Answers chat completions, or does what the plan says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.books: dict[str, Books] = {}

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """One chat completion."""
        name = request.match_info["name"]
        if name not in self.books:
            self.books[name] = Books(self.folder / name)
        books = self.books[name]
        asked = await request.json()
        identity = digest([asked.get("seed"), asked["messages"], asked.get("max_tokens")])
        books.tries[identity] += 1
        fault = books.fault(identity)
        probe = "n" not in asked
        books.note("probed" if probe else "received", identity, fault=fault)
        if (key := books.plan.get("key")) and request.headers.get("Authorization") != f"Bearer {key}":
            return web.Response(
                status=401, text=f"Incorrect API key provided: {request.headers.get('Authorization')}"
            )
        if fault and (refused := await refusal(fault)) is not None:
            return refused
        good = reply(asked)
        usage = good["usage"]
        data = (
            b'{"choices": [{"mess' if fault == "garbled" else json.dumps(spoilt(fault, good, asked)).encode()
        )
        await asyncio.sleep(
            books.plan.get("latency_ms", 5) * -math.log(1 - draw(identity + "latency")) / 1000
        )
        books.note("answered" if probe else "paid", identity, fault=fault, usage=usage)
        try:
            response = await sent(fault, data, request)
        except ConnectionResetError:  # whoever asked is gone; it has been paid for all the same
            return web.Response()
        books.note("delivered", identity)
        return response

    async def models(self, request: web.Request) -> web.Response:
        """The list of models, as servers give it that do not tell their context."""
        return web.json_response({"object": "list", "data": [{"id": "teacher", "object": "model"}]})


BODIES = {
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "nothing": b"",
    "error": b'{"error": {"message": "overloaded", "code": 529}}',
}
"""What something between us and the model says with a status of 200."""


def digest(value: object) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def draw(text: str) -> float:
    """A number in [0, 1) that belongs to a text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13


def reply(asked: dict) -> dict:
    """A good reply: a right or a wrong sum after some words of thinking, cut at `max_tokens`."""
    question = asked["messages"][-1]["content"]
    identity = digest([asked.get("seed"), asked["messages"]])
    right = draw(identity + "right") < RATES[int(draw(question) * len(RATES))]
    total = sum(map(int, re.findall(r"\d+", question)[:2])) + (0 if right else 1 + int(draw(identity) * 9))
    length = int(MEDIAN_WORDS * math.exp(2 * draw(identity + "length") - 1))
    words = [
        "<think>\nIt",
        *(f"{identity[:4]}.{number}" for number in range(length)),
        f"\n</think>\n\nSo\\boxed{{{total}}}",
    ]
    most = asked.get("max_tokens") or len(words)
    prompt = sum(len(message["content"].split()) for message in asked["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": min(len(words), most)}
    return {
        "model": asked["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join(words[:most])},
                "finish_reason": "stop"
                if len(words) < most
                else "length",  # as for a server whose end of turn is a token, too
            }
        ],
        "usage": usage
        | {"total_tokens": sum(usage.values()), "prompt_tokens_details": {"cached_tokens": prompt // 2}},
    }


def spoilt(fault: str | None, good: dict, asked: dict) -> object:
    """A reply with status 200 that is wrong, or unusual, in one way."""
    choice = good["choices"][0]
    match fault:
        case "nochoices":
            return good | {"choices": []}
        case "null" | "empty" | "reasoning":
            text = choice["message"]["content"]
            choice |= {
                "message": {"role": "assistant", "content": "" if fault == "empty" else None},
                "finish_reason": "stop",
            }
            if fault == "reasoning":
                choice["message"]["reasoning_content"] = text
        case "nousage":
            del good["usage"]
        case "length":
            choice["finish_reason"] = "length"
        case "model":
            good["model"] = "another-model"
        case "choices":
            good["choices"] = [choice, reply(asked | {"seed": asked["seed"] + 1})["choices"][0]]
        case "same":
            return reply(asked | {"seed": 0})
    return good


async def refusal(fault: str) -> web.StreamResponse | None:
    """What is answered before anything has been computed; None when the fault comes later."""
    name, _, argument = fault.partition("-")
    match name:
        case "status":
            return web.Response(status=int(argument), text="the server is not well")
        case "html" | "nothing" | "error":
            return web.Response(body=BODIES[name], content_type="application/json")
        case "busy":
            return web.Response(
                status=429, headers={"Retry-After": argument} if argument else {}, text="slow down"
            )
        case "busydate":
            moment = format_datetime(datetime.now(UTC) + timedelta(seconds=int(argument)), usegmt=True)
            return web.Response(status=429, headers={"Retry-After": moment}, text="slow down")
        case "hang":
            await asyncio.sleep(3600)
        case "slow":
            await asyncio.sleep(float(argument))
        case "exit":
            os.closerange(3, 4096)  # nobody listens any more, and all connections are gone
            time.sleep(float(argument))
            os.execv(sys.executable, [sys.executable, *sys.argv, "--port", os.environ["FAULT_SERVER_PORT"]])
    return None


async def sent(fault: str | None, data: bytes, request: web.Request) -> web.StreamResponse:
    """A body as it comes: whole, a byte a second, or broken off."""
    response = web.StreamResponse(
        headers={"Content-Length": str(len(data)), "Content-Type": "application/json"}
    )
    await response.prepare(request)
    if fault == "drip":
        for byte in data:
            await response.write(bytes([byte]))
            await asyncio.sleep(1.0)
    await response.write(data[: len(data) // 2] if fault == "cut" else data)
    if fault == "cut" and request.transport is not None:
        request.transport.abort()
    await response.write_eof()
    return response


async def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    server = FaultServer(arguments.folder)
    app = web.Application()
    app.add_routes(
        [
            web.post("/{name}/v1/chat/completions", server.complete),
            web.get("/{name}/v1/models", server.models),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port, reuse_address=True, backlog=4096).start()
    os.environ["FAULT_SERVER_PORT"] = str(runner.addresses[0][1])
    print(os.environ["FAULT_SERVER_PORT"], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
