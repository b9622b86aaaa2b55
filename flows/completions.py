"""What a model was paid for, kept in one file for all runs that ask it the same way."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.engines import Completions
from distill.store import Folder, folders
from distill.store.paths import is_elsewhere


@contextmanager
def completions_of(folder: Folder) -> Iterator[Completions]:
    """The completions of a folder, on this machine even when the store is elsewhere, shared with other runs.

    Journals in which an older version kept completions of the same settings are taken over, and stay.
    """
    root = folders.LOCAL if is_elsewhere(folder.path) else Path(folders.ROOT)
    path = root / folder.stage / folder.path.rsplit("/", 1)[1]
    folder.keep_key(str(path))
    with Completions(path / "completions.sqlite") as found:
        for key in sorted((root / folder.stage.replace("completions", "journals")).glob("*/key.json")):
            former = _read(key) or {}
            if {name: former[name] for name in former if name not in ("problems", "order")} == folder.key:
                found.budgets(_read(key.with_name("budgets.json")) or ())
                for journal in sorted(key.parent.glob("*.journal")):
                    found.adopt(journal)
        yield found


def _read(path: Path) -> Any:
    """What a JSON file holds; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
