"""Tables of `configs/` that are no recipes and go stale: GPUs and prices, shapes of models, public
benchmarks.

A folder of one's own in DISTILL_CONFIGS may leave a table out: then the shipped one is read.
"""

import os
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from distill.recipe.section import RecipeError

R = TypeVar("R")

SHIPPED = Path(__file__).parents[2] / "configs"
CONFIGS = Path(os.environ.get("DISTILL_CONFIGS", SHIPPED))


@cache
def read(name: str) -> dict[str, Any]:
    """A table by its path under `configs/`, read once; raises RecipeError where it is missing or no TOML."""
    path = _path(name)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"no table {path}: DISTILL_CONFIGS names a folder like the project's configs/") from error
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error


def section(name: str, key: str) -> dict[str, Any]:
    """One section of a table; raises RecipeError where there is none."""
    if not isinstance(found := read(name).get(key), dict):
        raise RecipeError(f"{_path(name)}: no section [{key}]; the one in {SHIPPED / name} shows what belongs there")
    return found


def records(name: str, key: str, make: Callable[..., R]) -> dict[str, R]:
    """The rows of one section as records by name; raises RecipeError that names a row with wrong keys."""
    found: dict[str, R] = {}
    for row, values in section(name, key).items():
        try:
            found[row] = make(**values)
        except TypeError as error:
            raise RecipeError(f"{_path(name)}: {key}.{row}: {error}") from error
    return found


def names(folder: str) -> list[str]:
    """The names of a folder's tables, shipped and one's own."""
    return sorted({path.stem for configs in (SHIPPED, CONFIGS) for path in (configs / folder).glob("*.toml")})


def _path(name: str) -> Path:
    return CONFIGS / name if (CONFIGS / name).is_file() else SHIPPED / name
