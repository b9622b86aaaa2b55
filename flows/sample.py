"""The flow of sampling: one task a shard of problems, all of them on one engine.

Where the engine allows it, so many shards are in work at a time that the last long completions of one do not
leave the teacher idle. The engine is opened with the first request: nothing is loaded when all completions
are there. Ctrl-C or a budget that is used up ends what is asked: what is in flight is waited for, and the
same command goes on from there.
"""

import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from types import FrameType
from typing import Any, NamedTuple, cast

import pyarrow.compute as pc
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from distill.curate import dropped, filters
from distill.engines import ENGINES, Completion, Completions, Engine, EngineError, Request, open_engine
from distill.progress import Meter, say
from distill.recipe import Sampling, Screens, Teacher
from distill.records import Problem, Trace
from distill.sample import Asked, Budget, Cancellation, RunStopped, sample, traces
from distill.store import Folder, Missing, checked, shards
from flows import runners
from flows.identity import Folders

SHARDS_AT_ONCE = 64
"""With 256 problems each, enough first draws to keep several thousand requests in flight."""
RUNNER: Any = ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE)
COUNTED = [
    "prompt_tokens",
    "cached_prompt_tokens",
    "thinking_tokens",
    "answer_tokens",
    "spent_tokens",
    "cost_usd",
]
STOPPED = "stopped by hand; everything that came back is kept, and the same command goes on from there"


