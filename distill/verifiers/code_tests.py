"""Reading the tests of a code problem: our own format, and those in which public sets come.

Read are, besides the format in data/README.md: a list of assert statements (MBPP), Python source with asserts or
`check(candidate)` (HumanEval), `{"inputs", "outputs", "fn_name"}` (APPS, TACO) and `{"language", "test_cases"}`
(open-r1/verifiable-coding-problems-python).
Test source is only looked at here; whether it is Python, the sandbox finds out.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Printing:
    """Programs that read standard input: (input, expected output) pairs."""

    cases: tuple[tuple[str, str], ...]
    tolerance: float | None = None
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Returning:
    """A function that is called: (arguments, accepted values) pairs."""

    entry_point: str
    cases: tuple[tuple[list[Any], tuple[Any, ...]], ...]
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Asserting:
    """Test source that asserts; `entry_point` is None when the source names what it tests."""

    source: str
    entry_point: str | None = None
    setup: str = ""
    shadowed: tuple[str, ...] = ()
    """Built-in names that mean the answer's functions in the source."""

    @property
    def checks_itself(self) -> bool:
        """True when the source calls its `check` itself."""
        return re.search(r"^check\(", self.source, re.MULTILINE) is not None

    @property
    def has_check(self) -> bool:
        """True for `check(candidate)` as HumanEval has it."""
        return re.search(r"^def check\(\s*\w", self.source, re.MULTILINE) is not None


Tests = Printing | Returning | Asserting
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?")


def parse(text: str) -> Tests:
    """The tests of a problem; raises ValueError, with the cause, for what are no tests."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("the tests are nested too deep") from None
    except ValueError:
        return _source(text)
    if isinstance(data, str):
        return _source(data)
    if isinstance(data, list) and data and all(isinstance(line, str) for line in data):
        return _source("\n".join(data))
    if not isinstance(data, dict):
        raise ValueError(f"the tests are a {type(data).__name__}, not an object or a list of assert statements")
    if "tests" in data:
        return _wrapped(data)
    if "mode" in data:
        return _own(data)
    return _public(data)


def _wrapped(data: dict[str, Any]) -> Tests:
    """Tests of any format with the `setup` and `entry_point` that other columns of their row hold."""
    inner = data["tests"] if isinstance(data["tests"], str) else json.dumps(data["tests"])
    tests = replace(parse(inner), setup=_lines(data.get("setup")))
    return replace(tests, entry_point=data["entry_point"]) if data.get("entry_point") and not isinstance(tests, Printing) else tests


def _lines(value: Any) -> str:
    """Source that may come as a list of lines, as MBPP's imports do."""
    return "\n".join(value) if isinstance(value, list) else value or ""


def _own(data: dict[str, Any]) -> Tests:
    setup = _text(data.get("setup") or "", "setup")
    match data["mode"]:
        case "stdio":
            pairs = [(_text(case["input"], "input"), _text(case["output"], "output")) for case in _cases(data)]
            tolerance = data.get("tolerance")
            if tolerance is not None and (isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < 1):
                raise ValueError("the tolerance is no number from 0 to 1")
            return _printing(pairs, tolerance, setup)
        case "call":
            calls = [(case["input"], (case["output"],)) for case in _cases(data)]
            return _returning(data.get("entry_point"), calls, setup)
        case "assert":
            return _asserting(_text(data.get("source"), "source"), data.get("entry_point"), setup)
    raise ValueError(f"the tests' mode is {data['mode']!r}, not stdio, call or assert")


def _public(data: dict[str, Any]) -> Tests:
    if "test_cases" in data:
        if str(data.get("language", "python")).lower() not in ("python", "python3", "py"):
            raise ValueError(f"the tests are for {data['language']!r}, not Python")
        cases = _cases(data, "test_cases")
        kinds = {case.get("type") for case in cases}
        names = {case.get("fn_name") for case in cases} - {None, ""}
        if kinds == {"function_call"} and len(names) == 1:
            return _returning(names.pop(), [(case["input"], _accepted(case["output"])) for case in cases])
        if kinds - {"stdin_stdout", None} or names:
            raise ValueError("the test cases mix types or functions")
        return _printing([(_joined(case["input"]), _joined(case["output"])) for case in cases])
    inputs, outputs = data.get("inputs"), data.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise ValueError("the tests have neither a mode, nor test_cases, nor as many inputs as outputs")
    if data.get("fn_name"):
        return _returning(data["fn_name"], [(given, _accepted(value)) for given, value in zip(inputs, outputs, strict=True)])
    return _printing([(_joined(given), _joined(value)) for given, value in zip(inputs, outputs, strict=True)])


def _printing(pairs: Sequence[tuple[str, str]], tolerance: float | None = None, setup: str = "") -> Printing:
    if not any(output.strip() for _, output in pairs):
        raise ValueError("every expected output is empty: a program that does nothing would pass" if pairs else "there are no test cases")
    return Printing(tuple(pairs), tolerance, setup)


def _returning(entry_point: Any, calls: Sequence[tuple[Any, tuple[Any, ...]]], setup: str = "") -> Returning:
    if not isinstance(entry_point, str) or not _NAME.fullmatch(entry_point):
        raise ValueError("the tests name no entry_point")
    if not calls:
        raise ValueError("there are no test cases")
    for arguments, _ in calls:
        if not isinstance(arguments, list):
            raise ValueError("the input of a call is no list of arguments")
    return Returning(entry_point, tuple((list(arguments), accepted) for arguments, accepted in calls), setup)


def _source(text: str) -> Asserting:
    if not re.search(r"\bassert|^def check\(", text, re.MULTILINE):
        raise ValueError("the tests are neither JSON nor Python source that asserts")
    return _asserting(text, None)


def _asserting(source: str, entry_point: Any, setup: str = "") -> Asserting:
    if entry_point is not None and not (isinstance(entry_point, str) and _NAME.fullmatch(entry_point)):
        raise ValueError("the entry_point is no name")
    if entry_point is None and (called := re.search(r"^check\((\w+)\)", source, re.MULTILINE)):
        entry_point = called.group(1)
    return Asserting(source, entry_point, setup)


def _cases(data: dict[str, Any], name: str = "cases") -> list[dict[str, Any]]:
    cases = data.get(name)
    if not isinstance(cases, list):
        raise ValueError(f"the tests have no list of {name}")
    for case in cases:
        if not isinstance(case, dict) or "input" not in case or "output" not in case:
            raise ValueError("a test case has no input or no output")
    return cases


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the {name} of the tests is no text")
    return value


def _joined(value: Any) -> str:
    """Standard input or output that may come as a list of lines (APPS)."""
    return "\n".join(str(line) for line in value) if isinstance(value, list) else _text(value, "input or output")


def _accepted(value: Any) -> tuple[Any, ...]:
    """The values that pass: APPS and its descendants wrap most expected values in a list, and some not."""
    return (value, value[0]) if isinstance(value, list) and len(value) == 1 else (value,)
