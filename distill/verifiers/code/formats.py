"""The shapes in which public sets hold their cases: DeepCoder, LiveCodeBench, CodeContests, Codeforces, APPS
and TACO.

Each becomes the inputs, the outputs and the function's name. Values that come as JSON texts in all cases are
read as JSON. A pickled text (LiveCodeBench) is never unpickled: its opcodes are read, and only those that
make up one text are allowed.
"""

import base64
import binascii
import io
import json
import pickletools
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_BYTES = 256 << 20
"""Of unpacked tests; what is larger is refused before it is in memory."""
_TEXT_OPCODES = frozenset(("PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"))
_TEXTS = frozenset(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"))
_PARTS = (
    *("public_tests", "private_tests", "generated_tests", "public_test_cases", "private_test_cases"),
    *("examples", "official_tests"),
)
_FUNCTION_TYPES = frozenset(("functional", "function_call"))
_PROGRAM_TYPES = frozenset(("stdin", "stdin_stdout", "stdio"))

Calls = list[tuple[list[Any], tuple[Any, ...]]]


class Cases(NamedTuple):
    """Cases of one problem; `function` is None for programs."""

    inputs: list[Any]
    outputs: list[Any]
    function: str | None = None


def cases(data: Any, function: str | None = None) -> Cases:
    """The cases of a public shape; raises ValueError."""
    if isinstance(data, str):
        data = _read(data)
    if isinstance(data, dict) and any(data.get(part) for part in _PARTS):
        function = function_name(data.get("metadata")) or function
        parts = [part for name in _PARTS if data.get(name) and (part := cases(data[name], function)).inputs]
        if len({part.function for part in parts}) > 1:
            raise ValueError("the parts of the tests are of different types")
        given = [one for part in parts for one in part.inputs]
        wanted = [one for part in parts for one in part.outputs]
        return Cases(given, wanted, parts[0].function if parts else None)
    columns: tuple[Any, ...] = (data.get("input"), data.get("output")) if isinstance(data, dict) else ()
    if columns and all(isinstance(column, list) for column in columns):
        if len(columns[0]) != len(columns[1]):
            raise ValueError("the tests have not as many inputs as outputs")
        return Cases(*columns)
    if isinstance(data, list):
        return _listed(data, function)
    raise ValueError("the tests are of no known shape")


def _listed(data: list[Any], function: str | None) -> Cases:
    """A list of cases with their types (DeepCoder, LiveCodeBench), or without (Codeforces)."""
    if not all(isinstance(case, dict) and "input" in case and "output" in case for case in data):
        raise ValueError("a test case has no input or no output")
    kinds = {str(case.get("testtype") or case.get("type") or "stdin") for case in data}
    if kinds <= _PROGRAM_TYPES:
        return Cases([case["input"] for case in data], [case["output"] for case in data])
    if not kinds <= _FUNCTION_TYPES or len(kinds) > 1:
        raise ValueError("the test cases mix types")
    names = {case.get("fn_name") or function_name(case.get("metadata")) or function for case in data}
    name = names.pop() if len(names) == 1 else None
    if not name:
        raise ValueError("the tests name no function, or several")
    if kinds == {"function_call"}:
        return Cases([case["input"] for case in data], [case["output"] for case in data], name)
    inputs = [[_json(line) for line in str(case["input"]).strip("\n").split("\n")] for case in data]
    return Cases(inputs, [[_json(str(case["output"]))] for case in data], name)


def function_name(metadata: Any) -> str | None:
    """The function that LiveCodeBench's metadata names."""
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):
            return None
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) and name else None


def calls(inputs: Sequence[Any], outputs: Sequence[Any]) -> Calls:
    """Arguments and accepted values of each call; texts that hold JSON in all cases are read. Raises
    ValueError."""
    given, wanted = list(inputs), list(outputs)
    if given and all(isinstance(one, str) for one in given):
        lines = [one.strip("\n").split("\n") for one in given]
        given = [[_json(line) for line in one] for one in lines]
        if all(len(one) == 1 and isinstance(one[0], list) for one in given):
            given = [one[0] for one in given]
        if all(isinstance(one, str) and _is_json(one) for one in wanted):
            wanted = list(map(_json, wanted))
        return [(one, (value,)) for one, value in zip(given, wanted, strict=True)]
    arguments = [one for case in given if isinstance(case, list) for one in case]
    texts = [one for one in arguments if isinstance(one, str)]
    encoded = bool(wanted) and all(isinstance(one, str) and _is_json(one) for one in wanted)
    all_texts = encoded and len(texts) == len(arguments) > 0 and all(map(_is_json, texts))
    if all_texts and any(text.lstrip()[:1] in ("[", "{", '"') for text in (*texts, *wanted)):
        given, wanted = [[_json(one) for one in case] for case in given], list(map(_json, wanted))
        return [(case, (value,)) for case, value in zip(given, wanted, strict=True)]
    if encoded and not texts:
        return [(case, (value, _json(value))) for case, value in zip(given, wanted, strict=True)]
    return [(case, accepted(value)) for case, value in zip(given, wanted, strict=True)]


def accepted(value: Any) -> tuple[Any, ...]:
    """The values that pass: APPS and its descendants wrap most expected values in a list, and some not."""
    return (value, value[0]) if isinstance(value, list) and len(value) == 1 else (value,)


def _is_json(text: str) -> bool:
    try:
        _json(text)
    except ValueError:
        return False
    return True


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"a value of the tests is no JSON: {text[:80]!r}") from None


def _read(text: str) -> Any:
    """JSON, or LiveCodeBench's compressed JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _json(unpacked(text))


def looks_packed(text: str) -> bool:
    """Whether a text may be compressed tests: zlib's first byte in base64, and nothing that base64 does not
    have."""
    return text.startswith("eJ") and len(text) > 16 and not set(text[:200]) & set(" \n{}[](),:\"'")


def unpacked(text: str) -> str:
    """The text inside base64, zlib and pickle; raises ValueError."""
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
        if inflater.unconsumed_tail:
            raise ValueError("the compressed tests are too large")
        if data[:1] != b"\x80":
            return data.decode()
        found: list[str] = []
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name in _TEXTS:
                found.append(str(argument))
            elif opcode.name not in _TEXT_OPCODES:
                raise ValueError(f"the compressed tests hold more than a text ({opcode.name})")
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"the compressed tests cannot be read: {error}") from None
    if len(found) != 1:
        raise ValueError("the compressed tests are no text")
    return found[0]
