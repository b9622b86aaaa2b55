"""One run of the sampling stage without Prefect, quick enough to be killed again and again, and what was asked,
paid and kept.

`python tests/servers/sampling_run.py FOLDER RUN` samples made-up sums into `FOLDER/traces/*.parquet` over
`FOLDER/completions.sqlite`, as the flow does: shards side by side, one engine, finished shards left alone.
RUN is the JSON of a `Run`. The teacher is `fault_server.py`; what it wrote down is compared with the
completions and shards. The first wait after a fault is short here.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fault_server

from distill.engines import Completions, EngineError
from distill.engines.server import ServerEngine
from distill.recipe import Sampling, Teacher, Verification
from distill.records import Problem, Trace
from distill.sample import Asked, SamplingKeys, sample
from distill.store import folders, list_shards, shards
from distill.text import prompts

SERVER = Path(__file__).with_name("fault_server.py")
FIXED = {"n": 2, "max_tokens": 120}
ADAPTIVE = {"n": 2, "max_tokens": 60, "adaptive": {"enough": 2, "most": 6, "budgets": [90, 400]}}
MONEY = ("spent_tokens", "cost_usd")
"""Columns that tell what replies cost which could not be used."""
PRICES = {
    "prompt_usd_per_million": 1.0,
    "cached_prompt_usd_per_million": 0.1,
    "completion_usd_per_million": 4.0,
}
SHARDS_AT_ONCE = 2
STORE = "completions.sqlite"


@dataclass(frozen=True, slots=True)
class Run:
    """What is sampled, where."""

    urls: tuple[str, ...]
    sampling: dict[str, Any] = field(default_factory=lambda: FIXED)
    teacher: dict[str, Any] = field(default_factory=dict)
    problems: int = 24
    shard_problems: int = 8
    first_wait_seconds: float = 0.02

    def asked(self) -> Asked:
        settings = (
            {"concurrency": 8, "timeout_seconds": 10.0, "patience_seconds": 30.0} | PRICES | self.teacher
        )
        teacher = Teacher.model_validate({"model": "teacher", "urls": self.urls} | settings)
        return Asked(teacher, Sampling.model_validate(self.sampling), Verification(workers=1))

    def shards(self) -> list[list[Problem]]:
        """Sums, each with an id of its own."""
        questions = [
            (number, f"What is {number} + {7 * number % 31}?", number + 7 * number % 31)
            for number in range(self.problems)
        ]
        rows = [
            Problem(f"{number:016x}", "sums", "math", question, str(total))
            for number, question, total in questions
        ]
        return [
            rows[start : start + self.shard_problems] for start in range(0, len(rows), self.shard_problems)
        ]

    def go(self, folder: Path, completions: Path | None = None) -> None:
        """Samples all that is missing in a folder, over completions of its own or shared ones."""
        asked = self.asked()
        with folders.locked(str(folder)):
            for torn in folder.rglob(".*.tmp"):
                torn.unlink()
            with (
                Completions(completions or folder / STORE) as kept,
                ThreadPoolExecutor(SHARDS_AT_ONCE) as threads,
                ServerEngine(asked.teacher, self.first_wait_seconds) as engine,
            ):
                list(
                    threads.map(
                        lambda numbered: sample_shard(folder, *numbered, asked, engine, kept),
                        enumerate(self.shards()),
                    )
                )

    def start(
        self, folder: Path, *before: str, completions: Path | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """The same in a process of its own, behind a command that starts it."""
        command = [
            *before,
            sys.executable,
            __file__,
            str(folder),
            json.dumps(asdict(self)),
            *([str(completions)] if completions else []),
        ]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)

    def identities(self) -> dict[str, str]:
        """What the server calls each completion that may be asked, by its key."""
        asked, found = self.asked(), {}
        draws, adaptive = SamplingKeys(asked.teacher, asked.sampling), asked.sampling.adaptive
        for problem in (problem for rows in self.shards() for problem in rows):
            messages = [
                {"role": one.role, "content": one.content}
                for one in prompts.render(problem, asked.sampling.prompt)
            ]
            for index in range(max(asked.sampling.n, adaptive.most if adaptive else 0)):
                for budget in (asked.sampling.max_tokens, *(adaptive.budgets if adaptive else ())):
                    seed = draws.seed(problem, index)
                    found[draws.key(problem, index, budget)] = fault_server.digest([seed, messages, budget])
        return found

    def kept(self, folder: Path, completions: Path | None = None) -> set[str]:
        """What the server calls the good completions that a run has kept."""
        with Completions(completions or folder / STORE) as kept:
            return {
                name
                for key, name in self.identities().items()
                if (one := kept.get(key)) and one.failure is None
            }


def sample_shard(
    folder: Path, number: int, problems: list[Problem], asked: Asked, engine: ServerEngine, kept: Completions
) -> None:
    """One shard, unless it is there."""
    target = folder / "traces" / f"{number:05}.parquet"
    if not target.exists():
        shards.write(Trace, sample(problems, asked, engine, kept), str(target))


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a fault server over a folder, to which `/NAME/v1` is added."""
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, str(SERVER), str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def plan(folder: Path, name: str, *rules: dict[str, Any], **settings: Any) -> None:
    """Says how a name of the server behaves."""
    (folder / name).mkdir(parents=True)
    (folder / name / "plan.json").write_text(json.dumps({"rules": rules} | settings))


def events(folder: Path, *names: str) -> list[dict[str, Any]]:
    """What the server wrote down under some names, in order of time."""
    logs = [folder / name / "log.jsonl" for name in names]
    found = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    return sorted(found, key=lambda entry: entry["at"])


def count(entries: list[dict[str, Any]], event: str) -> Counter[str]:
    """How often something happened to each completion."""
    return Counter(entry["id"] for entry in entries if entry["event"] == event)


def paid_twice(entries: list[dict[str, Any]]) -> Counter[str]:
    """How often each completion was paid for once more than needed."""
    return count(entries, "paid") - Counter(set(count(entries, "paid")))


def rows(folder: Path, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """All rows of a run's shards, some columns left out."""
    found = [row for path in list_shards(f"{folder}/traces") for row in shards.read_rows(path)]
    return [{name: value for name, value in row.items() if name not in without} for row in found]


def completion_tokens(entries: list[dict[str, Any]]) -> int:
    """Tokens of all completions that were computed."""
    return sum(entry["usage"]["completion_tokens"] for entry in entries if entry["event"] == "paid")


def main() -> int:
    folder, settings, *completions = sys.argv[1:]
    try:
        Run(**json.loads(settings)).go(Path(folder), *map(Path, completions))
    except (EngineError, folders.Busy, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
