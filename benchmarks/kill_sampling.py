"""Kills two runs that sample the same problems at once, again and again, and accounts for every completion
that was paid for.

    .venv/bin/python benchmarks/kill_sampling.py --kills 30

Both runs share one file of completions. Each kill is `kill -9` of one of them at a random moment; the same
command then goes on until both have ended, and the next pair starts anew. The teacher is
`tests/servers/fault_server.py`: requests that were in flight at a kill are computed to their end, and paid
for, as a provider would. After each kill: no shard that is not whole, and no more in flight than
`concurrency`. After each pair: shards byte-equal to an undisturbed run's, nothing asked again that was kept,
and nothing paid for twice but what was in flight at a kill. Prefect is left out.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "servers"))

from sampling_run import ADAPTIVE, FIXED, STORE, Run, count, events, paid_twice, plan, serving

SAMPLINGS = {"fixed": FIXED, "adaptive": ADAPTIVE}
STRAGGLERS_SECONDS = 1.0
"""How long the server may take to see a request that was sent before a kill."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--sampling", choices=SAMPLINGS, default="adaptive")
    parser.add_argument("--problems", type=int, default=240)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency-ms", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng, kills, twice, runs = random.Random(chosen.seed), list[int](), 0, 0
    with tempfile.TemporaryDirectory() as root, serving(Path(root, "server")) as base:
        stage = Stage(Path(root), base, chosen.latency_ms)
        run = Run((), SAMPLINGS[chosen.sampling], {"concurrency": chosen.concurrency}, chosen.problems, 16)
        seconds = stage.undisturbed(run)
        completions = len(count(stage.log("undisturbed"), "paid"))
        print(f"undisturbed: {completions:,} completions, {seconds:.1f} s", flush=True)
        while len(kills) < chosen.kills:
            of_run, paid = stage.disturbed(run, f"killed-{runs}", chosen.kills - len(kills), seconds, rng)
            kills, twice, runs = kills + of_run, twice + paid, runs + 1
            print(f"pair {runs}: {len(of_run)} kills, {sum(of_run)} in flight, {paid} paid twice", flush=True)
    report(kills, twice, runs, completions)
    return 0


def report(kills: list[int], twice: int, runs: int, completions: int) -> None:
    """Prints what was found, the last line as JSON."""
    found = {
        "kills": len(kills),
        "pairs": runs,
        "completions_a_run": completions,
        "in_flight_at_kills": sum(kills),
        "paid_twice": twice,
    }
    print(
        f"{len(kills)} kills in {runs} pairs of runs: all shards identical, no completion lost or asked "
        "again that was kept"
    )
    print(json.dumps(found))


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, and a folder with one sub-folder for each run."""

    root: Path
    base: str
    latency_ms: float

    def named(self, run: Run, name: str) -> Run:
        """A run against the server under a name of its own."""
        plan(self.root / "server", name, latency_ms=self.latency_ms)
        return replace(run, urls=(f"{self.base}/{name}/v1",))

    def log(self, name: str) -> list[dict]:
        return events(self.root / "server", name)

    def undisturbed(self, run: Run) -> float:
        """Samples without a kill, and says how long it took."""
        began = time.monotonic()
        killed(self.named(run, "undisturbed").start(self.root / "undisturbed"))
        return time.monotonic() - began

    def disturbed(
        self, run: Run, name: str, most: int, seconds: float, rng: random.Random
    ) -> tuple[list[int], int]:
        """The kills of a pair of runs, and completions paid for twice; raises AssertionError when anything
        was lost."""
        names = [f"{name}-{number}" for number in range(2)]
        runs, kills = [self.named(run, one) for one in names], list[int]()
        store = self.root / f"{name}.sqlite" / STORE
        in_flight, processes, before = Counter[str](), dict[int, subprocess.Popen[str]](), [0, 0]
        kept, left = [set[str](), set[str]()], {0, 1}
        while left:
            for one in left - processes.keys():
                kept[one], before[one] = run.kept(self.root, store), len(self.log(names[one]))
                processes[one] = runs[one].start(self.root / names[one], completions=store)
            chosen = rng.choice(sorted(left))
            wait = rng.uniform(0.0, 0.3) * seconds if len(kills) < most else None
            while (
                wait and len(self.log(names[chosen])) == before[chosen] and processes[chosen].poll() is None
            ):
                time.sleep(0.02)  # a kill before the first request would say nothing
            at = killed(processes.pop(chosen), wait)
            ended = at is None
            asked = received(self.log(names[chosen])[before[chosen] :])
            assert kept[chosen].isdisjoint(asked), "a completion that was kept was asked again"
            # What the other run has asked since the kill was in flight. It may be kept by now: read that first.
            there, others = run.kept(self.root, store), self.log(names[1 - chosen])
            taken_over = received([entry for entry in others if at is not None and entry["at"] >= at])
            cut = asked - (there - taken_over)
            assert len(cut) <= (0 if ended else run.teacher["concurrency"]), (
                f"{len(cut)} completions were asked and not kept"
            )
            in_flight.update(cut)
            self.compare(self.root / names[chosen], ended)
            left -= {chosen} if ended else set()
            kills += [] if ended else [len(cut)]
        twice = paid_twice([entry for one in names for entry in self.log(one)])
        assert twice <= in_flight, f"paid for twice, and never in flight at a kill: {twice - in_flight}"
        return kills, twice.total()

    def compare(self, folder: Path, ended: bool) -> None:
        """Sees that the shards are an undisturbed run's, byte for byte, and all of them at the end."""
        right, found = (
            {path.name: path.read_bytes() for path in (one / "traces").glob("*.parquet")}
            for one in (self.root / "undisturbed", folder)
        )
        assert found == right if ended else found.items() <= right.items(), (
            "a shard is not what an undisturbed run makes"
        )


def received(log: list[dict]) -> set[str]:
    return {entry["id"] for entry in log if entry["event"] == "received"}


def killed(process: "subprocess.Popen[str]", seconds: float | None = None) -> float | None:
    """Kills a process after some seconds, and says when; None when it came to its own end before."""
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        at = time.monotonic()
        process.kill()
        process.communicate()
        time.sleep(STRAGGLERS_SECONDS)
        return at
    assert process.returncode == 0, said
    return None


if __name__ == "__main__":
    sys.exit(main())
