"""A dataset's token ids on disk: encoded once, and read by every run, rank and resume of its students.

    WHERE/digests.json                    digests of the examples' files, by path, size and time of change
    WHERE/<tokenizer, template>/<rows>/   tokens.npy (int32)  ends.npy  prompts.npy  told.json

- A folder that exists is finished: it is written under a temporary name, fsynced, and renamed.
- Rows of any length are kept, so `max_length` may change. A name comes from what the rows say.
- Two runs that encode the same wait for one another. A killed one loses the shards in hand.
- Each start of a training marks its folders as used; `prune` removes those that none has used for a while.

A reader holds 20 bytes a row and no token: a row is read from its file when it is asked for.
"""

import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from copy import copy
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill import workers
from distill.recipe import Training
from distill.records import Example
from distill.store import folders, paths, shards, write_text
from distill.train import rows
from distill.train.encoder import Encoder
from distill.train.rows import Encoded, Failure, Ints

VERSION = 1
DIGITS = 16
TOLD = "told.json"
MOST_UNRENDERABLE = 0.05
"""A larger share of rows (and more than one) that cannot be rendered ends the training: the template is wrong
then, not the rows."""
SHOWN_FAILURES = 5

KEPT_DAYS = 30.0
"""After so many days without a start of a training that reads it, a folder is removed."""
PART_ROWS = 256
"""A shard is split for idle cores into parts of so many rows or more."""

Done = Callable[[int, int], None]
"""`done(parts, of)` after each part of a shard."""


class Source(NamedTuple):
    """Rows of a shard of examples, and the folder of their ids."""

    examples: str
    chosen: list[int] | None
    """Numbers of the rows; None: all."""
    folder: Path


def sources(prepared: Path, examples: Sequence[str], training: Training, where: Path) -> list[Source]:
    """Where the ids of each shard lie: all of its rows, or those of a seeded choice of `max_rows` in all.

    The names come from the content of the prepared base's tokenizer files and of the shards.
    """
    names = (
        "tokenizer*",
        "chat_template*",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab*",
        "merges*",
    )
    files = sorted({file for name in names for file in prepared.glob(name)})
    made = hashlib.sha256(f"{VERSION}".encode())
    for file in files:
        made.update(f"\n{file.name}\n".encode() + file.read_bytes())
    home = where / made.hexdigest()[:DIGITS]
    found = []
    digests = _digests(examples, where / "digests.json")
    for path, chosen in zip(examples, _chosen(examples, training), strict=True):
        name = digests[path]
        if chosen is not None:
            name += f"-{hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:DIGITS]}"
        found.append(Source(path, chosen, home / name))
    return found


def _digests(examples: Sequence[str], kept: Path) -> dict[str, str]:
    """The digest of each file; one that has not changed since it is in `kept` is not read again."""
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found = {}
    for path in examples:
        state = os.stat(path)
        mark = f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ino}"
        if mark not in known:
            with open(path, "rb") as stream:
                known[mark] = hashlib.file_digest(stream, "sha256").hexdigest()[:DIGITS]
        found[mark] = known[mark]
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_text(str(kept), json.dumps(found))
    return dict(zip(examples, found.values(), strict=True))


def _chosen(examples: Sequence[str], training: Training) -> list[list[int] | None]:
    """The rows of each shard that are trained on."""
    counts = [shards.count(path) for path in examples]
    if training.max_rows is None or training.max_rows >= sum(counts):
        return [None] * len(counts)
    kept = np.array(sorted(random.Random(training.seed).sample(range(sum(counts)), training.max_rows)))
    first = np.cumsum([0, *counts])
    cuts = np.searchsorted(kept, first)
    return [(kept[cuts[at] : cuts[at + 1]] - first[at]).tolist() for at in range(len(counts))]


