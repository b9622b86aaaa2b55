"""The tests' side of the pair: asking the answer's process for things, and its objects as handles.

What comes back is plain data (`values`) or a handle. A handle can be called, read, indexed and iterated over
there, but to compare one or to search it is an error: an object that says it equals anything passes no test.
Asked whether it is true it may say what it likes, which gains it no more than returning True (`re.Match` is
true in many a test). A call that returns None writes changed arguments back, as tests of sorting in place
need it; one that returns something does not, so that it cannot bend what its tests compute from the arguments
later.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from .serialise import Unreadable, Wire, decode, described, encode, revived


class Failed(BaseException):
    """The answer's process is gone or broke the protocol: no test may go on, whatever it catches."""


class Client:
    """The wire to the answer's process and what was found out about it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.functions: list[Any] = []
        self.handles: dict[int, Handle] = {}
        self.requests = 0
        self.failure = ""
        self.missing: list[ImportError] = []
        """What the answer could not import; whatever else cannot be imported is the tests' own fault."""

    def ask(self, do: str, *arguments: Any, **named: Any) -> Any:
        """The value of an operation on values and objects over there; raises what it raised there."""
        given = {"arguments": encode(list(arguments), self.number), "named": encode(named, self.number)}
        reply = self.exchange({"do": do, **given})
        value = self.read(reply.get("value"))
        if do == "call" and value is None:
            for argument, changed in zip(arguments, self.read(reply.get("arguments", []))):  # noqa: B905 - strict came after Python 3.8
                write_back(argument, changed)
        return value

    def name(self, name: str) -> Any:
        """What a global name of the answer stands for."""
        return self.read(self.exchange({"do": "name", "name": name}).get("value"))

    def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request; serves calls of the tests' functions until it is there."""
        if self.failure:
            raise Failed(self.failure)
        self.requests += 1
        request["id"] = os.urandom(8).hex()
        reply = self.receive(request)
        while "call_back" in reply:
            reply = self.receive(self.called_back(reply))
        if reply.get("id") != request["id"]:
            self.fail("the answer's process replied to what was not asked")
        if "raised" in reply:
            self.throw(reply["raised"], may_stop=request["do"] == "next")
        return reply

    def receive(self, message: dict[str, Any] | None) -> dict[str, Any]:
        """The next message, after sending one."""
        try:
            if message is not None:
                self.wire.send(message)
            reply = self.wire.receive()
        except (EOFError, OSError):
            self.fail("the answer's process ended during the tests")
        except Unreadable as error:
            self.fail(f"the answer's process sent {error}")
        if type(reply) is not dict:
            self.fail("the answer's process sent no message")
        return reply

    def called_back(self, message: dict[str, Any]) -> dict[str, Any]:
        """What a function that the tests passed as an argument returns or raises."""
        arguments = self.read(message.get("arguments"))
        number = message["call_back"]
        if type(number) is not int or not 0 <= number < len(self.functions):
            self.fail("the answer's process called what is no function of the tests")
        try:
            return {"value": encode(self.functions[number](*arguments), self.number)}
        except Exception as error:  # the answer may catch what a function that it was given raises
            return {"raised": described(error)}

    def throw(self, raised: Any, may_stop: bool = False) -> NoReturn:
        """Raises the built-in exception that the answer raised; ends the tests for one that is no ordinary
        exception."""
        try:
            error = revived(raised)
        except Unreadable as unreadable:
            self.fail(f"the answer's process sent {unreadable}")
        if error is None:
            self.fail(f"the answer raised {raised[1]}: {raised[2]}".rstrip(": "))
        if isinstance(error, StopIteration) and not may_stop:
            # or it would end a loop of the tests early: `all(map(candidate, cases))`
            error = RuntimeError("StopIteration")
        if isinstance(error, ImportError):
            self.missing.append(error)
        raise error

    def fail(self, cause: str) -> NoReturn:
        """Ends the tests for good."""
        self.failure = self.failure or cause
        raise Failed(cause)

    def read(self, data: Any) -> Any:
        """A value that the answer sent."""
        try:
            return decode(data, self.known)
        except Unreadable as error:
            self.fail(f"the answer's process sent {error}")

    def known(self, kind: str, number: Any) -> Any:
        """The handle of an object over there, the same one each time."""
        if kind != "object" or type(number) is not int:
            raise Unreadable(f"no plain data: {kind}")
        return self.handles.setdefault(number, Handle(self, number))

    def number(self, value: Any) -> dict[str, Any]:
        """The name by which the answer gets a handle back, or may call a function of the tests."""
        if type(value) is Handle:
            return {"object": value._number}
        if not callable(value):
            raise TypeError(f"tests cannot pass an object of type {type(value).__name__}")
        self.functions.append(value)
        return {"function": len(self.functions) - 1}


def asks(do: str) -> Any:
    """A method that is an operation on an object over there."""
    return lambda self, *arguments, **named: self._client.ask(do, self, *arguments, **named)


class Handle:
    """An object in the answer's process."""

    __slots__ = ("_client", "_number")

    def __init__(self, client: Client, number: int) -> None:
        object.__setattr__(self, "_client", client)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        return self._client.ask("get", self, name)

    def __instancecheck__(self, value: Any) -> bool:
        return type(value) is Handle and self._client.ask("instance", self, value) is True

    def __exit__(self, *raised: Any) -> None:
        self._client.ask("exit", self)

    def __bool__(self) -> bool:
        return self._client.ask("true", self) is True

    __call__, __setattr__, __getitem__ = asks("call"), asks("set"), asks("item")
    __setitem__, __delitem__, __len__ = asks("set_item"), asks("delete_item"), asks("length")
    __iter__, __next__, __enter__ = asks("iterate"), asks("next"), asks("enter")
    __str__, __repr__ = asks("text"), asks("shown")

    def __contains__(self, value: Any) -> bool:
        raise TypeError("the answer's object cannot be searched: it could say yes to everything")

    def __eq__(self, other: object) -> bool:
        if other is None:
            return False
        raise TypeError("the answer's object cannot be compared: it is no plain data")

    __hash__ = None  # type: ignore[assignment]


def write_back(old: Any, new: Any) -> None:
    """Makes a list, dict, set or bytearray equal to what the answer made of it; inner ones stay the same
    objects where they can."""
    if type(old) is not type(new):
        return
    if type(old) is list and len(old) == len(new):
        for index, (before, after) in enumerate(zip(list(old), new)):  # noqa: B905 - as above
            if type(before) is type(after) and type(before) in (list, dict, set, bytearray):
                write_back(before, after)
            else:
                old[index] = after
    elif type(old) in (list, bytearray):
        old[:] = new
    elif type(old) in (dict, set):
        old.clear()
        old.update(new)
