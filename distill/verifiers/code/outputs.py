"""Comparing what a program gave with what is expected of it, outside of the sandbox: what was given is only
ever plain data here."""

import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d{0,399})(?:\.\d{0,400})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
"""No leading zeros: `0101` and `101` are two bit strings, and no judge may take them for one number."""
_INSIDE = re.compile(
    r"(?<![\w.,])([+-]?(?:0|[1-9]\d{0,399})(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?)(?![\w.]|,\d)", re.ASCII
)
"""A number inside a token, as in `[0.333,` and `x=0.5`."""
EXACT = 1e-9
"""Floats that agree to this are one value."""
FEWEST_PLACES = 2
"""With one place a value such as 0.5 is more often exact than rounded."""
USUAL = 1e-6
"""What Codeforces' and AtCoder's checkers allow most often."""
SHOWN_CHARACTERS = 200


class Tolerance(NamedTuple):
    """How far a number may be from an expected one that has a decimal point."""

    within: float = 0.0
    """Absolutely or relatively; 0 for exact."""
    places: int = 0
    """Decimal places that the expected numbers of a problem are rounded to; a number with more may differ by
    half a unit of the last."""
    integers: bool = False
    """Whether expected integers may differ too: where the tests themselves say so."""


def rounded(values: Iterable[Any], within: float) -> Tolerance:
    """The tolerance for expected texts or JSON values: their finest number tells what they are rounded to."""
    return Tolerance(within, max(map(_places, values), default=0)) if within else Tolerance()


def _places(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return max(map(_places, value), default=0)
    if isinstance(value, dict):
        return max(map(_places, value.values()), default=0)
    if not isinstance(value, (str, float)):
        return 0
    found = _INSIDE.findall(value if isinstance(value, str) else repr(value))
    return max((len(number.partition(".")[2]) for number in found if "e" not in number.lower()), default=0)


def same_text(expected: str, printed: str, tolerance: Tolerance = Tolerance()) -> bool:  # noqa: B008 - immutable
    """Equality of outputs: line by line without trailing white space, or token by token where two numbers
    differ in spelling only.

    With a tolerance, numbers may differ by that much. Indentation and line breaks count.
    """
    wanted, given = (
        "\n".join(map(str.rstrip, text.split("\n"))).rstrip("\n").split("\n") for text in (expected, printed)
    )
    return len(wanted) == len(given) and all(
        _same_line(a, b, tolerance) for a, b in zip(wanted, given, strict=True)
    )


def _same_line(wanted: str, given: str, tolerance: Tolerance) -> bool:
    if wanted == given:
        return True
    if len(wanted) - len(wanted.lstrip()) != len(given) - len(given.lstrip()):
        return False
    tokens, others = wanted.split(), given.split()
    return len(tokens) == len(others) and all(
        _same_token(a, b, tolerance) for a, b in zip(tokens, others, strict=True)
    )


def _same_token(wanted: str, given: str, tolerance: Tolerance) -> bool:
    if wanted == given:
        return True
    if _NUMBER.fullmatch(wanted) and _NUMBER.fullmatch(given):
        return _same_number(wanted, given, tolerance)
    parts, others = _INSIDE.split(wanted), _INSIDE.split(given)  # texts and numbers in turn
    return (
        tolerance.within > 0
        and "." in wanted
        and len(parts) == len(others) > 1
        and parts[::2] == others[::2]
        and all(
            a == b or ("." in a and _same_number(a, b, tolerance))
            for a, b in zip(parts[1::2], others[1::2], strict=True)
        )
    )


def _same_number(wanted: str, given: str, tolerance: Tolerance) -> bool:
    if Decimal(wanted) == Decimal(given):
        return True
    if not tolerance.within or not (tolerance.integers or "." in wanted or "e" in wanted.lower()):
        return False
    return _near(float(wanted), float(given), tolerance, _places(given) < _places(wanted))


def _near(wanted: float, given: float, tolerance: Tolerance, coarser: bool) -> bool:
    """Within the tolerance, or the same when the given number is rounded like the expected ones.

    A number that is written with fewer decimal places than the expected one has no relative tolerance:
    12345.68 is not 12345.678901.
    """
    relative = 0.0 if coarser and not tolerance.integers else tolerance.within
    if math.isclose(wanted, given, rel_tol=relative, abs_tol=tolerance.within):
        return True
    half = 0.5 * 10**-tolerance.places * (1 + EXACT)
    return FEWEST_PLACES <= tolerance.places < _places(given) and abs(wanted - given) <= half


def same_value(expected: Any, given: Any, tolerance: Tolerance = Tolerance(EXACT)) -> bool:  # noqa: B008 - immutable
    """Equality of JSON values by exact type: true is no number, an expected integer wants an integer, floats
    agree to the tolerance."""
    if isinstance(expected, float):
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        return number and _close(expected, given, tolerance)
    if type(expected) is not type(given):
        return False
    match expected:
        case list():
            pairs = zip(expected, given, strict=False)
            return len(expected) == len(given) and all(same_value(a, b, tolerance) for a, b in pairs)
        case dict():
            same_keys: bool = expected.keys() == given.keys()
            return same_keys and all(same_value(expected[key], given[key], tolerance) for key in expected)
    return bool(expected == given)


def _close(expected: float, given: float, tolerance: Tolerance) -> bool:
    try:
        if math.isclose(expected, given, rel_tol=EXACT) or (math.isnan(expected) and math.isnan(given)):
            return True
        given = float(given)
        return tolerance.within > 0 and _near(expected, given, tolerance, _places(given) < _places(expected))
    except OverflowError:  # an integer beyond the floats
        return False


def json_value(data: Any) -> Any:
    """A JSON value from what `inside/call.py` sends: tuples are lists; raises ValueError for what JSON does
    not have."""
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
