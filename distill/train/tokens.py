"""A dataset's token ids on disk: encoded once, and read by every run, rank and resume of its students.

    WHERE/<tokenizer, template>/<rows>/   tokens.npy (int32)  ends.npy  prompts.npy  told.json

- A folder that exists is finished: it is written under a temporary name, fsynced, and renamed.
- Rows of any length are kept, so `max_length` may change. A name comes from what the rows say.
- Two runs that encode the same wait for one another. A killed one loses the shards in hand.

A reader holds 20 bytes a row and no token: a row is read from its file when it is asked for.
"""

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill import workers
from distill.recipe import Training
from distill.records import Example
from distill.store import folders, shards
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

Done = Callable[[int, int], None]
"""`done(shards, of)` after each shard."""


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
    for path, chosen in zip(examples, _chosen(examples, training), strict=True):
        with open(path, "rb") as stream:
            name = hashlib.file_digest(stream, "sha256").hexdigest()[:DIGITS]
        if chosen is not None:
            name += f"-{hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:DIGITS]}"
        found.append(Source(path, chosen, home / name))
    return found


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
    if not _missing(wanted):
        return
    home = wanted[0].folder.parent
    with folders.locked(str(home), waits=f"the token ids in {home}"):
        missing = _missing(wanted)
        if not missing:
            return
        for torn in home.glob(".*.tmp"):
            shutil.rmtree(torn)
        encoder = Encoder(tokenizer())
        count = min(len(os.sched_getaffinity(0)), len(missing))
        for number, _ in enumerate(_each(encoder, missing, count), 1):
            if done is not None:
                done(number, len(missing))


def _missing(wanted: Sequence[Source]) -> list[Source]:
    found = {source.folder: source for source in wanted if not (source.folder / TOLD).exists()}
    return list(found.values())


def _each(encoder: Encoder, missing: Sequence[Source], processes: int) -> Iterator[None]:
    if processes == 1:
        for source in missing:
            _encode_shard(encoder, source)
            yield
        return
    # The tokenizer is loaded once and shared by forked processes. The only other thread watches the parent.
    with ProcessPoolExecutor(processes, get_context("fork"), _start, (encoder,)) as pool:
        tasks = [pool.submit(_encode_in_pool, source) for source in missing]
        for task in as_completed(tasks):
            yield task.result()


_encoder: list[Encoder] = []
"""In a process of the pool: its encoder."""


def _start(encoder: Encoder) -> None:
    os.environ[workers.PARENT] = str(os.getppid())
    workers.end_with_parent()
    _encoder[:] = [encoder]


def _encode_in_pool(source: Source) -> None:
    _encode_shard(_encoder[0], source)


def _encode_shard(encoder: Encoder, source: Source) -> None:
    examples: list[Example] = list(shards.read(Example, source.examples))
    if source.chosen is not None:
        examples = [examples[number] for number in source.chosen]
    write(source.folder, rows.encode_rows(encoder, examples))


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
        _fsync(path)
    os.rename(scratch, folder)
    _fsync(folder.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
