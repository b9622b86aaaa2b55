"""Comparing what a program gave with what is expected of it, outside of the sandbox: what was given is only ever plain data here."""

import json
import math
import re
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d{0,399})(?:\.\d{0,400})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
"""No leading zeros: `0101` and `101` are two bit strings, and no judge may take them for one number."""
RELATIVE = 1e-9
SHOWN_CHARACTERS = 200


def same_text(expected: str, printed: str, tolerance: float | None = None) -> bool:
    """Equality of outputs: line by line without trailing white space, or token by token where two numbers differ in spelling only.

    With a tolerance, numbers may differ by that much, absolutely or relatively. Indentation and line breaks count.
    """
    wanted, given = _lines(expected), _lines(printed)
    return len(wanted) == len(given) and all(_same_line(a, b, tolerance) for a, b in zip(wanted, given, strict=True))


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_line(wanted: str, given: str, tolerance: float | None) -> bool:
    if wanted == given:
        return True
    if len(wanted) - len(wanted.lstrip()) != len(given) - len(given.lstrip()):
        return False
    tokens, others = wanted.split(), given.split()
    return len(tokens) == len(others) and all(_same_token(a, b, tolerance) for a, b in zip(tokens, others, strict=True))


def _same_token(wanted: str, given: str, tolerance: float | None) -> bool:
    if wanted == given:
        return True
    if not (_NUMBER.fullmatch(wanted) and _NUMBER.fullmatch(given)):
        return False
    if Decimal(wanted) == Decimal(given):
        return True
    return tolerance is not None and math.isclose(float(wanted), float(given), rel_tol=tolerance, abs_tol=tolerance)


def same_value(expected: Any, given: Any) -> bool:
    """Equality of JSON values by exact type: true is no number, an expected integer wants an integer, floats agree to 1e-9."""
    match expected:
        case list():
            return isinstance(given, list) and len(expected) == len(given) and all(map(same_value, expected, given))
        case dict():
            return (
                isinstance(given, dict)
                and expected.keys() == given.keys()
                and all(same_value(expected[key], given[key]) for key in expected)
            )
        case float():
            return isinstance(given, (int, float)) and not isinstance(given, bool) and _close(expected, given)
        case _:
            return type(expected) is type(given) and bool(expected == given)


def _close(expected: float, given: float) -> bool:
    try:
        return math.isclose(expected, given, rel_tol=RELATIVE) or (math.isnan(expected) and math.isnan(given))
    except OverflowError:  # an integer beyond the floats
        return False


def json_value(data: Any) -> Any:
    """A JSON value from what `inside/call.py` sends: tuples are lists; raises ValueError for what JSON does not have."""
    if isinstance(data, list):
        return [json_value(item) for item in data]
    if not isinstance(data, dict):
        return data
    parts: tuple[str, Any] = next(iter(data.items()), ("nothing", None))
    kind, body = parts
    if kind == "tuple":
        return [json_value(item) for item in body]
    if kind == "int":
        return int(body, 16)
    if kind == "dict":
        value = {_key(key): json_value(item) for key, item in body}
        if len(value) == len(body):
            return value
    raise ValueError(f"returned a {kind}, which is no JSON value")


def _key(data: Any) -> str:
    """The key as JSON writes it: 1 is `"1"`."""
    key = json_value(data)
    if isinstance(key, (list, dict)):
        raise ValueError("returned a dict with keys that JSON does not have")
    return key if isinstance(key, str) else json.dumps(key)


def shown(value: Any) -> str:
    """A value for a person to read, shortened in the middle."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # Python writes no integer of more than 4,300 digits
        return "a value too large to show"
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]} ... {text[-half:]}"
