"""A real OpenAI-compatible server for tests: seeded completions on loopback, and faults that the question
asks for.

`python tests/servers/teacher_server.py [--port N] [--key K]` prints its port. A question with
`[fault=NAME*K]` gets that fault for its first K tries (for ever without `*K`); `GET /everything/NAME` gives
it to every request, and `/everything/well` ends that. `GET /log` tells every request that arrived, questions
of one token apart. `--models JSON` is what it lists, `--refuses NAME` a field of the body that it does not
take, `--streams WORDS` what it says to those who do not ask for a stream. It models no templates; a prompt
has seven tokens. The fault `sends-STATUS-BASE64` is a body of one's own, as `sends(status, body)` of
`teacher_questions.py` writes it.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

REFUSALS = {
    "vllm": "This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens.",
    "oldvllm": "The decoder prompt (length 21535) is longer than the maximum model length of 16384.",
    "deepseek": "This model's maximum context length is 65536 tokens. However, you requested 87731 tokens (87731 in the messages, 0 in the "
    "completion). Please reduce the length of the messages or completion.",
    "sglang": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
    "llamacpp": "the request exceeds the available context size, try increasing it",
    "other": "the messages must alternate",
}
"""Words of servers for a request that they do not take."""
FAULT = re.compile(r"\[fault=([A-Za-z0-9_-]+?)(?:\*(\d+))?\]")


class TeacherServer:
    """State of one server process: which key it wants, and what arrived."""

    def __init__(self, key: str | None, models: list[dict], refuses: str | None, streams: str | None) -> None:
        self.key, self.models, self.refuses, self.streams = key, models, refuses, streams
        self.everything: str | None = None
        self.controls = 0
        self.tries: Counter[str] = Counter()
        self.log: list[dict] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answers a chat completion, or does what the fault in the question says."""
        asked = await request.json()
        question = next(message["content"] for message in asked["messages"] if message["role"] == "user")
        if question == "Hi":
            self.controls += 1
            if (refused := self.refusal(asked)) is not None:
                return web.Response(status=400, text=json.dumps({"error": {"message": refused}}))
            return (
                await answered(reply(asked), asked, request)
                if self.everything is None
                else await misbehave(self.everything, asked, request)
            )
        self.tries[identity(asked)] += 1
        self.log.append(
            {
                "body": asked,
                "authorization": request.headers.get("Authorization"),
                "query": request.query_string,
            }
        )
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
                return web.Response(
                    status=401, text=f"Incorrect API key provided: {request.headers.get('Authorization')}"
                )
            if (refused := self.refusal(asked)) is not None:
                return web.Response(status=400, text=json.dumps({"error": {"message": refused, "code": 400}}))
            if self.everything is not None:
                return await misbehave(self.everything, asked, request)
            fault = FAULT.search(question)
            if fault and self.tries[identity(asked)] <= int(fault.group(2) or 10**9):
                return await misbehave(fault.group(1), asked, request)
            return await answered(reply(asked), asked, request)
        finally:
            self.in_flight -= 1

    def refusal(self, asked: dict) -> str | None:
        """Why a request is not taken, in the words of OpenAI for a field and of vLLM for the context; None
        when it is."""
        if self.streams and not asked.get("stream"):
            return self.streams
        if self.refuses in asked:
            other = " Use 'max_completion_tokens' instead." if self.refuses == "max_tokens" else ""
            return f"Unsupported parameter: '{self.refuses}' is not supported with this model.{other}"
        context = min(
            (entry["max_model_len"] for entry in self.models if "max_model_len" in entry), default=10**9
        )
        limit = asked.get("max_tokens", 0)
        if limit + 7 <= context:
            return None
        return (
            f"This model's maximum context length is {context} tokens. However, you requested {limit} output "
            "tokens and your prompt "
            f"contains at least 7 input tokens, for a total of at least {limit + 7} tokens."
        )

    async def list_models(self, request: web.Request) -> web.Response:
        """The models, to whom may see them."""
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.Response(
                status=401, text=f"Incorrect API key provided: {request.headers.get('Authorization')}"
            )
        return web.json_response({"object": "list", "data": self.models})

    async def afflict(self, request: web.Request) -> web.Response:
        """Gives every request from now on one fault."""
        fault = request.match_info["fault"]
        self.everything = None if fault == "well" else fault
        return web.Response()

    async def tell(self, request: web.Request) -> web.Response:
        """The log of what arrived."""
        return web.json_response(
            {"requests": self.log, "most_in_flight": self.most_in_flight, "controls": self.controls}
        )


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
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": "stop"}
        ],
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
            return web.Response(
                status=429, headers={"Retry-After": format_datetime(moment, usegmt=True)}, text="slow down"
            )
        case "refusal":
            return web.Response(status=400, text=json.dumps({"error": {"message": REFUSALS[argument]}}))
        case "quota":
            return web.Response(
                status=429,
                text='{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}',
            )
        case "redirect":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/v1/chat/completions"})
        case "slow":
            await asyncio.sleep(float(argument) / 1000)
            return await answered(reply(asked), asked, request)
        case "sends":
            status, data = argument.split("-", 1)
            said = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
            if status == "200" and asked.get("stream"):
                return await answered(json.loads(said), asked, request)
            return web.Response(status=int(status), body=said, content_type="application/json")
        case "events":
            return web.Response(
                body=base64.urlsafe_b64decode(argument + "=" * (-len(argument) % 4)),
                content_type="text/event-stream",
            )
        case "hang":
            await asyncio.sleep(3600)
            return web.Response()
        case "nohttp":
            assert request.transport is not None
            request.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await asyncio.sleep(3600)
            return web.Response()
        case "ends":
            ended = reply(asked)
            ended["choices"][0]["finish_reason"] = None if argument == "null" else argument
            return web.json_response(ended)
        case "cut" if asked.get("stream"):
            return await answered(reply(asked), asked, request, cut=True)
        case "drip" | "cut":
            return await partly(name, asked, request)
        case _:
            data = body(name, asked)
            if asked.get("stream"):
                return await answered(json.loads(data), asked, request)
            return web.Response(body=data, content_type="application/json")


