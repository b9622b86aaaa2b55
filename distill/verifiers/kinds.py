"""The table of kinds: all that other modules ask about a kind of problem. A new verifier is one module and
one row."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from distill.recipe import Verification
from distill.records import Problem, Verdict
from distill.verifiers import choice, code, logic, math, sql

Pending = Verdict | Future[Verdict]
Column = Literal["reference", "tests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How answers of one kind are judged, and what follows from it."""

    typical_tokens: int
    """Mean tokens of R1's traces in the domain (DeepSeek-R1 paper, Table 5); shorter problems make shorter
    traces."""
    judge: Callable[[Problem, str, Verification], Pending] | None = None
    """The verdict on an answer; None where no rule settles it."""
    judge_reference: Callable[[Problem, Verification], Verdict] | None = None
    """The verdict on the problem's own reference."""
    version: str = "none"
    needs: tuple[Column, ...] = ("reference",)
    """What a problem is judged by. A majority, where one is asked for, takes the place of a reference."""
    runs_program: bool = False
    """Whether the answer is run in the sandbox: no opinion can settle it."""
    final_box: bool = False
    """Whether the prompt asks for one short answer in a box: such answers are compared with each other."""


def _by(verifier: Any, **facts: Any) -> Rules:
    """The rules of a kind that a module settles."""
    judges = {"judge": verifier.judge, "judge_reference": verifier.judge_reference}
    return Rules(version=verifier.VERSION, **judges, **facts)


KINDS: dict[str, Rules] = {
    "math": _by(math, final_box=True, typical_tokens=6094),
    "code": _by(code, needs=("tests",), runs_program=True, typical_tokens=7436),
    "choice": _by(choice, final_box=True, typical_tokens=4929),
    "sql": _by(sql, needs=("reference", "tests"), runs_program=True, typical_tokens=4929),
    "logic": _by(logic, final_box=True, typical_tokens=2739),
    "open": Rules(needs=(), typical_tokens=1420),
}


def rules(kind: str) -> Rules:
    """The rules of a kind; those of `open` for a name that the table does not have."""
    return KINDS.get(kind) or KINDS["open"]
