"""Runs the model's code as a script: as `__main__`, with standard input and output, to its end or its
exception.

Its traceback goes to standard error without the frames of this file; its file name is that of a real file in
the scratch folder, so that tracebacks show lines and `multiprocessing` can start children.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any, BinaryIO

from . import prelude

SCRIPT = "main.py"


def main(data: dict[str, Any], result: BinaryIO, inbox: int | None, outbox: int | None) -> None:
    """Runs `data["source"]`."""
    source = data["source"]
    path = os.path.join(os.getcwd(), SCRIPT)
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(source)
    sys.argv[:] = [path]
    prelude.install()
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__)
    failure: BaseException | None = None
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - what the box is for
    except SystemExit:
        raise
    except BaseException as error:
        failure = error
    if failure is not None and failure.__traceback__ is not None:
        shown = failure.with_traceback(failure.__traceback__.tb_next)
        sys.excepthook(type(shown), shown, shown.__traceback__)
        sys.exit(1)
