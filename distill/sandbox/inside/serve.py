"""Runs the model's code and does with it what the tests in the other process of the pair ask for.

The tests are never here: only the values that they pass. What is answered is the model's claim; `check`
treats it as such.
"""

from __future__ import annotations

import operator
import os
from typing import Any, BinaryIO

from .call import load, resolve
from .serialise import Wire, decode, described, encode, revived

OPERATIONS: dict[str, Any] = {
    "call": lambda function, *positional, **named: function(*positional, **named),
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "delete_item": operator.delitem,
    "length": len,
    "true": bool,
    "iterate": iter,
    "next": next,
    "text": str,
    "shown": repr,
    "instance": lambda kind, value: isinstance(value, kind),
    "enter": lambda value: value.__enter__(),
    "exit": lambda value: value.__exit__(None, None, None),
}


class Server:
    """The names and objects of the model's code, and the wire to the tests."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.names: dict[str, Any] = {}
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}

    def number(self, value: Any) -> dict[str, Any]:
        """The name of an object that stays in this process."""
        known = self.numbers.setdefault(id(value), len(self.objects))
        if known == len(self.objects):
            self.objects.append(value)
        return {"object": known}

    def known(self, kind: str, number: Any) -> Any:
        """An object of this process, or a function of the tests that was passed as an argument."""
        return self.objects[number] if kind == "object" else lambda *values: self.call_back(number, values)

    def call_back(self, number: int, values: tuple[Any, ...]) -> Any:
        """What a function of the tests returns for the values."""
        self.wire.send({"call_back": number, "arguments": encode(list(values), self.number)})
        while "do" in (message := self.wire.receive()):
            self.answer(message)
        if "raised" in message:
            raise revived(message["raised"]) or Exception("a function of the tests ended the process")
        return decode(message["value"], self.known)

    def answer(self, request: dict[str, Any]) -> None:
        """Sends a value, or what was raised."""
        try:
            self.wire.send({"id": request["id"], **self.done(request)})
        except (EOFError, BrokenPipeError):
            os._exit(0)
        except BaseException as error:  # SystemExit too: the tests decide what it means that the code ends
            self.wire.send({"id": request["id"], "raised": described(error)})

    def done(self, request: dict[str, Any]) -> dict[str, Any]:
        """The value of what is asked for; of a call that returns None also the arguments, which it may have
        changed."""
        if request["do"] == "name":
            return {"value": encode(resolve(self.names, request["name"]), self.number)}
        arguments = decode(request["arguments"], self.known)
        value = OPERATIONS[request["do"]](*arguments, **decode(request["named"], self.known))
        if value is None and request["do"] == "call":
            return {"value": None, "arguments": encode(arguments, self.number)}
        return {"value": encode(value, self.number)}


def main(data: dict[str, Any], result: BinaryIO, inbox: int | None, outbox: int | None) -> None:
    """Loads the code and answers until the tests are gone."""
    assert inbox is not None and outbox is not None
    server = Server(Wire(inbox, outbox))
    try:
        server.names = load(data["setup"], data["source"])
    except BaseException as error:
        server.wire.send({"raised": described(error)})
    else:
        server.wire.send({"loaded": True})
    while True:
        try:
            request = server.wire.receive()
        except EOFError:
            os._exit(0)
        server.answer(request)
