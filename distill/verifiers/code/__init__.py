"""Python programs: the answer's last code block is run in the sandbox against the problem's tests.

Programs never see what is expected of them: outputs and returned values are compared here, and asserts run in
a second process that the answer reaches through plain data only. Every case of `stdio` and `call` tests is a
fresh run, and the first that fails ends it. A program that does not compile is `wrong`; one that could not be
run because the sandbox broke down is an `error`. Not looked at: how long a correct program takes within the
limit, and what it writes besides its answer.
"""

import builtins
import json
import re
import signal
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from distill.recipe import Verification
from distill.records import Outcome, Problem, Verdict
from distill.sandbox import Boxes, InfraError, Job, Ran, boxes
from distill.verifiers.code import blocks, outputs
from distill.verifiers.code.tests import Asserting, Printing, Returning, Tests, parse

VERSION = "code/4"
_CALLED = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_FUNCTION = re.compile(r"^(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)
_METHOD = re.compile(r"^[ \t]+def[ \t]+(\w+)[ \t]*\([ \t]*self\b", re.MULTILINE)
_SYNTAX = re.compile(r"^(?:SyntaxError|IndentationError|TabError)\b")
_MISSING = "ModuleNotFoundError"
_NAME = re.compile(r"[A-Za-z_]\w*")
DETAIL_CHARACTERS = 2000
"""Programs may name their exceptions, and forge messages of ours, as long as they like."""

Finding = tuple[Outcome, str, float]
"""Outcome, detail and seconds."""


def judge(problem: Problem, answer: str, section: Verification) -> Verdict | Future[Verdict]:
    """The verdict on the program in an answer, or a future of it."""
    problem = _with_tests(problem)
    try:
        tests = _tests(problem)
    except ValueError as error:
        return Verdict("unparsed_reference", None, str(error), 0.0, VERSION)
    found = blocks.python(answer, _names(tests), isinstance(tests, Printing))
    if found is None:
        return Verdict("no_answer", None, "no Python code block", 0.0, VERSION)
    code, fenced = found
    opened = boxes(section.sandbox, section.workers)
    return opened.submit(_verdict, opened, tests, code, fenced)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """The verdict on the reference solution, bare or fenced; `unverified` when there is none and the tests
    can be read."""
    problem = _with_tests(problem)
    try:
        tests = _tests(problem)
    except ValueError as error:
        return Verdict("unparsed_reference", None, str(error), 0.0, VERSION)
    opened = boxes(section.sandbox, section.workers)
    if not (problem.reference or "").strip():
        return opened.submit(_examined, opened, tests).result()
    return opened.submit(_verdict, opened, tests, _bare(problem.reference or "", tests), True).result()


def _with_tests(problem: Problem) -> Problem:
    """A problem whose tests stand as JSON where a reference solution would, with its tests in their place."""
    if not (problem.tests or "").strip() and (problem.reference or "").lstrip().startswith(("{", "[")):
        return replace(problem, tests=problem.reference, reference=None)
    return problem


def _bare(reference: str, tests: Tests) -> str:
    """The reference solution without a fence around it."""
    labels = {block.label for block in blocks.blocks(reference)}
    fenced = labels & blocks.PYTHON or reference.lstrip().startswith("```")
    found = blocks.python(reference, _names(tests), isinstance(tests, Printing)) if fenced else None
    return found[0] if found else reference


def _tests(problem: Problem) -> Tests:
    """The tests of a problem; raises ValueError. A built-in name that the reference redefines is tested, not
    used, by its asserts."""
    tests = parse(problem.tests or "")
    if not isinstance(tests, Asserting):
        return tests
    called = {name for name in _CALLED.findall(tests.source) if hasattr(builtins, name)}
    defined = blocks.definitions(problem.reference or "")
    tests = replace(tests, shadowed=tuple(sorted(called & defined)), owed=tuple(sorted(defined)))
    if not (tests.entry_point or defined):
        return tests  # any name may be the answer's to define
    known = _NAME.findall("\n".join((tests.entry_point or "", tests.setup, problem.question)))
    return replace(tests, foreign=blocks.free(tests.source) - {*known, *defined, "candidate"})


def _verdict(opened: Boxes, tests: Tests, code: str, fenced: bool) -> Verdict:
    """Runs the tests; in a thread of the boxes."""
    try:
        match tests:
            case Printing():
                program = f"{tests.setup}\n{code}" if tests.setup else code
                found = _each(len(tests.cases), lambda index: _printed(opened, tests, program, index))
            case Returning():
                found = _each(len(tests.cases), lambda index: _returned(opened, tests, code, index))
            case Asserting():
                found = _asserted(opened, tests, code)
        outcome, detail, seconds = found
    except InfraError as error:
        outcome, detail, seconds = "error", f"infra_error: {error}", 0.0
    if not fenced and outcome == "wrong" and _SYNTAX.match(detail):
        return Verdict("no_answer", None, "no code block, and the text is no Python", seconds, VERSION)
    detail = detail[:DETAIL_CHARACTERS]
    if _MISSING in detail and outcome == "wrong":
        detail += "; the sandbox's Python lacks it (verification.sandbox.python)"
    storable = detail.encode("utf-8", "backslashreplace").decode()  # programs may write lone surrogates
    return Verdict(outcome, code, storable, seconds, VERSION)


def _examined(opened: Boxes, tests: Tests) -> Verdict:
    """What can be said about tests without a solution."""
    if not isinstance(tests, Asserting):
        return Verdict("unverified", None, "no reference solution", 0.0, VERSION)
    try:
        ran = opened.run(Job("check", {"source": tests.source}))
    except InfraError as error:
        return Verdict("error", None, f"infra_error: {error}", 0.0, VERSION)
    report = _report(ran)
    if report.get("readable"):
        return Verdict("unverified", None, "no reference solution", ran.seconds, VERSION)
    cause = report.get("broken", "the tests cannot be read")
    return Verdict("unparsed_reference", None, cause, ran.seconds, VERSION)


def _each(count: int, run: Callable[[int], Finding]) -> Finding:
    """The first finding that is not correct, or that all are."""
    total = 0.0
    for index in range(count):
        outcome, detail, seconds = run(index)
        total += seconds
        if outcome != "correct":
            return outcome, f"{detail} (test {index + 1} of {count})", total
    return "correct", "", total


def _printed(opened: Boxes, tests: Printing, program: str, index: int) -> Finding:
    """The finding on what a program prints for one input."""
    given, expected = tests.cases[index]
    ran = opened.run(Job("stdio", {"source": program}, stdin=given.encode("utf-8", "surrogatepass")))
    if ended := _ended(ran):
        return ended
    if ran.code:
        lines = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        return "wrong", lines[-1][:300] if lines else f"exit status {ran.code}", ran.seconds
    printed = ran.stdout.decode("utf-8", "backslashreplace")
    if outputs.same_text(expected, printed, _tolerance(opened, tests)):
        return "correct", "", ran.seconds
    shown = [outputs.shown(text) for text in (given, printed, expected)]
    return "wrong", f"for {shown[0]} printed {shown[1]}, expected {shown[2]}", ran.seconds


def _returned(opened: Boxes, tests: Returning, code: str, index: int) -> Finding:
    """The finding on what a function returns for one list of arguments."""
    arguments, accepted = tests.cases[index]
    data = {"setup": tests.setup, "source": code, "entry_point": tests.entry_point, "arguments": arguments}
    ran = opened.run(Job("call", data))
    if ended := _ended(ran):
        return ended
    report = _report(ran)
    if "value" not in report:
        raised = report.get("raised")
        is_named = isinstance(raised, list) and len(raised) == 3
        cause = f"{raised[1]}: {raised[2]}".rstrip(": ") if raised and is_named else ""
        return "wrong", cause or "ended before it returned", ran.seconds
    try:
        value = outputs.json_value(report["value"])
    except (ValueError, TypeError, RecursionError) as error:
        return "wrong", str(error), ran.seconds
    tolerance = _tolerance(opened, tests)
    same = any(outputs.same_value(expected, value, tolerance) for expected in accepted)
    if value is None and tests.changes_argument and report.get("in_place") is True and report.get("changed"):
        with suppress(ValueError, TypeError, RecursionError):
            value = outputs.json_value(report["changed"])[0]
        same = same or any(outputs.same_value(expected, value, tolerance) for expected in accepted)
    if same:
        return "correct", "", ran.seconds
    shown = [outputs.shown(one) for one in (arguments, value, accepted[0])]
    return "wrong", f"for {shown[0]} returned {shown[1]}, expected {shown[2]}", ran.seconds


def _tolerance(opened: Boxes, tests: Printing | Returning) -> outputs.Tolerance:
    """What the tests themselves say, or the sandbox's tolerance for numbers that are rounded like the
    expected ones."""
    within = outputs.USUAL if opened.limits.tolerance is None else opened.limits.tolerance
    if isinstance(tests, Printing) and tests.tolerance is not None:
        return outputs.Tolerance(tests.tolerance, integers=True)
    return outputs.rounded((expected for _, expected in tests.cases), within)


def _asserted(opened: Boxes, tests: Asserting, code: str) -> Finding:
    """The finding of the process that runs the tests against the process that runs the code."""
    answer = Job("serve", {"setup": tests.setup, "source": code}, waits_for_peer=True)
    entry_point = tests.entry_point or (_last_function(tests.setup, code) if tests.has_check else None)
    if entry_point is None and tests.has_check and not tests.checks_itself and "class Solution" in code:
        return "unparsed_reference", "the tests check a candidate and name none (entry_point)", 0.0
    data: dict[str, Any] = {"setup": tests.setup, "source": tests.source, "entry_point": entry_point}
    data |= {"shadowed": list(tests.shadowed), "owed": list(tests.owed)}
    data |= {"checks_itself": tests.checks_itself, "framework": tests.framework}
    data |= {"needs_tests": tests.needs_tests}
    data["called"] = _CALLED.findall(tests.source_without_definitions)
    served, checked = opened.run_pair(answer, Job("check", data, waits_for_peer=True))
    seconds = served.seconds + checked.seconds
    report = _report(checked) if checked.ending == "exit" else {}
    if report.get("passed") is True:
        return "correct", "", seconds
    if "broken" in report:
        return "unparsed_reference", f"the tests do not work: {report['broken']}", seconds
    if checked.ending == "timeout":
        return "timeout", "stopped during the tests", seconds
    if served.ending in ("timeout", "memory", "output", "signal") and (ended := _ended(served)):
        return ended[0], ended[1], seconds
    if "failed" in report:
        if foreign := tests.foreign - set(_NAME.findall(code)):
            names = ", ".join(sorted(foreign))
            return "unparsed_reference", f"the tests do not work: no answer has to define {names}", seconds
        return "wrong", report["failed"], seconds
    if (checked.ending, checked.code) == ("signal", signal.SIGKILL):
        return "error", "infra_error: the tests' process was killed, again and again", seconds
    return "wrong", f"the tests ended by {checked.ending} {checked.code} over what the answer gave", seconds


def _ended(ran: Ran) -> Finding | None:
    """The finding on a program that did not end by itself, or None."""
    match ran.ending:
        case "timeout":
            return "timeout", "stopped at the time limit", ran.seconds
        case "memory":
            return "wrong", "more memory than verification.sandbox.memory_mb", ran.seconds
        case "output":
            return "wrong", "more output than verification.sandbox.output_mb", ran.seconds
        case "signal":
            return "wrong", f"ended by signal {ran.code} ({signal.strsignal(ran.code)})", ran.seconds
    return None


def _report(ran: Ran) -> dict[str, Any]:
    """What a program in the box wrote to its result channel; empty for what is no JSON object."""
    try:
        report = json.loads(ran.result)
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _names(tests: Tests) -> frozenset[str]:
    """Names of which the answer's block should define one."""
    if isinstance(tests, Printing):
        return frozenset()
    if tests.entry_point:
        return frozenset((tests.entry_point.partition(".")[0],))
    if isinstance(tests, Asserting) and tests.has_check:
        stub = _last_function(tests.setup, "")
        return frozenset((stub,)) if stub else frozenset()
    return frozenset(_CALLED.findall(tests.source)) if isinstance(tests, Asserting) else frozenset()


def _last_function(setup: str, code: str) -> str | None:
    """The last function that a setup defines (a stub to complete), else the last of the code."""
    for source in (setup, code):
        if found := [name for name in _FUNCTION.findall(source) if name != "main"]:
            return str(found[-1])
    methods = _METHOD.findall(code) if "class Solution" in code else []
    methods = [name for name in methods if not name.startswith("_")]
    return f"Solution.{methods[0]}" if len(methods) == 1 else None
