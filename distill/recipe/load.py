"""Recipe files: a name in `configs/`, or a path, becomes a validated recipe, with `--set section.key=value`
put into it.

A dataset names its teacher (`teacher = "qwq-32b"`), spells it out (`[teacher]`), or does both (`like =
"qwq-32b"` and what differs). What a teacher's file says about sampling lies under the dataset's own
`[sampling]`; of all that, a loaded recipe keeps the values only. A key that no section has, a value of the
wrong type and a section that is not there are a `RecipeError` that says which.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distill.recipe.dataset import (
    CONFIGS,
    Curation,
    DatasetRecipe,
    Sampling,
    StudentRecipe,
    Teacher,
    Verification,
)
from distill.recipe.section import RecipeError, Section

S = TypeVar("S", bound=Section)
CHOICES = ("teacher", "teacher.like")
"""Overrides that choose a teacher: they come first, so that others change what was chosen."""
WANTED = {
    "tuple_type": "should be a list",
    "model_type": "should be a section",
    "dict_type": "should be a section",
}
TEMPLATE_FILE = re.compile(r"(?P<path>.+\.(?:txt|jinja))(?P<variant>@problem)?")
"""A template of one's own, as `prompts` and `chat_template` read it."""


class TeacherRecipe(Section):
    """A teacher, how it is reached, and the sampling that its makers advise."""

    name: str
    description: str
    """What it is, what it takes to serve it, and which published numbers it takes from where."""
    teacher: Teacher
    sampling: Sampling = Sampling()
    """What a dataset that names this teacher samples with where it says nothing itself."""


def load_dataset(name: str, overrides: tuple[str, ...] = ()) -> DatasetRecipe:
    """The dataset recipe of a name in `configs/datasets/` or of a TOML file, with `a.b=value` overrides."""
    chosen = tuple(override for override in overrides if override.partition("=")[0] in CHOICES)
    path, values = _read("datasets", name)
    _override(values, chosen)
    values = _with_teacher(values, path, named=f"{path}: teacher: " if not chosen else "")
    _override(values, tuple(override for override in overrides if override not in chosen))
    values = _with_template(values, "sampling", "prompt", path)
    return _validated(DatasetRecipe, _with_benchmarks(values, "curation", ("benchmarks",), path), str(path))


def load_teacher(name: str) -> TeacherRecipe:
    """The teacher of a name in `configs/teachers/` or of a TOML file."""
    path, values = _read("teachers", name)
    return _validated(TeacherRecipe, values, str(path))


def load_student(name: str, overrides: tuple[str, ...] = ()) -> StudentRecipe:
    """The student recipe of a name in `configs/students/` or of a TOML file, with `a.b=value` overrides."""
    path, values = _read("students", name)
    _override(values, overrides)
    values = _with_template(
        _with_template(values, "evaluation", "prompt", path), "base", "chat_template", path
    )
    values = _with_benchmarks(values, "evaluation", ("targets", "regressions"), path)
    return _validated(StudentRecipe, values, str(path))


def only_suites(recipe: StudentRecipe, names: Sequence[str]) -> StudentRecipe:
    """A student that is scored on some suites alone: its own by name, or other benchmarks."""
    try:
        return recipe.model_copy(update={"evaluation": recipe.evaluation.only(names)})
    except ValidationError as error:
        raise RecipeError(f"--suites: {'; '.join(_said(one) for one in error.errors())}") from error


def load_parts(overrides: tuple[str, ...] = ()) -> tuple[Verification, Curation]:
    """How to judge and to curate anybody's traces: the defaults, with `verification.` and `curation.`
    overrides."""
    values: dict[str, Any] = {}
    for override in overrides:
        if _section(override) not in ("verification", "curation"):
            raise RecipeError(
                f"--set {override}: files are judged and curated only; sections are verification, curation"
            )
    _override(values, overrides)
    verification = _validated(Verification, values.get("verification", {}), "--set verification")
    return verification, _validated(Curation, values.get("curation", {}), "--set curation")


def load_made(folder: str, overrides: tuple[str, ...] = ()) -> tuple[Curation, DatasetRecipe | None]:
    """What a dataset folder was made with, its recipe where there was one, with `curation.` overrides for
    another cut."""
    for override in overrides:
        if _section(override) != "curation":
            raise RecipeError(
                f"--set {override}: a dataset is cut again from what was measured; the only section is "
                "curation"
            )
    values = {"curation": json.loads(Path(folder, "curation.json").read_text(encoding="utf-8"))["curation"]}
    _override(values, overrides)
    curation, recipe = _validated(Curation, values["curation"], "--set curation"), Path(folder, "recipe.json")
    if not recipe.is_file():
        return curation, None
    made = _validated(DatasetRecipe, json.loads(recipe.read_text(encoding="utf-8")), str(recipe))
    return curation, made.model_copy(update={"curation": curation})


