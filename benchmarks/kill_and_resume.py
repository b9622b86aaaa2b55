"""Kills a run at random moments, starts it again each time, and compares what is left with an undisturbed
run.

    .venv/bin/python benchmarks/kill_and_resume.py --dataset tiny --kills 20
    .venv/bin/python benchmarks/kill_and_resume.py --student tiny-qwen2 --kills 5

With `--student` one training is killed, on a dataset of `DISTILL_STORE` that is there already: its weights must
be equal bit for bit, and metrics.jsonl must have the same steps and losses.

Each kill is `kill -9` of the command alone: its children (teacher, verifiers, Prefect's server) must find out
by themselves. Both runs use stores of their own in a temporary folder. What is compared: every column of
candidates and examples but `verify_seconds`, which is a measurement. It also counts completions: a teacher is
asked twice only for what was in flight when it was killed.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from distill.store import list_shards, shards

MEASURED = "verify_seconds"
CURVE = ("step", "loss", "validation_loss", "learning_rate", "grad_norm")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="tiny")
    parser.add_argument("--student", help="kill a training of this student instead")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as for distill")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    asked = ["train", "--student", chosen.student] if chosen.student else ["dataset", chosen.dataset]
    command = [sys.executable, "-m", "distill", *asked, *(f"--set={pair}" for pair in chosen.set)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        undisturbed = digest(finish(command, f"{folder}/undisturbed"))
        seconds = time.monotonic() - started
        print(f"undisturbed: {seconds:.0f} s, {next(iter(undisturbed.values()))[:12]}", flush=True)
        found = disturb(command, folder, chosen.kills, seconds, random.Random(chosen.seed))
    same = all(one == undisturbed for one in found)
    print(
        f"{chosen.kills} kills in {len(found)} runs, each resumed to its end: "
        f"{'all identical' if same else 'DIFFERENT'}"
    )
    return 0 if same else 1


def environment(folder: str) -> dict[str, str]:
    """The variables of a run with a store of its own, which has the datasets of DISTILL_STORE where it needs
    one."""
    there = Path(os.environ.get("DISTILL_STORE", "data/store"))
    if "--student" in sys.argv and not Path(folder).exists():
        shutil.copytree(there, folder, ignore=shutil.ignore_patterns("students", "encoded", "prefect"))
    return {**os.environ, "DISTILL_STORE": folder, "PREFECT_HOME": f"{folder}/prefect"}


def finish(command: list[str], folder: str) -> Path:
    """Runs to the end and returns the dataset's folder."""
    ended = subprocess.run(
        command,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return Path(ended.stdout.strip().splitlines()[-1])


def disturb(
    command: list[str], folder: str, kills: int, seconds: float, rng: random.Random
) -> list[dict[str, str]]:
    """Kills and resumes until there were `kills` kills, in a new store whenever a run has ended; returns what
    each one made."""
    found: list[dict[str, str]] = []
    store, done = f"{folder}/killed-0", 0
    while done < kills:
        child = subprocess.Popen(
            command, env=environment(store), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            output, _ = child.communicate(timeout=rng.uniform(0.02, 0.7) * seconds)
            found.append(digest(Path(output.strip().splitlines()[-1])))
            store = f"{folder}/killed-{len(found)}"
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            done += 1
            print(f"kill {done}: {survey(store)}", flush=True)
    return [*found, digest(finish(command, store))]


def survey(folder: str) -> str:
    """How far the store has come: finished shards in each stage."""
    stages = sorted(Path(folder).glob("*/*/")) if Path(folder).exists() else []
    return (
        ", ".join(
            f"{stage.parent.name} {len(list(stage.rglob('*.parquet')))}"
            for stage in stages
            if list(stage.rglob("*.parquet"))
        )
        or "nothing yet"
    )


def digest(dataset: Path) -> dict[str, str]:
    """Hashes of a dataset's rows, or of a student's weights and curve; measurements left out."""
    found = {}
    if (weights := dataset / "model" / "model.safetensors").exists():
        lines = map(json.loads, (dataset / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        curve = [[line.get(name) for name in CURVE] for line in lines]
        content = {"weights": weights.read_bytes(), "curve": json.dumps(curve).encode()}
        return {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}
    for part in ("candidates", "examples"):
        whole = hashlib.sha256()
        for path in list_shards(f"{dataset}/{part}"):
            for row in shards.read_rows(path):
                row.pop(MEASURED, None)
                whole.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=bytes.hex).encode())
        found[part] = whole.hexdigest()
    return found


if __name__ == "__main__":
    sys.exit(main())
