"""Calls one function of the model's code with given arguments and sends what it returns; also loads code for
`serve`.

The code can write to the result channel itself, and change all that is used here: what is sent is its claim
of a value, no verdict. It has never seen the expected value.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any, BinaryIO

from . import prelude
from .serialise import described, encode

MODULE = "answer"
"""The name that the code runs under: its main guard stays shut, so that an example in it does not run."""
LONGEST_STUB = 200
"""Lines."""


def main(data: dict[str, Any], result: BinaryIO, inbox: int | None, outbox: int | None) -> None:
    """Writes `{"value": ...}` or `{"raised": [...]}` for one call and ends the process."""
    try:
        function = resolve(load(data["setup"], data["source"]), data["entry_point"])
        value = function(*data["arguments"])
        report = {"value": encode(value, refuse)}
        if value is None:  # it may have worked on its first argument
            notes, owner = getattr(function, "__annotations__", {}), getattr(function, "__self__", None)
            says_so = notes.get("return", "") in (None, "None")
            report["changed"] = encode(data["arguments"][:1], refuse)
            report["in_place"] = type(owner).__name__ == "Solution" or says_so
    except BaseException as error:  # SystemExit too: a program that ends before it has an answer has none
        report = {"raised": described(error)}
    result.write(json.dumps(report).encode())
    result.flush()
    os._exit(0)  # neither threads nor exit handlers of the code delay the value or add to it


def load(setup: str, source: str) -> dict[str, Any]:
    """The names that a setup and the model's code define, run one after the other in one module."""
    prelude.install()
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    names = vars(module)
    try:
        parts = [compile(part, MODULE, "exec", dont_inherit=True) for part in (setup, source) if part]
    except SyntaxError:
        parts = _continued(setup, source)
    for part in parts:
        exec(part, names)  # noqa: S102 - what the box is for
    return names


def _continued(setup: str, source: str) -> list[types.CodeType]:
    """The code of a completion that goes on where its setup ends, or begins it anew; raises its own
    SyntaxError."""
    try:
        return [compile(setup + "\n" + source, MODULE, "exec", dont_inherit=True)]
    except SyntaxError:
        whole = compile(source, MODULE, "exec", dont_inherit=True)
    return [compile(beginning(setup), MODULE, "exec", dont_inherit=True), whole]


def beginning(setup: str) -> str:
    """The setup without the stub that it may end with, such as a `def` line: as many of its first lines as
    are a program."""
    lines = setup.splitlines(keepends=True)
    for end in range(len(lines), max(-1, len(lines) - LONGEST_STUB), -1):
        try:
            compile("".join(lines[:end]), MODULE, "exec", dont_inherit=True)
        except SyntaxError:
            continue
        return "".join(lines[:end])
    return setup


def resolve(names: dict[str, Any], entry_point: str) -> Any:
    """The function of a name, of `Class.method` on a new instance, or of a method of `Solution`; raises
    NameError."""
    owner, _, method = entry_point.rpartition(".")
    if not owner and entry_point not in names and hasattr(names.get("Solution"), entry_point):
        owner, method = "Solution", entry_point
    name = owner or entry_point
    if name not in names:
        raise NameError(f"name {name!r} is not defined")
    if not owner:
        return names[name]
    return getattr(names[name](), method)


def refuse(value: Any) -> Any:
    """Refuses what is no plain data."""
    raise TypeError(f"returned an object of type {type(value).__name__}")
