"""What a dataset, a teacher and a student are made of: the sections of the recipes, and how they are loaded.

Nothing is run here. `tables` has the data beside the recipes.
"""

from distill.recipe.benchmarks import Suite
from distill.recipe.curation import Decontamination, Duplicates, Preferences, Screens, Selection
from distill.recipe.dataset import CONFIGS, Curation, DatasetRecipe
from distill.recipe.decision import Decision
from distill.recipe.load import (
    TeacherRecipe,
    load_both,
    load_dataset,
    load_made,
    load_parts,
    load_student,
    load_teacher,
)
from distill.recipe.problems import ProblemSource, names_in
from distill.recipe.sampling import Adaptive, Sampling, Teacher
from distill.recipe.section import RecipeError, Section
from distill.recipe.serving import Serving
from distill.recipe.student import Base, Evaluation, Opened, StudentRecipe, Training
from distill.recipe.verification import Judge, Majority, Sandbox, Verification

__all__ = [
    "CONFIGS",
    "Adaptive",
    "Base",
    "Curation",
    "DatasetRecipe",
    "Decision",
    "Decontamination",
    "Duplicates",
    "Evaluation",
    "Judge",
    "Majority",
    "Opened",
    "Preferences",
    "ProblemSource",
    "RecipeError",
    "Sampling",
    "Sandbox",
    "Screens",
    "Section",
    "Selection",
    "Serving",
    "StudentRecipe",
    "Suite",
    "Teacher",
    "TeacherRecipe",
    "Training",
    "Verification",
    "load",
    "load_both",
    "load_dataset",
    "load_made",
    "load_parts",
    "load_student",
    "load_teacher",
    "names_in",
    "tables",
]
