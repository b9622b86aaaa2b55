"""When an evaluated student is promoted: rules for each benchmark, none for their average."""

from typing import Literal

from pydantic import Field

from distill.recipe.section import Section


class Decision(Section):
    """Every rule has to hold, against each model that is named; one that does not ends in `hold`."""

    against: tuple[Literal["base", "previous"], ...] = ("base", "previous")
    """What the student has to beat: its base, the student that was promoted before, or both. Without a
    previous student the base alone counts."""
    gain: int = Field(1, ge=0)
    """Targets that must be better beyond chance (two-sided 5 %, Holm's correction over all targets). Besides,
    no target may be worse beyond chance. 0: a student that is no worse will do."""
    margin: float | None = Field(2.0, ge=0)
    """No suite may be worse by more than so many points. It fails where that is likely: with `confidence`.
    None: no such rule."""
    confidence: float = Field(0.8, gt=0.5, lt=1)
    """One-sided, of `margin`. At 0.95 a suite of 30 problems never fails; at 0.5 every second equal student
    fails on it."""
    max_truncated: float | None = Field(0.2, ge=0, le=1)
    """Share of a suite's completions that may be cut at `max_tokens`. None: any."""
    max_language_mixing: float | None = Field(0.05, ge=0, le=1)
    """Share whose thinking may be less than nine tenths in the problem's language."""
    max_no_answer: float | None = Field(0.2, ge=0, le=1)
    """Share without an answer, those that were cut included."""
