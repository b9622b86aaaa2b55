"""The second room's flow: one task a shard of problems, all of them on one engine.

Two shards are in work at a time where the engine allows it, so that the last long completions of one shard do not leave the
teacher idle. The engine is opened with the first request: nothing is loaded when all completions are there.
"""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from distill import shards
from distill.engines import Completion, Engine, EngineError, Request, open_engine
from distill.journal import Journal
from distill.progress import Meter, say
from distill.recipe import Sampling, Teacher
from distill.records import Problem, Trace
from distill.sample import sample
from flows import keys, rooms
from flows.keys import Asked, Place

OVERLAPPING = ("server",)
SHARDS_AT_ONCE = 2
RUNNER: Any = ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE)


class LazyEngine:
    """An engine that is opened at its first request, and counts them."""

    def __init__(self, teacher: Teacher, stack: ExitStack) -> None:
        self.calls = 0
        self._teacher = teacher
        self._stack = stack
        self._engine: Engine | None = None
        self._closed = False
        self._lock = threading.Lock()
        stack.callback(self._close)

    def complete(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request; does nothing when there is none."""
        waiting = iter(requests)
        first = next(waiting, None)
        if first is not None:
            yield from self._opened().complete(self._counted(chain([first], waiting)), sampling)

    def _opened(self) -> Engine:
        with self._lock:
            if self._closed:
                raise EngineError("the engine was closed")
            if self._engine is None:
                self._engine = self._stack.enter_context(open_engine(self._teacher))
            return self._engine

    def _close(self) -> None:
        self._closed = True

    def _counted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.calls += 1
            yield request


@flow(name="sample", task_runner=RUNNER, **rooms.FLOW)
def sample_room(problems: Place, asked: Asked, sampling: Sampling) -> Place:
    """Makes or reuses the traces of a model on finished problems."""
    collected = rooms.needed(problems, "distill collect")
    place, journals = keys.traces(collected["content"], asked, sampling), keys.journals(problems, asked, sampling)
    if rooms.reused(place, "0 teacher calls"):
        return place
    sources = rooms.shard_paths(problems, collected)
    with rooms.making(place) as folder, rooms.making_here(journals) as journal_folder:
        targets = [f"{folder}/{source.rsplit('/', 1)[1]}" for source in sources]
        before = sum(rooms.count(target) for target in targets if shards.exists(target))
        expected = sum(_expected(source, sampling) for source in sources)
        with ExitStack() as stack, Meter(f"sampling {asked.name}", expected, before) as meter:
            engine = LazyEngine(asked.teacher, stack)
            here: Any = quote((engine, meter))  # Prefect hands it over as it is
            todo = [(source, target, rooms.journal(journal_folder, source)) for source, target in rooms.missing(sources, folder)]
            budgets = _budgets(journal_folder, sampling.max_tokens)
            if asked.teacher.engine in OVERLAPPING:
                for future in [sample_shard.submit(*paths, asked.teacher, sampling, budgets, here) for paths in todo]:
                    future.result()
            else:
                for paths in todo:  # in this thread, where a signal stops it at once
                    sample_shard(*paths, asked.teacher, sampling, budgets, here)
        rooms.finish(place, targets, calls=engine.calls)
        say(f"made {place.label}: {engine.calls:,} teacher calls")
    return place


@task(name="sample-shard", **rooms.TASK)
def sample_shard(
    source: str, target: str, journal: str, teacher: Teacher, sampling: Sampling, budgets: list[int], here: tuple[LazyEngine, Meter]
) -> int:
    """Asks a model about one shard of problems; `here` is what stays in this process, the engine and the meter."""
    engine, meter = here
    asked = 0

    def count(completion: Completion) -> None:
        nonlocal asked
        asked += 1
        meter.add(1, completion.completion_tokens or 0)

    with Journal(journal) as pages:
        rows = shards.write(Trace, sample(rooms.read(Problem, source), teacher, sampling, engine, pages, count, budgets), target)
    meter.add(rows - asked)
    return rows


def _expected(source: str, sampling: Sampling) -> int:
    """How many traces a shard of problems will have: one of each that came with a response, n of every other usable one."""
    rows = rooms.read_rows(source, ["unusable", "response"])
    return sum(sampling.n if row["response"] is None else 1 for row in rows if row["unusable"] is None)


def _budgets(folder: str, max_tokens: int) -> list[int]:
    """Every `max_tokens` that completions of these journals were drawn with, the present one noted for later."""
    path = f"{folder}/budgets.json"
    known = set(json.loads(shards.read_text(path))) if shards.exists(path) else set()
    if max_tokens not in known:
        shards.write_text(path, json.dumps(sorted(known | {max_tokens})))
    return sorted(known)
