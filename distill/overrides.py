"""`section.key=value` of a command line, put into the nested tables of a recipe file before it is validated."""

import tomllib
from typing import Any


class OverrideError(ValueError):
    """An override that names nothing; the message says how to write it."""


def section(override: str) -> str:
    """The top-level section that an override names."""
    return override.split("=", 1)[0].split(".")[0]


def apply(values: dict[str, Any], override: str) -> None:
    """Puts `a.b=value` into nested tables; the value is TOML, or text when it is not."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise OverrideError(f"--set {override!r}: write it as section.key=value")
    *parents, last = key.split(".")
    inside: Any = values
    for parent in parents:
        inside = _inside(inside, parent, override)
    if not isinstance(inside, dict):
        raise OverrideError(f"--set {override!r}: {'.'.join(parents)} is a list; name one of its parts, such as {parents[-1]}.0.{last}")
    try:
        inside[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        inside[last] = text


def _inside(values: Any, name: str, override: str) -> Any:
    """The table or list under a name, or at a number of a list."""
    if isinstance(values, list):
        if not name.isdecimal() or int(name) >= len(values):
            raise OverrideError(f"--set {override!r}: {name} is no number from 0 to {len(values) - 1}")
        return values[int(name)]
    found = values.setdefault(name, {})
    if not isinstance(found, (dict, list)):
        raise OverrideError(f"--set {override!r}: {name} is not a section")
    return found
