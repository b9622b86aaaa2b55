"""How answers are judged: limits, the sandbox, a judge model, a majority."""

from typing import Literal

from pydantic import Field

from distill.recipe.sampling import Teacher
from distill.recipe.section import Section, later, place


class Sandbox(Section):
    """Where programs that a model wrote are run (kinds `code` and `sql`)."""

    timeout_seconds: float = Field(10.0, gt=0)
    """CPU seconds plus seconds asleep of one test; waiting for a free core does not count. LiveCodeBench
    gives 6 wall seconds."""
    memory_mb: int = Field(1024, ge=64)
    """Memory of a program with all its children, and address space of each process."""
    processes: int = Field(16, ge=1)
    """Processes and threads that a program may have at a time."""
    output_mb: int = Field(8, ge=1)
    """Longest output of a program; past that it is stopped."""
    scratch_mb: int = Field(64, ge=1)
    """Size of the folder for temporary files, the only place that a program can write to."""
    python: str = ""
    """Interpreter to run programs with, and its installed packages; empty: this one, with the standard
    library only."""
    tolerance: float | None = later(None, ge=0, lt=1)
    """How far a number may be from an expected one with a decimal point, absolutely or relatively; one with
    more decimal places than the tests have may also differ by half a unit of their last place. None: 1e-6; 0:
    not at all. Integers are always exact."""
    unsafe_local: bool = False
    """Run programs as ordinary child processes when there is no working sandbox. They can then read, send and
    destroy what you can."""


class Judge(Section):
    """A model that is asked whether an answer agrees with the reference (DeepSeek-R1, Listing 4)."""

    model: Teacher
    """The judge, opened like a teacher; DeepSeek-R1 used DeepSeek-V3."""
    fills: tuple[Literal["no_answer", "unparsed_answer"], ...] = ()
    """Outcomes of a rule verifier that the judge may settle. Nothing else of a rule verifier is ever
    overridden."""
    second_opinion: float = Field(0.0, ge=0, le=1)
    """Share of the answers that a rule verifier decided on which the judge is asked too: for the list of
    disagreements only."""
    max_answer_characters: int = Field(16_000, ge=100)
    """Longer answers are shown to the judge without their middle."""
    max_tokens: int = Field(4096, ge=16)
    """Longest reply of the judge, its reasoning included."""


class Majority(Section):
    """Agreement among the traces of a problem that has no reference (OpenMathReasoning: most common answer of
    up to 32)."""

    min_answers: int = Field(4, ge=2)
    """With fewer answers there is no majority."""
    min_share: float = Field(0.5, gt=0, le=1)
    """The most common answer must be given by more than this share of the problem's traces."""


class Verification(Section):
    """How answers are judged."""

    timeout_seconds: float = Field(5.0, gt=0)
    """CPU seconds for one answer; past that the outcome is `timeout`, never `wrong`."""
    memory_mb: int = Field(2048, ge=256)
    """Address space of a verifier process beyond what it holds at its start."""
    max_answer_characters: int = Field(4096, ge=1)
    """Longer extracted answers are `unparsed_answer`: they hang symbolic algebra and are never an answer."""
    sandbox: Sandbox = Sandbox()
    judge: Judge | None = None
    """None: `open` problems are `unverified`, and nobody is asked for a second opinion."""
    majority: Majority | None = None
    """None: problems without a reference are not asked."""
    workers: int | None = place(None, ge=1)
    """Verifier processes, and sandboxes; None: one for each core."""