def names(family: str) -> list[str]:
    """Names of the shipped recipes of a family (`"datasets"`, `"students"` or `"teachers"`)."""
    return sorted(path.stem for path in (CONFIGS / family).glob("*.toml"))


def load_both(
    student: str, dataset: str | None = None, overrides: tuple[str, ...] = ()
) -> tuple[StudentRecipe, DatasetRecipe]:
    """A student and the dataset that it asks for, or another one, each with its part of the overrides."""
    for_dataset, for_student = split_overrides(overrides)
    recipe = load_student(student, for_student)
    return recipe, load_dataset(dataset or recipe.dataset, for_dataset)


def split_overrides(overrides: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Overrides for the dataset and for the student, by the top-level section that each one names."""
    dataset = tuple(
        o
        for o in overrides
        if _section(o) in DatasetRecipe.model_fields and _section(o) not in StudentRecipe.model_fields
    )
    student = tuple(o for o in overrides if _section(o) in StudentRecipe.model_fields)
    for override in overrides:
        if override not in dataset and override not in student:
            known = ", ".join(sorted(DatasetRecipe.model_fields | StudentRecipe.model_fields))
            raise RecipeError(f"--set {override}: no section {_section(override)!r}; sections are {known}")
    return dataset, student


def _read(family: str, name: str, beside: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """The path and the values of a recipe file; a path may be relative to the folder of the file that names
    it."""
    path = _found(name, beside) if name.endswith(".toml") else CONFIGS / family / f"{name}.toml"
    if not path.is_file():
        raise RecipeError(
            f"no {family[:-1]} {name!r}; there are: {', '.join(names(family))} (or give the path of a .toml "
            "file)"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    values.setdefault("name", path.stem)
    return path, values


def _found(name: str, beside: Path | None) -> Path:
    """A path as it is given, or beside the file that names it when it is only there."""
    path = Path(name).expanduser()
    return (
        path
        if beside is None or path.exists() or not (beside.parent / path).exists()
        else beside.parent / path
    )


def _with_teacher(values: dict[str, Any], path: Path, named: str) -> dict[str, Any]:
    """A dataset's values with the teacher that it names spelt out, and that teacher's sampling under its own;
    `named` opens errors."""
    asked = values.get("teacher")
    own: dict[str, Any] = (
        {"like": asked} if isinstance(asked, str) else dict(asked) if isinstance(asked, dict) else {}
    )
    if "like" not in own:
        return values
    name, sampling = own.pop("like"), values.get("sampling", {})
    if not isinstance(name, str) or not isinstance(sampling, dict):
        raise RecipeError(f"{path}: teacher.like is the name of a teacher, and sampling a section")
    try:
        where, found = _read("teachers", name, path)
        _validated(TeacherRecipe, found, str(where))
    except RecipeError as error:
        raise RecipeError(f"{named}{error}") from error
    return values | {"teacher": found["teacher"] | own, "sampling": found.get("sampling", {}) | sampling}


def _with_template(values: dict[str, Any], section: str, key: str, path: Path) -> dict[str, Any]:
    """A recipe's values with the path of a template of one's own made absolute: stages may run in another
    folder."""
    named = values[section].get(key) if isinstance(values.get(section), dict) else None
    file = TEMPLATE_FILE.fullmatch(named) if isinstance(named, str) else None
    if file is None:
        return values
    absolute = f"{_found(file['path'], path).absolute()}{file['variant'] or ''}"
    return values | {section: values[section] | {key: absolute}}


def _with_benchmarks(
    values: dict[str, Any], section: str, keys: tuple[str, ...], path: Path
) -> dict[str, Any]:
    """A recipe's values with the paths of benchmarks of one's own as they are found: as given, or beside the
    recipe."""

    def found(one: Any) -> Any:
        if isinstance(one, dict) and "like" in one:
            return one | {"like": found(one["like"])}
        return str(_found(one, path).absolute()) if isinstance(one, str) and one.endswith(".toml") else one

    inside = values.get(section)
    if not isinstance(inside, dict):
        return values
    named = {key: [found(one) for one in inside[key]] for key in keys if isinstance(inside.get(key), list)}
    return values | {section: inside | named}


def _override(values: dict[str, Any], overrides: tuple[str, ...]) -> None:
    for override in overrides:
        _apply(values, override)


def _validated(model: type[S], values: dict[str, Any], where: str) -> S:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {_said(one)}" for one in error.errors())
        raise RecipeError(f"{where}: {problems}") from error


def _said(error: ErrorDetails) -> str:
    """What is wrong with a value, in words of a recipe file where pydantic speaks of Python's types."""
    return WANTED.get(error["type"], error["msg"].removeprefix("Value error, "))


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
        raise RecipeError(
            f"--set {override!r}: {'.'.join(parents)} is a list; name one of its parts, such as "
            f"{parents[-1]}.0.{last}"
        )
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
