"""Reading the tests of a code problem: our own format, and those in which public sets come.

Read are, besides the format in data/README.md: a list of assert statements (MBPP), Python source with asserts
or `check(candidate)` (HumanEval, EvalPlus), also as `{"test", "entry_point"}`, pytest and unittest source
(KodCode, BigCodeBench), `{"inputs", "outputs", "fn_name"}` (APPS, TACO), `{"language", "test_cases"}`
(open-r1/verifiable-coding-problems-python), and the shapes of `formats`. Test source is only looked at here;
whether it is Python, the sandbox finds out.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distill.verifiers.code import formats


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

    @property
    def changes_argument(self) -> bool:
        """Whether an expected value differs from the first argument, so that a function that does nothing
        cannot pass by it."""
        return any(
            arguments and isinstance(arguments[0], list) and arguments[0] not in accepted
            for arguments, accepted in self.cases
        )


@dataclass(frozen=True, slots=True)
class Asserting:
    """Test source that asserts; `entry_point` is None when the source names what it tests."""

    source: str
    entry_point: str | None = None
    setup: str = ""
    shadowed: tuple[str, ...] = ()
    """Built-in names that mean the answer's functions in the source."""

    owed: tuple[str, ...] = ()
    """Names that the reference defines: an answer that lacks one of them is wrong."""

    foreign: frozenset[str] = frozenset()
    """Names that the source uses, and neither it nor the rest of the problem defines or speaks of: where an
    answer does not happen to define them, no answer can be judged."""

    @property
    def needs_tests(self) -> bool:
        """True for source that a framework runs: functions `test...`, or cases of unittest."""
        return _FRAMEWORK.search(self.source) is not None

    @property
    def framework(self) -> bool:
        """True when the source needs the stand-ins and the finding of tests."""
        return self.needs_tests or _IMPORTED.search(self.source) is not None

    @property
    def source_without_definitions(self) -> str:
        """The source without its lines `def ...`, in which names stand before parentheses too."""
        return re.sub(r"^\s*(?:async\s+)?def .*$", "", self.source, flags=re.MULTILINE)

    @property
    def checks_itself(self) -> bool:
        """True when the source calls its `check` itself."""
        return re.search(r"^check\(", self.source, re.MULTILINE) is not None

    @property
    def has_check(self) -> bool:
        """True for `check(candidate)` as HumanEval has it."""
        return re.search(r"^def check\(\s*\w", self.source, re.MULTILINE) is not None


Tests = Printing | Returning | Asserting
_SPELLED = re.compile(r"\s*([A-Za-z_]\w*)(?:(?:\(\))?\.([A-Za-z_]\w*))?\s*")
_FRAMEWORK = re.compile(r"^\s*(?:async\s+)?def test|^class \w+\([\w.]*TestCase\):", re.MULTILINE)
_IMPORTED = re.compile(
    r"^\s*(?:import|from)\s+(?:numpy|pytest|unittest|solutions?|answer|main|submission|your_\w+|candidate)\b",
    re.MULTILINE,
)
_ELSEWHERE = re.compile(
    r"\b(?:mock|patch|monkeypatch|capsys|capfd|tmp_path|tmpdir|tempfile|redirect_stdout|subprocess)\b|\bsys\.stdout\b|\bopen\("
)
"""What tests of a framework do to their own process, or leave in its files, for the answer to find."""
LONGEST_LITERAL = 4 << 20


