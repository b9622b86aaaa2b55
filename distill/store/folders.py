"""The store: folders named by what made them, and the only truth about what is done.

    data/store/<room>/<name>-<fingerprint>/      key.json, then what the room makes

`room` is problems, traces, verdicts, datasets, students or evaluations. A fingerprint is the hash of
everything that decides the content: recipe section, record schema, code version of what decides, and the
fingerprint upstream. Reuse is a look-up by that key; a miss can be explained, because the key itself is
stored beside what it made. The root is a folder or any fsspec URL. Locks are files of this machine and guard
against its own processes only: two machines that make the same folder of one store do the work twice, and the
last one to finish a shard wins.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.progress import say
from distill.records import ADDED
from distill.store import schema, shards
from distill.store.remote import answering, filesystem, is_elsewhere

ROOT = os.environ.get("DISTILL_STORE", str(Path(__file__).parents[2] / "data" / "store"))
FINGERPRINT_CHARACTERS = 12
HASHED_WHOLE_BYTES = 64 << 20
HASHED_SAMPLES = 64
ABSENT = "(absent)"
WAITING_SECONDS = 0.1

Key = Mapping[str, Any]


class StoreError(RuntimeError):
    """The store is not in a state to go on from; the message says what to do."""


class Busy(StoreError):
    """Another run holds the folder; the message names its process."""


class NotMade(StoreError):
    """A room upstream has not been made yet; the message says which command makes it."""


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


def schema_digest(record: type) -> str:
    """A short hash of a record's Arrow schema without the columns in `ADDED`, so that a changed record is a
    changed key."""
    found = schema.schema(record)
    for name in ADDED.intersection(found.names):
        found = found.remove(found.get_field_index(name))
    return digest(str(found))[:8]


def slug(name: str) -> str:
    """A name as one safe path component of at most 100 characters."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return cleaned[:100] or "unnamed"


def folder(room: str, name: str, key: Key) -> str:
    """The folder of a key, made with its `key.json` when it is not there yet."""
    path = path_of(room, name, key)
    stored = f"{path}/key.json"
    if not shards.exists(stored):
        shards.write_text(stored, json.dumps(key, indent=1, sort_keys=True, ensure_ascii=False))
    return path


def path_of(room: str, name: str, key: Key) -> str:
    """Where the folder of a key is or would be."""
    return f"{ROOT}/{room}/{slug(name)}-{fingerprint(key)}"


def explain_miss(room: str, name: str, key: Key) -> str:
    """Which parts of the key differ from the nearest stored folder of the same name; empty when there is
    none."""
    nearest: list[str] | None = None
    path = ""
    for candidate in _siblings(room, name):
        differing = differences(json.loads(shards.read_text(f"{candidate}/key.json")), key)
        if differing and (nearest is None or len(differing) < len(nearest)):
            nearest, path = differing, candidate
    if nearest is None:
        return ""
    return (
        f"{path.rsplit('/', 1)[1]} differs in {', '.join(nearest[:6])}{', ...' if len(nearest) > 6 else ''}"
    )


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


def write_record(path: str, record: Any) -> None:
    """Writes a Checkpoint or Report as JSON, whole or not at all."""
    shards.write_text(path, json.dumps(asdict(record), indent=1, ensure_ascii=False))


@contextmanager
def locked(path: str, waits: str = "") -> Iterator[None]:
    """Holds a folder of this machine against a second run, and one elsewhere not at all; raises Busy with the
    other's pid.

    With a name for what the folder holds, waits for the other run instead, and says so once.
    """
    if is_elsewhere(path):
        yield
        return
    Path(path).mkdir(parents=True, exist_ok=True)
    with open(Path(path) / ".lock", "a+", encoding="ascii") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "?"
                if not waits:
                    raise Busy(f"{path} is in use by process {holder}; wait for it or stop it") from error
            if not told:
                say(f"waiting for process {holder}, which makes {waits}")
                told = True
            time.sleep(WAITING_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _siblings(room: str, name: str) -> Iterator[str]:
    files, root = filesystem(f"{ROOT}/{room}")
    with answering(ROOT):
        found = (
            files.glob(f"{root}/{slug(name)}-{'[0-9a-f]' * FINGERPRINT_CHARACTERS}/key.json")
            if files.isdir(root)
            else []
        )
    for path in sorted(found):
        yield f"{ROOT}/{room}/{path.rsplit('/', 2)[1]}"


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
