"""The boundary of a row: what judging, measuring or rendering one row raises becomes that row's outcome and
ends no run.

Only `ENDS_RUN` goes through: a broken machine, sandbox, server or recipe is no property of a row. Interrupts
are no `Exception`.
"""

import logging

from distill.engines import EngineError
from distill.recipe import RecipeError
from distill.records import Verdict
from distill.sandbox import SandboxError

ENDS_RUN = (OSError, ImportError, SandboxError, EngineError, RecipeError)
INFRA_ERROR = "infra_error: "
"""How the detail of an `error` starts that says nothing about the answer."""
MESSAGE_CHARACTERS = 300

log = logging.getLogger(__name__)


def told(error: BaseException, row: str) -> str:
    """The detail of a row that raised, `infra_error: <Type>: <message>`; a debug log has the traceback.
    Raises what ends a run."""
    if isinstance(error, ENDS_RUN) or not isinstance(error, Exception):
        raise error
    message = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()[
        :MESSAGE_CHARACTERS
    ]
    log.debug("row %s: %s", row, message, exc_info=error)
    return INFRA_ERROR + message


def verdict(error: BaseException, row: str, verifier: str) -> Verdict:
    """The verdict on a row that raised."""
    return Verdict("error", None, told(error, row), 0.0, verifier)