def parse(text: str) -> Tests:
    """The tests of a problem; raises ValueError, with the cause, for what are no tests."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("the tests are nested too deep") from None
    except ValueError:
        data = _literal(text)
    if isinstance(data, str):
        return parse(data) if data.lstrip()[:1] in ("[", "{") and data != text else _source(data)
    if isinstance(data, dict) and isinstance(data.get("assert"), list):
        data = data["assert"]
    if isinstance(data, list) and data and all(isinstance(line, str) for line in data):
        return _source("\n".join(data))
    if isinstance(data, list) and data:
        return _of_cases(formats.cases(data))
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise ValueError(f"the tests are a {kind}, not an object or a list of assert statements")
    if "tests" in data:
        return _wrapped(data)
    if isinstance(data.get("test"), str):
        return _wrapped({**data, "tests": data["test"]})
    if "mode" in data:
        return _own(data)
    return _public(data)


def _literal(text: str) -> Any:
    """What is no JSON: a list or an object as Python writes it, compressed tests, or source."""
    if formats.looks_packed(text):
        return json.loads(formats.unpacked(text))
    if text.lstrip()[:1] in ("[", "{") and len(text) < LONGEST_LITERAL:
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return text
    return text


def _wrapped(data: dict[str, Any]) -> Tests:
    """Tests of any format with the `setup` and `entry_point` that other columns of their row hold; raises
    ValueError."""
    if data.get("checker"):
        raise ValueError("unsupported: the tests need the problem's own checker")
    inner = data["tests"] if isinstance(data["tests"], str) else json.dumps(data["tests"])
    named = data.get("entry_point")
    if isinstance(named, dict) or (isinstance(named, str) and named.lstrip().startswith("{")):
        function = formats.function_name(named)
        given = json.loads(inner) if inner.lstrip()[:1] in ("[", "{") else inner
        return replace(_of_cases(formats.cases(given, function)), setup=_lines(data.get("setup")))
    tests = replace(parse(inner), setup=_lines(data.get("setup")))
    if named and not isinstance(tests, Printing):
        return replace(tests, entry_point=_entry_point(named))
    return tests


def _entry_point(name: Any) -> str:
    """The name of a function, or of a class and its method: `Solution().solve` is `Solution.solve`; raises
    ValueError."""
    found = _SPELLED.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise ValueError("the entry_point is no name")
    return ".".join(part for part in found.groups() if part)


def _of_cases(found: formats.Cases) -> Printing | Returning:
    if found.function:
        return _returning(found.function, formats.calls(found.inputs, found.outputs))
    pairs = zip(map(_joined, found.inputs), map(_joined, found.outputs), strict=True)
    return _printing(list(pairs))


def _lines(value: Any) -> str:
    """Source that may come as a list of lines, as MBPP's imports do."""
    return "\n".join(value) if isinstance(value, list) else value or ""


def _own(data: dict[str, Any]) -> Tests:
    setup = _text(data.get("setup") or "", "setup")
    match data["mode"]:
        case "stdio":
            cases = _cases(data)
            pairs = [(_text(case["input"], "input"), _text(case["output"], "output")) for case in cases]
            tolerance = data.get("tolerance")
            if tolerance is not None and not (type(tolerance) in (int, float) and 0 <= tolerance < 1):
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
        calls = kinds == {"function_call"} and len(names) == 1
        if not calls and (kinds - {"stdin_stdout", None} or names):
            raise ValueError("the test cases mix types or functions")
        columns = [case["input"] for case in cases], [case["output"] for case in cases]
        return _of_cases(formats.Cases(*columns, names.pop() if calls else None))
    if "inputs" not in data:
        return _of_cases(formats.cases(data))
    inputs, outputs = data.get("inputs"), data.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise ValueError("the tests have neither a mode, nor test_cases, nor as many inputs as outputs")
    return _of_cases(formats.Cases(inputs, outputs, data.get("fn_name")))


def _printing(pairs: Sequence[tuple[str, str]], tolerance: float | None = None, setup: str = "") -> Printing:
    if not pairs:
        raise ValueError("there are no test cases")
    if not any(output.strip() for _, output in pairs):
        raise ValueError("every expected output is empty: a program that does nothing would pass")
    return Printing(tuple(pairs), tolerance, setup)


def _returning(entry_point: Any, calls: Sequence[tuple[Any, tuple[Any, ...]]], setup: str = "") -> Returning:
    if not entry_point:
        raise ValueError("the tests name no entry_point")
    entry_point = _entry_point(entry_point)
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
    if entry_point is not None:
        entry_point = _entry_point(entry_point)
    if _FRAMEWORK.search(source) and (found := _ELSEWHERE.search(source)):
        used = found.group().strip(" (")
        raise ValueError(f"unsupported: the tests use {used!r}, which the answer's process does not see")
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
    return "\n".join(map(str, value)) if isinstance(value, list) else _text(value, "input or output")
