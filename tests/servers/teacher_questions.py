"""What the tests of the server engine share: a teacher server, and questions to it."""

import base64
import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from distill.engines import Request
from distill.engines.server import ServerEngine
from distill.recipe import Sampling, Teacher
from distill.records import Message, Problem

SERVER = Path(__file__).with_name("teacher_server.py")
SAMPLING = Sampling(max_tokens=2000)


@contextmanager
def serving(*arguments):
    process = subprocess.Popen([sys.executable, str(SERVER), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def log(url):
    with urllib.request.urlopen(url.replace("/v1", "/log")) as response:
        return json.load(response)


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


def ask(url, questions, prefill="", **teacher):
    """Completions by question."""
    urls = (url,) if isinstance(url, str) else url
    settings = Teacher(model="teacher", urls=urls, **{"max_retries": 3, "timeout_seconds": 5.0} | teacher)
    requests = [request(question, number, prefill) for number, question in enumerate(questions)]
    with ServerEngine(settings, first_wait_seconds=0.02) as engine:
        found = {completion.key: completion for completion in engine.complete(requests, SAMPLING)}
    assert len(found) == len(requests)
    return [found[one.key] for one in requests]


def sends(status, body):
    """The fault of a question that is answered with a body of one's own; events come as they are."""
    data = (
        base64.urlsafe_b64encode((body if isinstance(body, str) else json.dumps(body)).encode())
        .decode()
        .rstrip("=")
    )
    return f"[fault=events-{data}]" if status == "events" else f"[fault=sends-{status}-{data}]"


def bodies(url, mark):
    """What arrived of questions that hold a mark."""
    return [
        entry["body"] for entry in log(url)["requests"] if mark in entry["body"]["messages"][0]["content"]
    ]


def everything(url, fault):
    """Gives every request to a server a fault, or ends that with `well`."""
    urllib.request.urlopen(url.replace("/v1", f"/everything/{fault}")).close()