async def answered(good: dict, asked: dict, request: web.Request, cut: bool = False) -> web.StreamResponse:
    """A reply as it was asked for: whole, or as events of a few characters with the usage in the last one."""
    if not asked.get("stream"):
        return web.json_response(good)
    choice = good["choices"][0]
    events: list[dict] = [{"delta": {"role": "assistant", "content": ""}}]
    for name, value in choice["message"].items():
        texts = (
            [value[at : at + 9] for at in range(0, len(value), 9)]
            if isinstance(value, str) and name != "role"
            else []
        )
        events += [{"delta": {name: text}} for text in texts] or (
            [{"delta": {name: value}}] if isinstance(value, list | dict) else []
        )
    if cut:
        events = events[: len(events) // 2]
    else:
        events.append({"delta": {}, "finish_reason": choice["finish_reason"]})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await response.write(b": keep-alive\n\n")
    for event in events:
        chunk = {
            "model": good["model"],
            "choices": [{"index": 0, "finish_reason": None} | event],
            "usage": None,
        }
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    if not cut:
        if asked.get("stream_options", {}).get("include_usage"):
            await response.write(f"data: {json.dumps(good | {'choices': []})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


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
            choice["message"] = {
                "role": "assistant",
                "content": "\n\n\\boxed{1}",
                name: "thinking in a field",
            }
            good["usage"]["completion_tokens_details"] = {"reasoning_tokens": 15}
        case "cutthinking":
            choice["message"] = {"role": "assistant", "content": None, "reasoning": "thinking that was cut"}
            choice["finish_reason"] = "length"
        case "nousage":
            good["usage"] = None
        case "nullusage":
            choice["message"]["content"] = None
            good["usage"]["prompt_tokens_details"] = None
        case "oddusage":
            good["usage"] = {
                "prompt_tokens": "seven",
                "completion_tokens": -1,
                "completion_tokens_details": [1],
            }
        case "cached":
            good["usage"]["prompt_tokens_details"] = {"cached_tokens": 6}
            good["system_fingerprint"] = "fp_1"
        case "cachehit":
            good["usage"] |= {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 3}
        case "othermodel":
            good["model"] = "another"
        case "dated":
            good["model"] += "-2025-01-20"
        case "two":
            good["choices"].append(
                {"index": 1, "message": {"role": "assistant", "content": "second"}, "finish_reason": "stop"}
            )
        case "filter":
            choice["finish_reason"] = "content_filter"
        case "length":
            choice["finish_reason"] = "length"
        case "full":
            good["usage"]["completion_tokens"] = asked.get("max_tokens", 2000)
        case "fullthinking":
            choice["message"] = {"role": "assistant", "content": None, "reasoning": "thinking that was cut"}
            good["usage"]["completion_tokens"] = asked.get("max_tokens", 2000)
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
    parser.add_argument("--models", type=json.loads, default=[])
    parser.add_argument("--refuses")
    parser.add_argument("--streams")
    arguments = parser.parse_args()
    teacher = TeacherServer(arguments.key, arguments.models, arguments.refuses, arguments.streams)
    app = web.Application()
    app.add_routes(
        [web.post("/v1/chat/completions", teacher.complete), web.get("/v1/models", teacher.list_models)]
    )
    app.add_routes([web.get("/log", teacher.tell), web.get("/everything/{fault}", teacher.afflict)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
