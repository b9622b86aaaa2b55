"""What a dataset, a teacher and a student are made of: the sections of the recipes, and how they are loaded.

Nothing is run here. `tables` (data beside the recipes) is imported by its module.
"""

from distill.recipe.benchmarks import Suite
from distill.recipe.curation import Decontamination, Duplicates, Preferences, Screens, Selection
from distill.recipe.dataset import Curation, DatasetRecipe
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
from distill.recipe.problems import ProblemSource
from distill.recipe.sampling import Adaptive, Sampling, Teacher
from distill.recipe.section import RecipeError, Section
from distill.recipe.student import Base, Evaluation, StudentRecipe, Training
from distill.recipe.verification import Judge, Majority, Sandbox, Verification

__all__ = [
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
    "Preferences",
    "ProblemSource",
    "RecipeError",
    "Sampling",
    "Sandbox",
    "Screens",
    "Section",
    "Selection",
    "StudentRecipe",
    "Suite",
    "Teacher",
    "TeacherRecipe",
    "Training",
    "Verification",
    "load_both",
    "load_dataset",
    "load_made",
    "load_parts",
    "load_student",
    "load_teacher",
]
