"""Runs `distill curate` on generated traces: wall and CPU time, peak memory, what a second core brings, and
how fast another cut is.

    .venv/bin/python benchmarks/curation.py                      200,000 traces of 4 KB
    .venv/bin/python benchmarks/curation.py --traces 20000 --characters 24000

Each run is a process of its own on a Parquet file, at a quarter, half and all of the rows (does memory
grow?), then on one core, then from the finished dataset under another policy. Memory is the largest resident
set of one process, and the largest sum over all of them at one moment. The traces are random English
sentences with numbers, formulas and code; four answer one problem. Planted are exact and near copies, cut and
wrong completions, Chinese sentences and loops; the card of the dataset tells how many were found.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SAMPLES = 4
PROBLEMS_OF_GROUP = 256
POOL = 30_000
POLL_SECONDS = 0.1
NOUNS, VERBS, KINDS = (
    words.split()
    for words in (
        (
            "apple box child day train garden number side triangle price book baker river square worker week "
            "hour ticket mile coin"
        ),
        (
            "gives takes counts needs carries leaves finds divides sells shares doubles measures moves "
            "checks "
            "paints buys"
        ),
        "small second other whole first large even final equal longer red simple careful third missing",
    )
)
JOINTS = ("so", "because", "but", "and then", "which means that", "while", "after", "unless", "since")
FORMULAS = (
    r"\(\frac{{{a}}}{{{b}}} = {c}\)",
    "${a} + {b} = {c}$",
    r"\[x_{{{a}}} \le \sqrt{{{b}}}\]",
    "`solve({a}, {b})`",
)
SWITCH = "我们先把这两个数相加，然后再检查一遍结果是否正确。"


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took."""

    label: str
    rows: int
    wall_seconds: float
    cpu_seconds: float
    largest_mib: float
    """Resident set of the largest process at its peak."""
    together_mib: float
    """Resident sets of all processes at one moment."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=200_000)
    parser.add_argument("--characters", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="work here, and leave it all there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(chosen.folder or scratch)
        print(
            f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores, {chosen.characters:,} "
            "characters a trace",
            flush=True,
        )
        for share in (4, 2, 1):
            rows = chosen.traces // share
            source = write(folder / f"{rows}.parquet", rows, chosen.characters, chosen.seed)
            tell(curate(f"{rows:,} traces", source, folder / f"out-{rows}", rows))
        tell(curate("one core", source, folder / "one-core", rows, core=0))
        for policy in ("shortest", "none"):
            tell(
                curate(
                    f"cut again: {policy}",
                    folder / f"out-{rows}",
                    folder / policy,
                    rows,
                    f"curation.selection.policy={policy}",
                )
            )
        print(
            (folder / f"out-{rows}" / "README.md")
            .read_text(encoding="utf-8")
            .split("## What became of every trace")[1]
            .split("\n## ")[0]
        )
    return 0


def write(path: Path, count: int, characters: int, seed: int) -> Path:
    """Writes so many traces into a Parquet file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = None
        for rows in groups(count, characters, random.Random(seed)):
            table = pa.Table.from_pylist(rows)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
            writer.write_table(table)
        assert writer is not None
        writer.close()
    return path


def groups(count: int, characters: int, dice: random.Random) -> Iterator[list[dict[str, object]]]:
    """The rows of some problems at a time."""
    pool = [sentence(dice) for _ in range(POOL)]
    rows: list[dict[str, object]] = []
    for number in range(count):
        problem, sample = divmod(number, SAMPLES)
        if not sample:
            asked = (
                f"{dice.choice(pool)} How many {dice.choice(NOUNS)}s are {problem} and "
                f"{dice.randrange(1000)}?"
            )
        rows.append(
            row(asked, problem, sample, thinking(pool, characters, rows[-1:] if sample else [], dice), dice)
        )
        if len(rows) == PROBLEMS_OF_GROUP * SAMPLES:
            yield rows
            rows = []
    if rows:
        yield rows


def row(question: str, problem: int, sample: int, text: str, dice: random.Random) -> dict[str, object]:
    answer = problem + 1 if dice.random() < 0.35 else problem
    return {
        "id": f"{problem:07}-{sample}",
        "problem_id": f"{problem:07}",
        "question": question,
        "reference": str(problem),
        "thinking": text,
        "answer": f"The answer is \\boxed{{{answer}}}.",
        "outcome": "correct" if answer == problem else "wrong",
        "extracted": str(answer),
        "finish_reason": "length" if dice.random() < 0.03 else "stop",
        "thinking_tokens": len(text) // 4,
        "answer_tokens": 8,
    }


def thinking(pool: list[str], characters: int, before: list[dict[str, object]], dice: random.Random) -> str:
    """A text of about so many characters; one in ten is a copy of its sibling's, as it is or with 2 % of the
    words replaced."""
    if before and dice.random() < 0.13:
        copied = str(before[0]["thinking"]).split(" ")
        rate = dice.choice((0.0, 0.02))
        return " ".join(dice.choice(NOUNS) if dice.random() < rate else word for word in copied)
    sentences = dice.choices(pool, k=characters // 82)
    planted = dice.random()
    if planted < 0.01:
        sentences[len(sentences) // 2] = SWITCH
    elif planted < 0.02:
        sentences[len(sentences) // 3 :] = [sentences[0]] * (2 * len(sentences) // 3)
    return " ".join(sentences)


def sentence(dice: random.Random) -> str:
    parts = []
    for _ in range(2):
        verb, noun, other = dice.choice(VERBS), dice.choice(NOUNS), dice.choice(NOUNS)
        parts.append(
            f"the {dice.choice(KINDS)} {noun} {verb} {dice.randrange(2, 500)} {dice.choice(KINDS)} {other}s"
        )
    whole = f"{parts[0].capitalize()} {dice.choice(JOINTS)} {parts[1]}."
    if dice.random() < 0.15:
        a, b = dice.randrange(2, 900), dice.randrange(2, 900)
        whole += " " + dice.choice(FORMULAS).format(a=a, b=b, c=a + b) + "."
    return whole


def curate(
    label: str, source: Path, output: Path, rows: int, setting: str | None = None, core: int | None = None
) -> Run:
    """One run of the command in a process of its own, on one core if asked for."""
    command = [sys.executable, "-m", "distill", "curate", "--input", str(source), "--output", str(output)]
    if setting:
        command += ["--set", setting]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    pin = None if core is None else (lambda: os.sched_setaffinity(0, {core}))
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=pin)
    peaks = Peaks(child.pid)
    code = child.wait()
    wall = time.monotonic() - started
    peaks.done.set()
    peaks.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert code == 0, f"distill curate ended with {code}"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(label, rows, wall, cpu, peaks.largest / 1024, peaks.together / 1024)


class Peaks(threading.Thread):
    """Watches the memory of a process and all its descendants, in KiB."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.largest, self.together, self.done = root, 0, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(POLL_SECONDS):
            sizes = [resident(pid) for pid in family(self.root)]
            self.largest, self.together = max([self.largest, *sizes]), max(self.together, sum(sizes))


def family(root: int) -> list[int]:
    """A process and its descendants."""
    found = [root]
    for pid in found:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it has ended
    return found


def resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def tell(run: Run) -> None:
    print(
        f"{run.label:24} {run.rows:9,} rows  {run.wall_seconds:7.1f} s wall  {run.cpu_seconds:7.1f} s CPU  "
        f"{run.rows / run.wall_seconds:8,.0f} rows/s  {run.largest_mib:6.0f} MiB the largest process, "
        f"{run.together_mib:6.0f} MiB together",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
