"""Public benchmarks that a recipe may name instead of spelling out: one file each in `configs/benchmarks/`.

Only the column with the question is read of them. Hub ids, subsets, splits and columns are those that
evaluation harnesses load (Open-R1, lighteval, MathArena). No revision is pinned: pin one by spelling the
benchmark out.
"""

from typing import Any

from distill.recipe import tables

FOLDER = "benchmarks"


def named(value: Any) -> Any:
    """The columns of a public benchmark for its name, and anything else as it is; raises ValueError for a
    name that is none."""
    if not isinstance(value, str):
        return value
    if value not in (known := tables.names(FOLDER)):
        raise ValueError(
            f"no benchmark {value!r}; there are: {', '.join(known)} (or spell one out as "
            "[[curation.benchmarks]])"
        )
    return {"name": value, "kind": "open", "reference": "", **tables.read(f"{FOLDER}/{value}.toml")}
