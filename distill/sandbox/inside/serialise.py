"""Values that cross between two processes as typed plain data, in JSON, and the pipe that carries them.

Only the exact types below arrive. A subclass of one of them arrives as its plain base value, read with the
base class's own methods; anything else is an object of the other side's, known here by a number. What is read
may be a lie, but it is always plain data: no code of the sender runs where it is decoded.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

DEEPEST = 100
LONGEST_MESSAGE = 8 << 20
"""Bytes."""
LARGEST_DIRECT_INTEGER = 1 << 63
"""Integers from here on cross in hexadecimal: Python refuses to read very long decimal ones."""


class Unreadable(ValueError):
    """A message is no plain data of the agreed form, or too large."""


def encode(value: Any, number: Callable[[Any], dict[str, Any]], depth: int = 0) -> Any:
    """A value as JSON data; `number` gives the name by which an object that is no plain data is known here,
    or raises."""
    if depth > DEEPEST:
        raise Unreadable(f"a value of more than {DEEPEST} levels")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        plain = int.__add__(value, 0)
        return plain if -LARGEST_DIRECT_INTEGER < plain < LARGEST_DIRECT_INTEGER else {"int": hex(plain)}
    if issubclass(kind, float):
        return value if kind is float else float.__mul__(value, 1.0)
    if issubclass(kind, list):
        return [encode(item, number, depth + 1) for item in list.__iter__(value)]
    if issubclass(kind, dict):
        return {
            "dict": [
                [encode(key, number, depth + 1), encode(item, number, depth + 1)]
                for key, item in dict.items(value)
            ]
        }
    for name, base in (("tuple", tuple), ("set", set), ("frozenset", frozenset)):
        if issubclass(kind, base):
            return {name: [encode(item, number, depth + 1) for item in base.__iter__(value)]}
    return _scalar(value, kind) or number(value)


def decode(data: Any, known: Callable[[str, Any], Any], depth: int = 0) -> Any:
    """The value of JSON data; `known(kind, number)` is the object of that number. Raises Unreadable."""
    if depth > DEEPEST:
        raise Unreadable(f"a value of more than {DEEPEST} levels")
    if type(data) is list:
        return [decode(item, known, depth + 1) for item in data]
    if type(data) is not dict:
        return data
    try:
        ((kind, body),) = data.items()
        if kind == "dict":
            return {decode(key, known, depth + 1): decode(item, known, depth + 1) for key, item in body}
        if kind in ("tuple", "set", "frozenset"):
            items = [decode(item, known, depth + 1) for item in body]
            return tuple(items) if kind == "tuple" else set(items) if kind == "set" else frozenset(items)
        return _read(kind, body, known)
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no plain data: {type(error).__name__}") from None


def _scalar(value: Any, kind: type) -> dict[str, Any] | None:
    if issubclass(kind, (bytes, bytearray)):
        return {"bytes" if issubclass(kind, bytes) else "bytearray": bytes(value).hex()}
    if issubclass(kind, complex):
        return {"complex": [value.real, value.imag]}
    if kind is Decimal:
        return {"Decimal": str(value)}
    if kind is Fraction:
        return {"Fraction": [hex(value.numerator), hex(value.denominator)]}
    if kind is range:
        return {"range": [hex(value.start), hex(value.stop), hex(value.step)]}
    return None


def _read(kind: str, body: Any, known: Callable[[str, Any], Any]) -> Any:
    if kind == "int":
        return int(body, 16)
    if kind in ("bytes", "bytearray"):
        return bytes.fromhex(body) if kind == "bytes" else bytearray.fromhex(body)
    if kind == "complex":
        return complex(float(body[0]), float(body[1]))
    if kind == "Decimal":
        return Decimal(str(body))
    if kind == "Fraction":
        return Fraction(int(body[0], 16), int(body[1], 16))
    if kind == "range":
        return range(*(int(end, 16) for end in body))
    return known(kind, body)


def described(error: BaseException) -> list[str]:
    """Nearest built-in type, own type and text of an exception."""
    nearest = next(
        kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind
    )
    try:
        text = str(error)[:1000]
    except Exception:  # the model's own class, with whatever it does to be shown
        text = ""
    return [nearest, type(error).__name__, text]


def revived(raised: Any) -> Exception | None:
    """A built-in exception as `described` gave it, or None for one that is no ordinary exception. Raises
    Unreadable."""
    if type(raised) is not list or len(raised) != 3 or any(type(part) is not str for part in raised):
        raise Unreadable("no exception")
    nearest, own, text = raised
    kind = vars(builtins).get(nearest)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    try:
        return kind(text if nearest == own else f"{own}: {text}")
    except TypeError:  # UnicodeDecodeError and others want more than a text
        return Exception(f"{own}: {text}")


class Wire:
    """One end of a pair of pipes: a message is one line of JSON."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self.inbox = inbox
        self.outbox = outbox
        self.rest = bytearray()

    def send(self, message: Any) -> None:
        """Writes a message; raises Unreadable for one that the other side would refuse, BrokenPipeError when
        it is gone."""
        line = memoryview(json.dumps(message).encode() + b"\n")
        if len(line) > LONGEST_MESSAGE:
            raise Unreadable(f"a message of {len(line)} bytes")
        while line:
            line = line[os.write(self.outbox, line) :]

    def receive(self) -> Any:
        """The next message; raises EOFError when the other side is gone, Unreadable for what is no
        message."""
        while (end := self.rest.find(b"\n")) < 0:
            received = os.read(self.inbox, 1 << 20)
            if not received:
                raise EOFError
            self.rest += received
            if len(self.rest) > LONGEST_MESSAGE:
                raise Unreadable("a message that does not end")
        line, self.rest = self.rest[:end], self.rest[end + 1 :]
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise Unreadable("a message that is no JSON") from None
