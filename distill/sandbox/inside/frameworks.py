"""Tests that are written for pytest or unittest, and modules that tests name and a sandbox lacks.

- `solution` and its like are the answer, seen through the other process of the pair.
- pytest, and NumPy where it is not installed, are stood in for by what tests of plain values use. The rest of
  them is `Missing`.
- Nothing here is the answer's: it can skip no test, and a test that runs nothing passes nothing.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

ANSWER_MODULES = "solution solutions answer main submission your_module your_solution your_code candidate"


class Missing(ImportError):
    """Tests use what the sandbox does not have."""


class Answer(types.ModuleType):
    """The module under test; its names come from the answer."""

    client: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.client.name(name)


class StandIn(types.ModuleType):
    """A module that is not installed, as far as tests of plain values need it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Missing(
            f"the tests use {self.__name__}.{name}, and the sandbox's Python lacks {self.__name__} "
            "(verification.sandbox.python)"
        )


class Nothing:
    """A type that no plain value has."""


class Raises:
    """`pytest.raises`."""

    def __init__(self, kind: Any, match: str | None = None) -> None:
        self.kind, self.match, self.value = kind, match, None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, error: Any, _: Any) -> bool:
        if error is None:
            raise AssertionError("did not raise")
        if not isinstance(error, self.kind):
            return False
        assert self.match is None or re.search(self.match, str(error)), f"raised {error!r}"
        self.value = error
        return True


class Approx:
    """`pytest.approx` of a number, or of a list, tuple or dict of them."""

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:  # noqa: A002 - pytest's name
        self.expected, self.abs = expected, 1e-12 if abs is None else abs
        self.rel = 1e-6 if rel is None and abs is None else rel or 0.0

    def __eq__(self, given: object) -> bool:
        return close(given, self.expected, self.rel, self.abs)

    __hash__ = None  # type: ignore[assignment]


def close(given: Any, expected: Any, relative: float, absolute: float) -> bool:
    """Whether plain values are of one shape and their numbers near each other."""
    if isinstance(expected, (list, tuple)):
        if not isinstance(given, (list, tuple)) or len(given) != len(expected):
            return False
        return all(close(a, b, relative, absolute) for a, b in zip(given, expected))  # noqa: B905 - strict came after Python 3.8
    if isinstance(expected, dict):
        return (
            isinstance(given, dict)
            and given.keys() == expected.keys()
            and all(close(given[k], expected[k], relative, absolute) for k in given)
        )
    if isinstance(expected, (int, float)) and isinstance(given, (int, float)):
        return math.isclose(given, expected, rel_tol=relative, abs_tol=absolute)
    return bool(given == expected) and type(given) is type(expected)


def all_close(given: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-8, **_: Any) -> bool:
    """`numpy.allclose` of numbers and lists of them."""
    if isinstance(expected, (list, tuple)) or isinstance(given, (list, tuple)):
        pair = [value if isinstance(value, (list, tuple)) else None for value in (given, expected)]
        if pair[0] is None or pair[1] is None or len(pair[0]) != len(pair[1]):
            return False
        return all(all_close(a, b, rtol, atol) for a, b in zip(*pair))  # noqa: B905
    if not isinstance(given, (int, float)) or not isinstance(expected, (int, float)):
        raise TypeError("only numbers are close to each other")
    return given == expected or abs(given - expected) <= atol + rtol * abs(expected)


def install(client: Any) -> None:
    """Makes the answer, and what stands in for missing modules, importable."""
    for name in ANSWER_MODULES.split():
        sys.modules[name] = Answer(name)
        vars(sys.modules[name]).update(client=client)
    sys.modules["pytest"] = pytest = StandIn("pytest")
    vars(pytest).update(raises=raises, approx=Approx, mark=Marks(), fixture=fixture, fail=fail)
    vars(pytest).update(main=lambda *_, **__: 0)
    if importlib.util.find_spec("numpy") is None:
        sys.modules["numpy"] = numpy = StandIn("numpy")
        vars(numpy).update(dict.fromkeys(("ndarray", "generic", "float32", "float64"), Nothing))
        vars(numpy).update(allclose=all_close, isclose=all_close, isnan=math.isnan)
        vars(numpy).update(inf=math.inf, nan=math.nan, pi=math.pi, e=math.e)


def raises(kind: Any, *call: Any, match: str | None = None, **named: Any) -> Any:
    """A context, or the check of one call."""
    if not call:
        return Raises(kind, match)
    with Raises(kind, match):
        call[0](*call[1:], **named)
    return None


def fail(reason: str = "", **_: Any) -> None:
    raise AssertionError(reason)


def fixture(*function: Any, **_: Any) -> Any:
    """Marks a function whose value tests take by its name."""
    if not function:
        return fixture
    function[0].is_fixture = True
    return function[0]


class Marks:
    """`pytest.mark`: parametrize is known; every other mark changes nothing."""

    def parametrize(self, names: Any, values: Any, **_: Any) -> Any:
        parts = names.split(",") if isinstance(names, str) else names
        listed = [name.strip() for name in parts if name.strip()]

        def mark(function: Any) -> Any:
            rows = [dict(zip(listed, value if len(listed) > 1 else (value,))) for value in values]  # noqa: B905
            function.rows = [{**old, **row} for old in getattr(function, "rows", [{}]) for row in rows]
            return function

        return mark

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **_: (
            given[0] if len(given) == 1 and callable(given[0]) else lambda function: function
        )


def run_tests(names: dict[str, Any], called: frozenset[str]) -> int:
    """Runs the functions, classes and cases that a framework would find, and says how many; raises what the
    first that fails raises."""
    ran = 0
    for name, value in list(names.items()):
        if isinstance(value, types.FunctionType) and name.startswith("test") and name not in called:
            ran += run_function(value, value, names)
        elif (
            isinstance(value, type)
            and hasattr(value, "debug")
            and hasattr(value, "assertEqual")
            and value.__module__ == names["__name__"]
        ):
            ran += run_case(value)
        elif isinstance(value, type) and name.startswith("Test") and value.__module__ == names["__name__"]:
            for method in [one for one in vars(value) if one.startswith("test")]:
                instance = value()
                prepare = getattr(instance, "setup_method", None)
                if prepare is not None:
                    prepare(*[None][: len(inspect.signature(prepare).parameters)])
                ran += run_function(getattr(instance, method), vars(value)[method], names)
    return ran


def run_function(function: Any, marked: Any, names: dict[str, Any]) -> int:
    """Runs a test function for each of its rows, with its fixtures."""
    rows = getattr(marked, "rows", [{}])
    for row in rows:
        given = dict(row)
        for name, parameter in inspect.signature(function).parameters.items():
            if name in given or parameter.default is not parameter.empty:
                continue
            made: Any = names.get(name)
            if not getattr(made, "is_fixture", False):
                raise Missing(f"the tests want the fixture {name!r}")
            value = made()
            given[name] = next(value) if isinstance(value, Iterator) and inspect.isgenerator(value) else value
        function(**given)
    return len(rows)


def run_case(kind: Any) -> int:
    """Runs the methods of a `unittest.TestCase`, whose exceptions come out as they are."""
    found = [name for name in dir(kind) if name.startswith("test") and callable(getattr(kind, name))]
    if found:
        kind.setUpClass()
        for name in found:
            kind(name).debug()
        kind.tearDownClass()
    return len(found)
