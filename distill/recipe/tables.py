"""Tables of `configs/` that are no recipes and go stale: GPUs and prices, shapes of models, public
benchmarks.

A folder of one's own in DISTILL_CONFIGS may leave a table out, and a table of one's own holds only the rows
that are added or differ.
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


def read(name: str) -> dict[str, Any]:
    """A whole table by its path under `configs/`; raises RecipeError where it is missing or no TOML."""
    return _read(_path(name))


def section(name: str, key: str) -> dict[str, Any]:
    """One section of a table: the shipped rows, and one's own beside or in place of them."""
    shipped = _read(SHIPPED / name) if (SHIPPED / name).is_file() else {}  # a wheel has no configs
    return {**shipped.get(key, {}), **read(name).get(key, {})}


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


@cache
def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"no table {path}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error
