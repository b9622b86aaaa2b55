"""What every room's flow does around its tasks: say what is reused, find what is missing, and close the
folder.

A folder is finished when `made.json` is there and so is every shard that it counts; that file is written
last. A shard that fails its checksums is set aside, so that the next run makes it anew and leaves the others
alone.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from prefect.cache_policies import NO_CACHE

import flows
from distill.engines import Completions
from distill.progress import say
from distill.store import folders, shards
from distill.store.digest import digest
from distill.store.folders import Damaged, NotMade
from distill.store.remote import filesystem, is_elsewhere
from flows.identity import Place

TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
FLOW: dict[str, Any] = {"persist_result": False}
SUMMARY = "made.json"

R = TypeVar("R")


def made(place: Place) -> dict[str, Any] | None:
    """The summary of a finished folder, or None when it is missing or lacks a shard."""
    path = f"{place.path}/{SUMMARY}"
    if not shards.exists(path):
        return None
    summary: dict[str, Any] = json.loads(shards.read_text(path))
    return summary if all(shards.exists(f"{place.path}/{name}") for name in summary["shards"]) else None


def needed(place: Place, command: str) -> dict[str, Any]:
    """The summary of a finished folder; raises NotMade with the command that makes it."""
    summary = made(place)
    if summary is None:
        raise NotMade(f"{place.label} is not made yet: run `{command}` first, with the same options")
    return summary


def reused(place: Place, what: str) -> dict[str, Any] | None:
    """The summary of a folder that can be reused, said aloud; else None, with why not."""
    summary = made(place)
    if summary is not None:
        say(f"reused {place.label}: {what}", reused=place.label)
    elif not shards.exists(f"{place.path}/key.json") and (
        cause := folders.explain_miss(place.room, place.name, place.key)
    ):
        say(f"making {place.label}: {cause}")
    else:
        say(f"making {place.label}")
    return summary


@contextmanager
def making(place: Place, what: str = "") -> Iterator[str | None]:
    """The folder of a place, held against other runs while the block lasts; another run that makes it is
    waited for.

    None when the folder is finished by then: it is reused, and that is said, with `what` it saves.
    """
    lock = (
        str(flows.LOCAL / "locks" / place.path.replace("://", "/"))
        if is_elsewhere(place.path)
        else place.path
    )
    with folders.locked(lock, waits=place.label):
        if made(place) is not None:
            say(f"reused {place.label}: {what}", reused=place.label)
            yield None
            return
        for torn in Path(place.path).rglob(
            ".*.tmp"
        ):  # of a killed run: whoever wrote it does not hold the lock any more
            if torn.is_file():
                torn.unlink()
        yield folders.folder(place.room, place.name, place.key)


@contextmanager
def completions(place: Place, former: str) -> Iterator[Completions]:
    """The completions of a place, on this machine even when the store is elsewhere, shared with other runs.

    `former` is the folder of journals in which an older version kept them: those of the same settings are
    taken over, and stay.
    """
    root = flows.LOCAL if is_elsewhere(place.path) else Path(folders.ROOT)
    path = root / place.room / place.path.rsplit("/", 1)[1]
    if not (path / "key.json").exists():
        shards.write_text(
            f"{path}/key.json", json.dumps(place.key, indent=1, sort_keys=True, ensure_ascii=False)
        )
    with Completions(path / "completions.sqlite") as found:
        for key in sorted((root / former).glob("*/key.json")):
            if _settings(_read(key)) == place.key:
                found.budgets(_read(key.with_name("budgets.json")) or ())
                for journal in sorted(key.parent.glob("*.journal")):
                    found.adopt(journal)
        yield found


def _settings(key: Any) -> Any:
    """What the completions of a folder of journals were drawn with, whatever was asked; None where its key
    cannot be read."""
    return (
        None
        if key is None
        else {name: value for name, value in key.items() if name not in ("problems", "order")}
    )


def _read(path: Path) -> Any:
    """What a JSON file holds; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def finish(place: Place, paths: Sequence[str], digest: bool = False, **more: Any) -> dict[str, Any]:
    """Counts the rows of a folder's shards and writes its summary, with a digest of all rows where one is
    asked for."""
    names = {path.removeprefix(f"{place.path}/"): count(path) for path in paths}
    summary = {"rows": sum(names.values()), "shards": names, **more}
    if digest:
        summary["content"] = content(paths)
    shards.write_text(f"{place.path}/{SUMMARY}", json.dumps(summary, indent=1, ensure_ascii=False))
    return summary


def content(paths: Sequence[str]) -> str:
    """SHA-256 over all rows of some shards in order, 16 hex digits: how they are cut into files is no part of
    it."""
    return digest(table for path in paths for table in read_tables(path))


def shard_paths(place: Place, summary: dict[str, Any], folder: str = "") -> list[str]:
    """Paths of a finished folder's shards, in order; those in one sub-folder when it is named."""
    return [f"{place.path}/{name}" for name in sorted(summary["shards"]) if name.startswith(folder)]


def missing(sources: Sequence[str], folder: str) -> list[tuple[str, str]]:
    """(source, target) of every shard that is not in a folder yet; a shard keeps its name from room to
    room."""
    targets = [(source, f"{folder}/{source.rsplit('/', 1)[1]}") for source in sources]
    return [(source, target) for source, target in targets if not shards.exists(target)]


def read(record: type[R], path: str) -> Iterator[R]:
    """The records of a shard; raises Damaged, and sets the file aside, when it is not what was written."""
    with guarded(path):
        yield from shards.read(record, path)


def count(path: str) -> int:
    """Rows of a shard, guarded as `read` guards records."""
    with guarded(path):
        return shards.count(path)


def read_rows(path: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The flat rows of a shard, guarded as `read` guards records."""
    with guarded(path):
        yield from shards.read_rows(path, columns)


def read_tables(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The Arrow tables of a shard, guarded as `read` guards records."""
    with guarded(path):
        yield from shards.read_tables(path, columns)


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Sets a shard aside, and raises Damaged, when what is read in the block is not what was written."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise  # the file system spoke, not the checksum
        files, name = filesystem(path)
        files.mv(name, f"{name}.damaged")
        cause = str(error).splitlines()[0][:200]
        raise Damaged(
            f"{path} was damaged ({cause}) and is set aside; run the same command again to make this shard "
            "anew"
        ) from error


def artifact(key: str, markdown: str, description: str) -> None:
    """Puts a Markdown table on the page of the flow run."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(
        key=folders.slug(key).lower().replace(".", "-").replace("_", "-"),
        markdown=markdown,
        description=description,
    )


def local(path: str) -> Path:
    """A store path as a local one; raises NotMade where a room needs files on this machine."""
    if is_elsewhere(path):
        raise NotMade(
            f"{path} is not on this machine: students are trained and served from a local store (set "
            "DISTILL_STORE to a folder)"
        )
    return Path(path)
