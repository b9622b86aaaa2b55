"""Runs tests against code that lives in the other process of the pair.

The tests see the answer's functions and objects as handles. No part of the answer
runs here, and nothing of the tests but the values that they pass is over there.

Names that the tests neither define nor import come from the setup (functions and data), then from the answer
(classes, and what the setup lacks). Tests that hand the expected value to the answer's own code are as weak
here as anywhere.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import types
from typing import Any, BinaryIO

from . import frameworks
from .call import beginning
from .proxies import Client, Failed, Handle
from .serialise import Wire

TESTS = "tests"
TRUSTED_MODULES = (
    "bisect cmath collections copy datetime decimal fractions functools heapq itertools json math os random "
    "re statistics string sys"
)
"""Modules that tests may use without an import: they never come from the answer, which could bend
`math.isclose`."""


class Names(dict):  # type: ignore[type-arg]
    """The tests' global names; one that they lack is looked up in the answer."""

    client: Client
    unknown: set[str]
    """What neither the tests nor the answer define."""

    def __missing__(self, name: str) -> Any:
        if name.startswith("__") or hasattr(builtins, name):
            raise KeyError(name)  # the interpreter goes on to the built-in names
        if name in TRUSTED_MODULES.split():
            return importlib.import_module(name)
        try:
            value = self.client.name(name)
        except NameError:
            self.unknown.add(name)
            raise
        if type(value) is Handle:
            self[name] = value
        return value


def main(data: dict[str, Any], result: BinaryIO, inbox: int | None, outbox: int | None) -> None:
    """Writes `{"passed": true}`, `{"failed": cause}` or `{"broken": cause}`, the last for tests that do not
    work."""
    cause = examine(data["source"])
    if cause or inbox is None or outbox is None:
        report: dict[str, Any] = {"broken": cause} if cause else {"readable": True}
    else:
        report = run(data, Client(Wire(inbox, outbox)))
    result.write(json.dumps(report).encode())
    result.flush()
    os._exit(0)


def examine(source: str) -> str:
    """Why a text is no tests, or nothing."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "attr", getattr(called, "id", ""))
        if isinstance(node, (ast.Assert, ast.Raise)) or name.startswith("assert"):
            return ""
    return "the tests assert nothing"


def run(data: dict[str, Any], client: Client) -> dict[str, Any]:
    """The report on tests that can be read."""
    names = Names(__name__=TESTS)
    try:
        hello = client.receive(None)
        if "raised" in hello:
            client.throw(hello["raised"])
        names.client, names.unknown = client, set()
        test(data, client, names)
    except SystemExit:
        return {"broken": "the tests end the process"}
    except Failed as failed:
        return {"failed": str(failed)}
    except BaseException as error:
        if isinstance(error, NameError) and names.unknown:
            foreign = names.unknown - set(data["owed"]) - called_names(data["source"])
            if foreign:
                return {"broken": f"NameError: no answer has to define {', '.join(sorted(foreign))}"}
        if type(error).__name__ == "SkipTest":
            return {"broken": "the tests skip themselves"}
        if isinstance(error, ImportError) and not any(error is one for one in client.missing):
            return {"broken": f"{type(error).__name__}: {error}"}
        return {"failed": client.failure or described(error, data["source"])}
    if client.failure:
        return {"failed": client.failure}
    return {"passed": True} if client.requests else {"broken": "the tests never use the answer"}


def called_names(source: str) -> frozenset[str]:
    """Names that the tests use otherwise than for an attribute: the answer may owe them. `np` in
    `np.array(...)` is none of them."""
    nodes = list(ast.walk(ast.parse(source)))
    bases = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in bases)


def test(data: dict[str, Any], client: Client, names: Names) -> None:
    """Runs the tests to their end, or raises."""
    if data["framework"]:
        frameworks.install(client)
    exec(compile(beginning(data["setup"]), "setup", "exec", dont_inherit=True), names)  # noqa: S102 - the problem's own
    for name in [name for name, value in names.items() if isinstance(value, type)]:
        del names[name]  # a class of the setup is the answer's, so that its objects can be passed
    if data["entry_point"]:
        names[data["entry_point"].rpartition(".")[2]] = names["candidate"] = client.name(data["entry_point"])
    names.update({name: client.name(name) for name in data["shadowed"]})
    exec(compile(data["source"], TESTS, "exec", dont_inherit=True), names)  # noqa: S102 - the problem's own
    if isinstance(names.get("check"), types.FunctionType) and not data["checks_itself"]:
        names["check"](names["candidate"])
    elif data["framework"]:
        ran = frameworks.run_tests(names, frozenset(data["called"]))
        if data["needs_tests"] and not ran:
            raise frameworks.Missing("the tests hold no test that a framework would run")


def described(error: BaseException, source: str) -> str:
    """An exception with the line of the tests that it went through last."""
    lines = source.splitlines()
    place, frame = "", error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == TESTS and 0 < frame.tb_lineno <= len(lines):
            place = lines[frame.tb_lineno - 1].strip()
        frame = frame.tb_next
    try:
        text = str(error)[:300]
    except BaseException:  # it may hold an object of the answer's, which may end its process
        text = ""
    return f"{type(error).__name__}: {text}".rstrip(": ") + (f" in: {place[:300]}" if place else "")
