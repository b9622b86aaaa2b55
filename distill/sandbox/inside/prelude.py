"""The names that public judges put before an answer: usual modules of the standard library, and what answers
take from them.

They are built-in names here, so the answer may define any of them anew, and none of them is taken for
something that the answer has defined: the function under test is never found here. Built-in names of Python's
own keep their meaning.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from typing import Any

MODULES = (
    "bisect collections copy datetime decimal fractions functools heapq io itertools json math operator os "
    "random re statistics string sys time typing"
)
"""Modules under their own names; all are preloaded."""
ALL_OF = "statistics random operator copy string math bisect heapq itertools functools collections typing"
"""Modules whose public names are there too; a later one wins over an earlier one."""
SOME_OF = {
    "datetime": ("date", "timedelta"),
    "decimal": ("Decimal", "getcontext"),
    "fractions": ("Fraction",),
    "io": ("BytesIO", "StringIO"),
    "sys": ("maxsize", "setrecursionlimit", "stdin", "stdout"),
    "dataclasses": ("dataclass", "field"),
    "enum": ("Enum",),
}
_KEPT = frozenset(vars(builtins))
_NAMES: dict[str, Any] = {}


def collect() -> None:
    """Looks the names up, once, in the process that is forked."""
    for module in ALL_OF.split():
        found = vars(importlib.import_module(module))
        public = found.get("__all__") or [name for name in found if not name.startswith("_")]
        _NAMES.update((name, found[name]) for name in public)
    for module, names in SOME_OF.items():
        found = vars(importlib.import_module(module))
        _NAMES.update((name, found[name]) for name in names)
    _NAMES.update((module, importlib.import_module(module)) for module in MODULES.split())
    for name in _KEPT & set(_NAMES):
        del _NAMES[name]


def install() -> None:
    """Makes the names built-in ones, and lets integers of any length be printed."""
    vars(builtins).update(_NAMES, stdin=sys.stdin, stdout=sys.stdout)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
