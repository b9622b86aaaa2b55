"""What a folder's key is reduced to, and how two keys differ; and what the store refuses."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FINGERPRINT_CHARACTERS = 12
HASHED_WHOLE_BYTES = 64 << 20
HASHED_SAMPLES = 64
ABSENT = "(absent)"

Key = Mapping[str, Any]


class StoreError(RuntimeError):
    """The store is not in a state to go on from; the message says what to do."""


class Busy(StoreError):
    """Another run holds the folder; the message names its process."""


class NotMade(StoreError):
    """What a stage reads has not been made yet; the message says which command makes it."""


class Damaged(StoreError):
    """A shard does not hold what was written to it."""


def fingerprint(key: Key) -> str:
    """The first 12 hex digits of the SHA-256 of a key's canonical JSON."""
    return digest(json.dumps(key, sort_keys=True, ensure_ascii=False, separators=(",", ":")))[
        :FINGERPRINT_CHARACTERS
    ]


def digest(text: str) -> str:
    """SHA-256 of a text, in hex; lone surrogates are allowed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def slug(name: str) -> str:
    """A name as one safe path component of at most 100 characters."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return cleaned[:100] or "unnamed"


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Dotted paths at which two nested values differ, with short values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: list[str] = []
        for name in sorted(old.keys() | new.keys()):
            found.extend(
                differences(old.get(name, ABSENT), new.get(name, ABSENT), f"{at}.{name}" if at else name)
            )
        return found
    return (
        []
        if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
        else [f"{at} ({_short(old)} -> {_short(new)})"]
    )


def model_identity(model: str, revision: str | None) -> dict[str, Any]:
    """What identifies a model's weights: content hashes of a local folder's files, or hub id and revision.

    Files above 64 MiB are identified by size and 64 stretches of 1 MiB spread over them: training changes
    every layer.
    """
    path = Path(model)
    if not path.is_dir():
        return {"hub": model, "revision": revision}
    return {"files": {file.name: _file_digest(file) for file in sorted(path.iterdir()) if file.is_file()}}


def _file_digest(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= HASHED_WHOLE_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        found = hashlib.sha256(str(size).encode())
        for number in range(HASHED_SAMPLES):
            stream.seek(number * (size - (1 << 20)) // (HASHED_SAMPLES - 1))
            found.update(stream.read(1 << 20))
        return found.hexdigest()[:16]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
