"""A real OpenAI-compatible server for tests: seeded completions on loopback, and faults that the question asks for.

`python tests/teacher_server.py [--port N] [--key K]` prints its port. A question with `[fault=NAME*K]` gets that fault for its
first K tries (for ever without `*K`). `GET /log` tells every request that arrived. It models no tokens and no templates.
"""

import argparse
import asyncio
import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

FAULT = re.compile(r"\[fault=([a-z0-9_-]+?)(?:\*(\d+))?\]")


class TeacherServer:
    """State of one server process: which key it wants, and what arrived."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.tries: Counter[str] = Counter()
        self.log: list[dict] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answers a chat completion, or does what the fault in the question says."""
        asked = await request.json()
        question = next(message["content"] for message in asked["messages"] if message["role"] == "user")
        self.tries[identity(asked)] += 1
        self.log.append({"body": asked, "authorization": request.headers.get("Authorization"), "query": request.query_string})
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
                return web.Response(status=401, text=f"Incorrect API key provided: {request.headers.get('Authorization')}")
            fault = FAULT.search(question)
            if fault and self.tries[identity(asked)] <= int(fault.group(2) or 10**9):
                return await misbehave(fault.group(1), asked, request)
            return web.json_response(reply(asked))
        finally:
            self.in_flight -= 1

    async def tell(self, request: web.Request) -> web.Response:
        """The log of what arrived."""
        return web.json_response({"requests": self.log, "most_in_flight": self.most_in_flight})


def identity(asked: dict) -> str:
    """What makes two requests one: seed and messages."""
    return hashlib.sha256(json.dumps([asked.get("seed"), asked["messages"]]).encode()).hexdigest()


def reply(asked: dict, **message: str | None) -> dict:
    """A good reply: thinking and answer that depend on seed and messages only."""
    text = f"<think>\nthinking {identity(asked)[:12]}\n</think>\n\n\\boxed{{{asked.get('seed')}}}"
    opened = asked["messages"][-1]
    if opened["role"] == "assistant":
        text = text.removeprefix(opened["content"])
    return {
        "model": asked["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 20, "total_tokens": 27},
    }


async def misbehave(fault: str, asked: dict, request: web.Request) -> web.StreamResponse:
    """One fault of real servers, by name."""
    name, _, argument = fault.partition("-")
    match name:
        case "status":
            return web.Response(status=int(argument), text="the server is not well")
        case "busy":
            return web.Response(status=429, headers={"Retry-After": argument}, text="slow down")
        case "busydate":
            moment = datetime.now(UTC) + timedelta(seconds=int(argument))
            return web.Response(status=429, headers={"Retry-After": format_datetime(moment, usegmt=True)}, text="slow down")
        case "redirect":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/v1/chat/completions"})
        case "slow":
            await asyncio.sleep(float(argument) / 1000)
            return web.json_response(reply(asked))
        case "hang":
            await asyncio.sleep(3600)
            return web.Response()
        case "drip" | "cut":
            return await partly(name, asked, request)
        case _:
            return web.Response(body=body(name, asked), content_type="application/json")


async def partly(name: str, asked: dict, request: web.Request) -> web.StreamResponse:
    """A body that comes one byte a second, or that ends before its end."""
    data = json.dumps(reply(asked)).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(data))})
    await response.prepare(request)
    for byte in data[: 20 if name == "cut" else None]:
        await response.write(bytes([byte]))
        await asyncio.sleep(1.0 if name == "drip" else 0.0)
    assert request.transport is not None
    request.transport.abort()
    return response


def body(name: str, asked: dict) -> bytes:
    """The body of a reply with status 200 that is wrong, or unusual, in one way."""
    good = reply(asked)
    choice = good["choices"][0]
    match name:
        case "garbled":
            return b'{"choices": [{"mess'
        case "html":
            return b"<html><body>502 Bad Gateway</body></html>"
        case "nothing":
            return b""
        case "array":
            return b"[1, 2]"
        case "deep":
            return b"[" * 100_000
        case "latin":
            return b'{"choices": "\xff\xfe"}'
        case "error":
            return json.dumps({"error": {"message": "overloaded", "code": 529}}).encode()
        case "nochoices":
            good["choices"] = []
        case "nomessage":
            del choice["message"]
        case "null":
            choice["message"]["content"] = None
        case "empty":
            choice["message"]["content"] = ""
        case "number":
            choice["message"]["content"] = 5
        case "reasoning" | "reasoning_content":
            choice["message"] = {"role": "assistant", "content": "\n\n\\boxed{1}", name: "thinking in a field"}
            good["usage"]["completion_tokens_details"] = {"reasoning_tokens": 15}
        case "cutthinking":
            choice["message"] = {"role": "assistant", "content": None, "reasoning": "thinking that was cut"}
            choice["finish_reason"] = "length"
        case "nousage":
            good["usage"] = None
        case "length":
            choice["finish_reason"] = "length"
        case "abort":
            choice["finish_reason"] = "abort"
        case "surrogate":
            choice["message"]["content"] = "<think>\nbad \ud800 half\n</think>\n\n\\boxed{1}"
        case _:
            raise ValueError(name)
    return json.dumps(good).encode()


async def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key")
    arguments = parser.parse_args()
    teacher = TeacherServer(arguments.key)
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", teacher.complete), web.get("/log", teacher.tell)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