def encode(tokenizer: Callable[[], Any], wanted: Sequence[Source], done: Done | None = None) -> None:
    """Encodes the shards that are missing, one process a core; returns when all are there, whoever made them.

    `tokenizer` is called once, where something is missing.
    """
    for source in wanted:
        with suppress(FileNotFoundError):
            os.utime(source.folder)
    if not _missing(wanted):
        return
    home = wanted[0].folder.parent
    with folders.locked(str(home), waits=f"the token ids in {home}"):
        missing = _missing(wanted)
        if not missing:
            return
        for torn in home.glob(".*.tmp"):
            shutil.rmtree(torn)
        encoder, cores = Encoder(tokenizer()), len(os.sched_getaffinity(0))
        parts = [part for source in missing for part in _parts(source, -(-cores // len(missing)))]
        held: dict[Path, list[tuple[int, Encoded]]] = {}
        for number, (part, made) in enumerate(_each(encoder, parts, min(cores, len(parts))), 1):
            of_shard = held.setdefault(part.source.folder, [])
            of_shard.append((part.first, made))
            if len(of_shard) == part.of:
                ordered = [made for _, made in sorted(held.pop(part.source.folder), key=lambda one: one[0])]
                write(part.source.folder, _joined_parts(encoder, part.source, ordered))
            if done is not None:
                done(number, len(parts))


def prune(where: Path, days: float = KEPT_DAYS) -> int:
    """Removes the folders of ids below `where` that no start of a training has used for so many days, and
    returns how many."""
    old = [
        told.parent
        for told in where.glob(f"**/{TOLD}")
        if time.time() - told.parent.stat().st_mtime > 86_400 * days
    ]
    for folder in old:
        gone = folder.with_name(f".{folder.name}.tmp")
        with suppress(OSError):  # another run may remove it, or use it, at the same time
            folder.rename(gone)
            shutil.rmtree(gone)
    return len(old)


def _missing(wanted: Sequence[Source]) -> list[Source]:
    found = {source.folder: source for source in wanted if not (source.folder / TOLD).exists()}
    return list(found.values())


class _Part(NamedTuple):
    """Rows of a shard that one process encodes at a time."""

    source: Source
    first: int
    end: int
    of: int
    """How many parts the shard has."""


def _parts(source: Source, most: int) -> list[_Part]:
    """A shard in `most` parts about equal in rows, or fewer where they would be small."""
    rows = shards.count(source.examples) if source.chosen is None else len(source.chosen)
    count = max(1, min(most, rows // PART_ROWS))
    cuts = [rows * at // count for at in range(count + 1)]
    return [_Part(source, first, end, count) for first, end in pairwise(cuts)]


def _each(encoder: Encoder, parts: Sequence[_Part], processes: int) -> Iterator[tuple[_Part, Encoded]]:
    if processes == 1:
        for part in parts:
            yield part, _encode_part(encoder, part)
        return
    # The tokenizer is loaded once and shared by forked processes. The only other thread watches the parent.
    with ProcessPoolExecutor(processes, get_context("fork"), _start, (encoder,)) as pool:
        tasks = {pool.submit(_encode_in_pool, part): part for part in parts}
        for task in as_completed(tasks):
            yield tasks.pop(task), task.result()


_encoder: list[Encoder] = []
"""In a process of the pool: its encoder."""


def _start(encoder: Encoder) -> None:
    os.environ[workers.PARENT] = str(os.getppid())
    workers.end_with_parent()
    _encoder[:] = [encoder]


def _encode_in_pool(part: _Part) -> Encoded:
    return _encode_part(_encoder[0], part)


def _encode_part(encoder: Encoder, part: _Part) -> Encoded:
    chosen = None if part.source.chosen is None else part.source.chosen[part.first : part.end]
    first, end = (
        (part.first, part.end) if chosen is None else (chosen[0], chosen[-1] + 1) if chosen else (0, 0)
    )
    examples: list[Example] = list(islice(shards.read(Example, part.source.examples), first, end))
    if chosen is not None:
        examples = [examples[number - first] for number in chosen]
    return rows.encode_rows(encoder, examples)


def _joined_parts(encoder: Encoder, source: Source, made: list[Encoded]) -> Encoded:
    """The parts of a shard as one; where tiktoken failed in one of them, all are made without it."""
    if len({part.encoder for part in made}) > 1:
        encoder.exact = True
        return _encode_part(encoder, _parts(source, 1)[0])
    tokens = np.cumsum([0, *(len(part.tokens) for part in made)])
    counts = np.cumsum([0, *(len(part.ends) for part in made)])
    return Encoded(
        np.concatenate([part.tokens for part in made]),
        np.concatenate([part.ends + start for part, start in zip(made, tokens, strict=False)]),
        np.concatenate([part.prompts for part in made]),
        [
            one._replace(row=one.row + int(start))
            for part, start in zip(made, counts, strict=False)
            for one in part.failures
        ],
        made[0].encoder,
    )


def write(folder: Path, made: Encoded) -> None:
    """Writes the ids of a shard: a folder that appears under its name when all of it is there."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name in ("tokens", "ends", "prompts"):
        np.save(scratch / f"{name}.npy", getattr(made, name))
    told = {"rows": len(made.ends), "tokens": len(made.tokens), "encoder": made.encoder}
    (scratch / TOLD).write_text(json.dumps({**told, "failures": made.failures}), encoding="utf-8")
    for path in (*scratch.iterdir(), scratch):
        paths.fsync(path)
    os.rename(scratch, folder)
    paths.fsync(folder.parent)


class Rows:
    """The rows that are trained on, in the order of the examples: those of `max_length` tokens or fewer."""

    def __init__(self, found: Sequence[Path], max_length: int) -> None:
        """Raises ValueError when no row is left, or when more than MOST_UNRENDERABLE cannot be rendered."""
        told = [json.loads((folder / TOLD).read_text(encoding="utf-8")) for folder in found]
        ends = [np.load(folder / "ends.npy") for folder in found]
        lengths = [np.diff(one, prepend=0) for one in ends]
        kept = [(one > 0) & (one <= max_length) for one in lengths]
        self.folders = list(found)
        self.lengths: Ints = _joined([one[keep] for one, keep in zip(lengths, kept, strict=True)], np.int32)
        starts = [(end - size)[keep] for end, size, keep in zip(ends, lengths, kept, strict=True)]
        self._starts = _joined(starts, np.int64)
        prompts = [np.load(folder / "prompts.npy")[keep] for folder, keep in zip(found, kept, strict=True)]
        self.prompts: Ints = _joined(prompts, np.int32)
        self._folder = np.repeat(np.arange(len(found), dtype=np.int32), [keep.sum() for keep in kept])
        self._first = [
            _data_offset(folder / "tokens.npy", one["tokens"])
            for folder, one in zip(found, told, strict=True)
        ]
        numbers = [np.flatnonzero(keep) for keep in kept]
        self._number = _joined(numbers, np.int32)
        """Of each row its place among the encoded ones of its shard."""
        self.counts = _counts(told, sum(int((one > max_length).sum()) for one in lengths), max_length)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> dict[str, Ints]:
        """`input_ids` and `labels` of a row, which are -100 over its prompt."""
        number = int(self._folder[row])
        offset = self._first[number] + 4 * int(self._starts[row])
        path = self.folders[number] / "tokens.npy"
        ids = np.fromfile(path, np.int32, int(self.lengths[row]), offset=offset).astype(np.int64)
        labels = ids.copy()
        labels[: self.prompts[row]] = -100
        return {"input_ids": ids, "labels": labels}

    def apart(self, wanted: Sequence[Source], training: Training) -> tuple["Rows", "Rows | None"]:
        """The rows to train on, and those of `validation_rows`: a seeded choice of whole problems.

        Raises ValueError when it leaves no row to train on.
        """
        if training.validation_rows is None:
            return self, None
        problems = list[str]()
        for number, source in enumerate(wanted):
            ids = [str(row["problem_id"]) for row in shards.read_rows(source.examples, ["problem_id"])]
            ids = ids if source.chosen is None else [ids[row] for row in source.chosen]
            problems += [ids[row] for row in self._number[self._folder == number]]

        def drawn(problem: str) -> bytes:
            return hashlib.sha256(f"{training.seed} {problem}".encode()).digest()

        sizes, held, count = Counter(problems), set[str](), 0
        for problem in sorted(sizes, key=drawn):
            if count >= training.validation_rows:
                break
            held.add(problem)
            count += sizes[problem]
        validated = np.array([problem in held for problem in problems])
        if validated.all():
            raise ValueError(
                f"training.validation_rows={training.validation_rows} leaves none of {len(self):,} rows to "
                "train on; lower it"
            )
        return self._only(~validated), self._only(validated)

    def _only(self, wanted: Any) -> "Rows":
        part = copy(self)
        part.lengths, part.prompts = self.lengths[wanted], self.prompts[wanted]
        part._starts, part._folder, part._number = (
            one[wanted] for one in (self._starts, self._folder, self._number)
        )
        part.counts = {**self.counts, "rows_trained": len(part)}
        return part

    @property
    def trained_tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64) - self.prompts.sum(dtype=np.int64))


def _joined(parts: list[Ints], kind: Any) -> Ints:
    return np.concatenate([np.empty(0, kind), *(part.astype(kind) for part in parts)])


def _data_offset(path: Path, tokens: int) -> int:
    """Bytes before the tokens of a `.npy` file; OSError when it is not whole."""
    offset = path.stat().st_size - 4 * tokens
    if not 0 < offset < 4096:
        raise OSError(f"{path} is not whole: remove {path.parent}, and run the same command again")
    return offset


def _counts(told: Sequence[dict[str, Any]], too_long: int, max_length: int) -> dict[str, Any]:
    """What was left out, as the columns of a Checkpoint; said, and an error where it is too much."""
    causes = [Failure(*failure).cause for one in told for failure in one["failures"]]
    asked, first = sum(one["rows"] for one in told), causes[:SHOWN_FAILURES]
    if causes:
        print(f"{len(causes)} of {asked} rows cannot be rendered: {'; '.join(first)}", file=sys.stderr)
    if len(causes) > max(1, MOST_UNRENDERABLE * asked):
        raise ValueError(
            f"{len(causes)} of {asked} rows cannot be rendered with base.chat_template: {'; '.join(first)}"
        )
    trained = asked - too_long - len(causes)
    if not trained:
        long = f"{too_long} examples are longer than training.max_length={max_length} tokens"
        raise ValueError(f"no row to train on: {'; '.join([long, *first])}")
    return {
        "rows_trained": trained,
        "rows_too_long": too_long,
        "rows_unrenderable": len(causes),
        "unrenderable": first,
    }
