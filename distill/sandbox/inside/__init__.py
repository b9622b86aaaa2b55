"""What runs inside the box: standard library only, Python 3.8 and later, and nothing of the rest of this
package.

These files are handed to the box as text and imported there as `inside.<name>`; they import each other
relatively. This file is the first code that runs there: `box.py` appends a call of `start` to it and gives
both to the interpreter on its standard input. No file of the project is ever visible in the box.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from typing import Any, cast


class Handed:
    """Imports `inside` and `inside.<name>` from a dict of sources."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.sources:
            return None
        return importlib.machinery.ModuleSpec(name, cast(Any, self), is_package=name == "inside")

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self.sources[module.__name__], module.__name__, "exec"), vars(module))  # noqa: S102 - sources of ours


def start(sources: dict[str, str], settings: dict[str, Any]) -> None:
    """Serves the parent until it is gone."""
    sys.path[:] = [folder for folder in sys.path if folder]  # never the current folder
    sys.meta_path.insert(0, Handed(sources))
    importlib.import_module("inside.fork_server").serve(settings)