class LazyEngine:
    """An engine that is opened when it is first needed, and counts its requests; it drains when the run is
    cancelled."""

    def __init__(
        self, teacher: Teacher, stack: ExitStack, cancellation: Cancellation, looks: "Looks | None" = None
    ) -> None:
        self.calls = 0
        self._looks = looks
        self._teacher, self._stack, self._cancellation = teacher, stack, cancellation
        self._engine: Engine | None = None
        self._closed = False
        self._lock = threading.Lock()
        stack.callback(self._close)

    def complete(self, requests: Iterable[Request | None], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request; opens nothing once the run was cancelled."""
        if self._cancellation.reason is None:
            flying: dict[str, Request] = {}
            for completion in self._opened().complete(self._counted(requests, flying), sampling):
                request = flying.pop(completion.key, None)
                if self._looks is not None and request is not None:
                    self._looks.at(request, completion)
                yield completion
        else:
            deque(requests, maxlen=0)  # nothing but what is waited for: there are no requests any more

    def drain(self) -> None:
        """Has the engine drain, if it was opened."""
        if self._engine is not None:
            self._engine.drain()

    def _opened(self) -> Engine:
        with self._lock:
            if self._closed:
                raise EngineError("the engine was closed")
            if self._engine is None:
                self._engine = self._stack.enter_context(open_engine(self._teacher))
                self._cancellation.on_cancel.append(self._engine.drain)
            return self._engine

    def _close(self) -> None:
        self._closed = True

    def _counted(
        self, requests: Iterable[Request | None], flying: dict[str, Request]
    ) -> Iterator[Request | None]:
        for request in requests:
            if request is not None:
                self.calls += 1
                flying[request.key] = request
            yield request


class Looks:
    """Looks at completions as they come, and at ready responses: whether nearly all of a source are cut, and
    how many do not think."""

    def __init__(self, teacher: Teacher, sampling: Sampling, screens: Screens) -> None:
        self._teacher, self._screens, self._lookout = teacher, screens, dropped.Lookout()
        self._most_tokens = max(
            sampling.max_tokens, *(sampling.adaptive.budgets if sampling.adaptive else ()), 0
        )
        self._lock = threading.Lock()
        self._rows: Counter[str] = Counter()
        self._unthinking: Counter[str] = Counter()

    def over(self, rows: Iterable[Trace]) -> Iterator[Trace]:
        """The same traces; those that came to something are counted by source, and those of them without
        thinking."""
        for trace in rows:
            source = trace.problem.source
            if trace.failure is None:
                with self._lock:
                    self._rows[source] += 1
                    self._unthinking[source] += not (trace.thinking or "").strip()
            if trace.teacher.startswith(traces.READY) and self._lookout.wants(source):
                self._see(trace)
            yield trace

    def tell(self) -> None:
        """Says how many traces of each source came without thinking in this run."""
        with self._lock:
            found = [(source, count) for source, count in self._unthinking.items() if count]
        if found:
            told = ", ".join(
                f"{count:,} of {self._rows[source]:,} traces of {source}" for source, count in found
            )
            say(f"without thinking: {told} (dropped as {filters.MALFORMED}, unless {dropped.ALLOW})")

    def at(self, request: Request, completion: Completion) -> None:
        """Looks at one completion; a failed one, and one that is asked again with a larger budget, says
        nothing."""
        problem = request.problem
        cut = completion.finish_reason == "length" and request.max_tokens < self._most_tokens
        if completion.failure is not None or cut or not self._lookout.wants(problem.source):
            return
        self._see(traces.of_tries(problem, [completion], self._teacher, request.seed, request.sample_index))

    def _see(self, trace: Trace) -> None:
        problem = trace.problem
        if (found := filters.truncated(trace)) is not None:
            self._lookout.see(problem.source, filters.TRUNCATED, found)
        else:
            characters = None if trace.thinking is None else len(trace.thinking.strip())
            found = filters.unthinking(characters, problem.kind, self._screens)
            self._lookout.see(problem.source, found and filters.MALFORMED, found or "")


class Watch:
    """Tells the meter and the budget what is asked and what comes back."""

    def __init__(self, meter: Meter, budget: Budget, looks: Looks | None = None) -> None:
        self.budget = budget
        self._meter, self._looks = meter, looks

    def asks(self) -> bool:
        """Whether a request may be handed out."""
        return self.budget.asks()

    def withdrew(self) -> None:
        """A request is not handed out after all."""
        self.budget.withdraw()

    def took(self, completion: Completion) -> None:
        """A completion has come back."""
        self.budget.add(completion)
        self._meter.add(0, completion.completion_tokens or 0, self.budget.note())

    def settled(self) -> None:
        """One problem more has all its draws."""
        self._meter.add(1)

    def over(self, rows: Iterable[Trace]) -> Iterator[Trace]:
        """The same traces, looked at as they pass."""
        rows = self.budget.observed.over(rows)
        return rows if self._looks is None else self._looks.over(rows)


class Live(NamedTuple):
    """What the shards of a run share, which stays in this process: the arguments of `sample`."""

    asked: Asked
    engine: LazyEngine
    completions: Completions
    watch: Watch
    cancellation: Cancellation


@flow(name="sample", task_runner=RUNNER, **runners.FLOW)
def sample_stage(folders: Folders) -> Folder:
    """Makes or reuses the traces of a model on finished problems; what filters would drop nearly all of is
    told as it comes."""
    traces, sampling = folders.traces, folders.sampling
    looks = Looks(folders.model.teacher, sampling, folders.screens) if folders.screens else None
    with traces.making("0 teacher calls") as todo:
        if todo:
            calls = _sampled(folders, looks)
            say(f"made {traces.label}: {calls:,} teacher calls")
    if failures := traces.needed("distill sample").get("failures"):
        told = ", ".join(
            f"{rows:,} {reason}" for reason, rows in sorted(failures.items(), key=lambda item: -item[1])
        )
        say(
            f"without a completion: {told} (--set sampling.again={(sampling.again or 0) + 1} asks for these "
            "once more)"
        )
    if looks is not None:
        looks.tell()
    return traces


def _sampled(folders: Folders, looks: Looks | None) -> int:
    """Samples the shards that are missing, closes the folder of traces, and returns the number of
    requests."""
    model, sampling, traces = folders.model, folders.sampling, folders.traces
    sources = folders.compared.shards()
    missing = traces.lacks(sources)
    usable = {source: _usable(source) for source in sources}
    left, total = sum(usable[one.source] for one in missing), sum(usable.values())
    cancellation = Cancellation()
    with (
        runners.completions_of(folders.completions) as completions,
        ExitStack() as stack,
        Meter(f"sampling {folders.asked}", total, total - left) as meter,
        _by_hand(cancellation),
    ):
        budget = Budget(model.teacher, sampling, completions.usage().total, cancellation, completions.usage)
        used = {sampling.max_tokens, *(sampling.adaptive.budgets if sampling.adaptive else ())}
        terms = Asked(folders.known_as, sampling, folders.verification, completions.budgets(used))
        engine = LazyEngine(model.teacher, stack, cancellation, looks)
        live = Live(terms, engine, completions, Watch(meter, budget, looks), cancellation)
        here = cast(Live, quote(live))  # Prefect hands it over as it is
        if ENGINES[model.teacher.engine].overlaps:
            _overlapping(missing, here, cancellation)
        else:
            for one in missing:  # in this thread, where a signal stops it at once
                sample_shard(*one, here)
        spent = budget.summary()
    targets = [f"{traces.path}/{source.rsplit('/', 1)[1]}" for source in sources]
    failures, sums = _counts(targets)
    traces.finish(targets, calls=engine.calls, failures=failures, of_rows=sums, spent=spent)
    return engine.calls


@task(name="sample-shard", **runners.TASK)
def sample_shard(source: str, target: str, here: Live) -> int:
    """Asks a model about one shard of problems; `here` is what stays in this process."""
    return shards.write(Trace, here.watch.over(sample(checked.read(Problem, source), *here)), target)


def _overlapping(work: Sequence[Missing], here: Live, cancellation: Cancellation) -> None:
    """Samples many shards at a time; after the cancellation, waits for what is in flight in each of them."""
    free, futures, stopped = threading.Semaphore(SHARDS_AT_ONCE), list[Any](), False

    def done(future: Any) -> None:
        future.wait()  # it is done: without this, its state would be asked of the server
        if not future.state.is_completed():
            cancellation.cancel("another shard failed")  # whose own error is told; the others stop paying
        free.release()

    for paths in work:
        free.acquire()
        if cancellation.reason is not None:
            break
        futures.append(sample_shard.submit(*paths, here))
        futures[-1].add_done_callback(done)
    for future in futures:
        future.wait()
    for future in futures:
        try:
            future.result()
        except RunStopped:
            stopped = True
    if stopped or len(futures) < len(work):
        cancellation.check()


@contextmanager
def _by_hand(cancellation: Cancellation) -> Iterator[None]:
    """Makes the first Ctrl-C cancel the run, and the second one what it was before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:  # a script has put us into the background
        yield
        return

    def stop() -> None:
        cancellation.cancel(STOPPED, by_hand=True)
        say(
            "finishing what is in flight, then saving; Ctrl-C again stops at once (what is in flight is then "
            "paid for and lost)"
        )

    def interrupted(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        threading.Thread(target=stop).start()  # a handler may come while this thread holds a lock

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _counts(paths: Sequence[str]) -> tuple[dict[str, int], dict[str, float]]:
    """Of all rows of some shards, how many have which failure, and the sums of tokens and money."""
    failures: Counter[str] = Counter()
    sums: dict[str, float] = dict.fromkeys(COUNTED, 0)
    for table in chain.from_iterable(checked.read_tables(path, [*COUNTED, "failure"]) for path in paths):
        failures.update(table["failure"].drop_null().to_pylist())
        for name in COUNTED:
            sums[name] += pc.sum(table[name]).as_py() or 0
    return dict(failures), sums


def _usable(source: str) -> int:
    """How many problems of a shard have traces."""
    return sum(row["unusable"] is None for row in checked.read_rows(source, ["unusable"]))
