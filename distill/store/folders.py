"""Folders named by what made them, and the only truth about what is done.

    data/store/<stage>/<name>-<fingerprint>/      key.json, what the stage makes, made.json

- A fingerprint is the hash of all that decides the content: recipe section, record schema, code version of
  what decides, and the fingerprint upstream. Reuse is a look-up by that key; `key.json` explains a miss.
- A folder is finished when `made.json` and every shard that it counts are there; it is written last.
- The root is a folder or any fsspec URL. Locks are files of this machine: two machines that make the same
  folder of one store do the work twice, and the last one to finish a shard wins.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from distill.progress import say
from distill.store.keys import FINGERPRINT_CHARACTERS, Busy, NotMade, differences, fingerprint, slug
from distill.store.paths import answering, exists, filesystem, is_elsewhere, read_text, write_text

ROOT = os.environ.get("DISTILL_STORE", str(Path(__file__).parents[2] / "data" / "store"))
LOCAL = Path(ROOT).absolute() if not is_elsewhere(ROOT) else Path(__file__).parents[2] / "data" / "store"
"""The store, or where the parts of it lie that have to be on this machine."""
KEY = "key.json"
SUMMARY = "made.json"
WAITING_SECONDS = 0.1


class Missing(NamedTuple):
    """A shard that a folder lacks."""

    source: str
    """The shard that it is made from."""
    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the store and the key that names it, made or not."""

    stage: str
    """The folder that it lies in, such as `traces` or `evaluations/traces`."""
    name: str
    key: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.stage}/{slug(self.name)}-{self.fingerprint}"

    @property
    def label(self) -> str:
        """Stage and name, as they are shown to people."""
        return f"{self.stage} {self.path.rsplit('/', 1)[1]}"

    def done(self) -> dict[str, Any] | None:
        """The summary of a finished folder; None when it is missing or lacks a shard."""
        if not exists(f"{self.path}/{SUMMARY}"):
            return None
        summary: dict[str, Any] = json.loads(read_text(f"{self.path}/{SUMMARY}"))
        return summary if all(exists(f"{self.path}/{name}") for name in summary["shards"]) else None

    def needed(self, command: str) -> dict[str, Any]:
        """The summary of a finished folder; raises NotMade with the command that makes it."""
        if (summary := self.done()) is None:
            raise NotMade(f"{self.label} is not made yet: run `{command}` first, with the same options")
        return summary

    def shards(self, part: str = "") -> list[str]:
        """Paths of a finished folder's shards, in order, or of those in one sub-folder."""
        names = json.loads(read_text(f"{self.path}/{SUMMARY}"))["shards"]
        return [f"{self.path}/{name}" for name in sorted(names) if name.startswith(part)]

    def lacks(self, sources: Sequence[str]) -> list[Missing]:
        """The shards that are not there yet; a shard keeps its name from stage to stage."""
        found = [Missing(source, f"{self.path}/{source.rsplit('/', 1)[1]}") for source in sources]
        return [one for one in found if not exists(one.target)]

    @contextmanager
    def making(self, saves: str) -> Iterator[bool]:
        """Whether the block has to make the folder: it is then held against other runs, which wait.

        False when the folder is finished, by another run that was waited for too: that is said, with what it
        `saves`.
        """
        if self.done() is None:
            say(f"making {self.label}{self.why_missing()}")
            with self.held():
                if self.done() is None:
                    yield True
                    return
        say(f"reused {self.label}: {saves}", reused=self.label)
        yield False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder, which is made with its key when it is not there; another run that holds it is
        waited for."""
        elsewhere = is_elsewhere(self.path)
        with locked(
            str(LOCAL / "locks" / self.path.replace("://", "/")) if elsewhere else self.path, self.label
        ):
            for torn in Path(self.path).rglob(".*.tmp"):  # of a killed run: its writer would hold the lock
                if torn.is_file():
                    torn.unlink()
            self.keep_key()
            yield

    def keep_key(self, within: str = "") -> None:
        """Writes the key into the folder, or into another place `within` which the folder's files lie."""
        path = f"{within or self.path}/{KEY}"
        if not exists(path):
            write_text(path, json.dumps(self.key, indent=1, sort_keys=True, ensure_ascii=False))

    def finish(
        self, paths: Sequence[str], content: Sequence[str] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Counts the rows of the folder's shards and writes its summary, with a digest of the rows of the
        shards in `content`: how these are cut into files is no part of it."""
        from distill.store import checked
        from distill.store.content import digest

        names = {path.removeprefix(f"{self.path}/"): checked.count(path) for path in paths}
        summary = {"rows": sum(names.values()), "shards": names, **more}
        if content is not None:
            summary["content"] = digest(table for path in content for table in checked.read_tables(path))
        write_text(f"{self.path}/{SUMMARY}", json.dumps(summary, indent=1, ensure_ascii=False))
        return summary

    def why_missing(self) -> str:
        """A colon, and which parts of the key differ from the nearest folder of the same name; empty when
        there is none."""
        if exists(f"{self.path}/{KEY}"):
            return ""
        found = [
            (differences(json.loads(read_text(f"{path}/{KEY}")), self.key), path.rsplit("/", 1)[1])
            for path in self._siblings()
        ]
        if not found:
            return ""
        differing, name = min(found, key=lambda one: len(one[0]))
        return f": {name} differs in {', '.join(differing[:6])}{', ...' if len(differing) > 6 else ''}"

    def local(self) -> Path:
        """The folder as a path; raises NotMade where a stage needs files on this machine."""
        if is_elsewhere(self.path):
            raise NotMade(
                f"{self.path} is not on this machine: students are trained and served from a local store "
                "(set DISTILL_STORE to a folder)"
            )
        return Path(self.path)

    def _siblings(self) -> Iterator[str]:
        files, root = filesystem(f"{ROOT}/{self.stage}")
        pattern = f"{root}/{slug(self.name)}-{'[0-9a-f]' * FINGERPRINT_CHARACTERS}/{KEY}"
        with answering(ROOT):
            found = files.glob(pattern) if files.isdir(root) else []
        for path in sorted(found):
            yield f"{ROOT}/{self.stage}/{path.rsplit('/', 2)[1]}"


@contextmanager
def locked(path: str, waits: str = "") -> Iterator[None]:
    """Holds a folder of this machine against a second run, and one elsewhere not at all; raises Busy with the
    other's pid.

    With a name for what the folder holds, waits for the other run instead, and says so once.
    """
    if is_elsewhere(path):
        yield
        return
    told = False
    while True:
        Path(path).mkdir(parents=True, exist_ok=True)
        with open(Path(path) / ".lock", "a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "?"
                if not waits:
                    raise Busy(f"{path} is in use by process {holder}; wait for it or stop it") from error
            else:
                if _is(file.fileno(), Path(path) / ".lock"):
                    file.truncate(0)
                    file.write(str(os.getpid()))
                    file.flush()
                    yield
                    return
                continue
        if not told:
            say(f"waiting for process {holder}, which makes {waits}")
            told = True
        time.sleep(WAITING_SECONDS)


def _is(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path: the folder may have been renamed while it was waited
    for."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def set_aside(path: str) -> None:
    """Renames a folder of this machine, under its lock: a run that waits for it finds it gone."""
    with locked(path, waits=path):
        Path(path).rename(f"{path}.damaged")


def write_record(path: str, record: Any) -> None:
    """Writes a Checkpoint or Report as JSON, whole or not at all."""
    write_text(path, json.dumps(asdict(record), indent=1, ensure_ascii=False))
