"""Recipe files: a name in `configs/`, or a path, becomes a validated recipe, with `--set section.key=value` put into it.

A key that no section has, a value of the wrong type and a section that is not there are a `RecipeError` that says which.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from distill.recipe import CONFIGS, Curation, DatasetRecipe, StudentRecipe, Verification
from distill.section import RecipeError, Section

S = TypeVar("S", bound=Section)


def load_dataset(name: str, overrides: tuple[str, ...] = ()) -> DatasetRecipe:
    """The dataset recipe of a name in `configs/datasets/` or of a TOML file, with `a.b=value` overrides."""
    return _load(DatasetRecipe, "datasets", name, overrides)


def load_student(name: str, overrides: tuple[str, ...] = ()) -> StudentRecipe:
    """The student recipe of a name in `configs/students/` or of a TOML file, with `a.b=value` overrides."""
    return _load(StudentRecipe, "students", name, overrides)


def load_parts(overrides: tuple[str, ...] = ()) -> tuple[Verification, Curation]:
    """How to judge and to curate anybody's traces: the defaults, with `verification.` and `curation.` overrides."""
    values: dict[str, Any] = {}
    for override in overrides:
        if _section(override) not in ("verification", "curation"):
            raise RecipeError(f"--set {override}: files are judged and curated only; sections are verification, curation")
    _override(values, overrides)
    verification = _validated(Verification, values.get("verification", {}), "--set verification")
    return verification, _validated(Curation, values.get("curation", {}), "--set curation")


def load_made(folder: str, overrides: tuple[str, ...] = ()) -> tuple[Curation, DatasetRecipe | None]:
    """What a dataset folder was made with, its recipe where there was one, with `curation.` overrides for another cut."""
    for override in overrides:
        if _section(override) != "curation":
            raise RecipeError(f"--set {override}: a dataset is cut again from what was measured; the only section is curation")
    values = {"curation": json.loads(Path(folder, "curation.json").read_text(encoding="utf-8"))["curation"]}
    _override(values, overrides)
    curation, recipe = _validated(Curation, values["curation"], "--set curation"), Path(folder, "recipe.json")
    if not recipe.is_file():
        return curation, None
    made = _validated(DatasetRecipe, json.loads(recipe.read_text(encoding="utf-8")), str(recipe))
    return curation, made.model_copy(update={"curation": curation})


def names(family: str) -> list[str]:
    """Names of the shipped recipes of a family (`"datasets"` or `"students"`)."""
    return sorted(path.stem for path in (CONFIGS / family).glob("*.toml"))


def load_both(student: str, dataset: str | None = None, overrides: tuple[str, ...] = ()) -> tuple[StudentRecipe, DatasetRecipe]:
    """A student and the dataset that it asks for, or another one, each with its part of the overrides."""
    for_dataset, for_student = split_overrides(overrides)
    recipe = load_student(student, for_student)
    return recipe, load_dataset(dataset or recipe.dataset, for_dataset)


def split_overrides(overrides: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Overrides for the dataset and for the student, by the top-level section that each one names."""
    dataset = tuple(o for o in overrides if _section(o) in DatasetRecipe.model_fields and _section(o) not in StudentRecipe.model_fields)
    student = tuple(o for o in overrides if _section(o) in StudentRecipe.model_fields)
    for override in overrides:
        if override not in dataset and override not in student:
            known = ", ".join(sorted(DatasetRecipe.model_fields | StudentRecipe.model_fields))
            raise RecipeError(f"--set {override}: no section {_section(override)!r}; sections are {known}")
    return dataset, student


def _load(model: type[S], family: str, name: str, overrides: tuple[str, ...]) -> S:
    path = Path(name) if name.endswith(".toml") else CONFIGS / family / f"{name}.toml"
    if not path.is_file():
        raise RecipeError(f"no {family[:-1]} {name!r}; there are: {', '.join(names(family))} (or give the path of a .toml file)")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}") from error
    values.setdefault("name", path.stem)
    _override(values, overrides)
    return _validated(model, values, str(path))


def _override(values: dict[str, Any], overrides: tuple[str, ...]) -> None:
    for override in overrides:
        _apply(values, override)


def _validated(model: type[S], values: dict[str, Any], where: str) -> S:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors())
        raise RecipeError(f"{where}: {problems}") from error


def _section(override: str) -> str:
    """The top-level section that an override names."""
    return override.split("=", 1)[0].split(".")[0]


def _apply(values: dict[str, Any], override: str) -> None:
    """Puts `a.b=value` into nested tables; the value is TOML, or text when it is not."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {override!r}: write it as section.key=value")
    *parents, last = key.split(".")
    inside: Any = values
    for parent in parents:
        inside = _inside(inside, parent, override)
    if not isinstance(inside, dict):
        raise RecipeError(f"--set {override!r}: {'.'.join(parents)} is a list; name one of its parts, such as {parents[-1]}.0.{last}")
    try:
        inside[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        inside[last] = text


def _inside(values: Any, name: str, override: str) -> Any:
    """The table or list under a name, or at a number of a list."""
    if isinstance(values, list):
        if not name.isdecimal() or int(name) >= len(values):
            raise RecipeError(f"--set {override!r}: {name} is no number from 0 to {len(values) - 1}")
        return values[int(name)]
    if values.get(name) is None:  # absent, or switched off in what a dataset was made with
        values[name] = {}
    found = values[name]
    if not isinstance(found, (dict, list)):
        raise RecipeError(f"--set {override!r}: {name} is not a section")
    return found
