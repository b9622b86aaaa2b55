"""One dataset: problems, teacher, sampling, verification and curation.

`configs/datasets/*.toml` are sparse; the defaults and their sources are in the modules of the sections. A
field declared with `place()` says where or how fast a stage runs. Recipes hold the *names* of environment
variables, never a secret.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field

from distill.recipe.benchmarks import kept_out
from distill.recipe.curation import Decontamination, Duplicates, Preferences, Screens, Selection
from distill.recipe.problems import ProblemSource as ProblemSource
from distill.recipe.sampling import Adaptive as Adaptive
from distill.recipe.sampling import Sampling as Sampling
from distill.recipe.sampling import Teacher as Teacher
from distill.recipe.section import Section
from distill.recipe.student import Base as Base
from distill.recipe.student import Evaluation as Evaluation
from distill.recipe.student import StudentRecipe as StudentRecipe
from distill.recipe.student import Training as Training
from distill.recipe.tables import CONFIGS as CONFIGS
from distill.recipe.verification import Judge as Judge
from distill.recipe.verification import Majority as Majority
from distill.recipe.verification import Sandbox as Sandbox
from distill.recipe.verification import Verification as Verification


class Curation(Section):
    """From candidates to the dataset."""

    screens: Screens = Screens()
    duplicates: Duplicates = Duplicates()
    selection: Selection = Selection()
    decontamination: Decontamination = Decontamination()
    benchmarks: Annotated[tuple[ProblemSource, ...], BeforeValidator(kept_out)] = ()
    """Held-out problems, spelt out or public ones by name (`"aime24"`): what asks or quotes one of theirs is
    `contaminated`."""
    preferences: Preferences | None = None
    """None: no preference pairs are written."""


class DatasetRecipe(Section):
    """Problems, teacher, sampling, verification and curation: one reusable dataset."""

    name: str
    description: str
    """What it is and which published numbers it takes from where."""
    problems: tuple[ProblemSource, ...] = Field(min_length=1)
    teacher: Teacher
    sampling: Sampling = Sampling()
    verification: Verification = Verification()
    curation: Curation = Curation()
    shard_problems: int = Field(256, ge=1)
    """Problems in one shard: the unit of a task, of a retry and of what a kill costs in bookkeeping."""
