"""The second room: asks the teacher n times about each usable problem, and gives back exactly n traces a problem.

A problem that came with a ready response is not asked: the response is its one trace, and the journal knows nothing of it.
The journal is the truth about what was asked: only what it lacks is asked, and each completion is in it before the next
one is looked at. Traces come out in problem order with siblings together, whatever order the engine answered in. A
completion that could not be had is a trace with a `failure`; a teacher that is gone is an `EngineError`, after which the
same call goes on where it stopped. Nothing is judged here, and a cut completion is kept as it was cut.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from distill import normalise, prompts
from distill.engines import Completion, Engine, EngineError, Request
from distill.journal import Journal
from distill.recipe import Sampling, Teacher
from distill.records import Problem, Trace
from distill.store import digest

VERSION = 1
READY = "ready:"
"""Before the source's name it is the teacher of a trace that came with its problem."""


def sample(
    problems: Iterable[Problem],
    teacher: Teacher,
    sampling: Sampling,
    engine: Engine,
    journal: Journal,
    on_completion: Callable[[Completion], None] | None = None,
    budgets: Sequence[int] = (),
) -> Iterator[Trace]:
    """The n traces of each usable problem of a shard, or its ready one, in order; `on_completion` sees each new completion.

    `budgets` are values of `max_tokens` under which the journal may hold the same draws: those that came to their end within
    the present one are taken over, and only the others are asked again. Holds the problems in memory, and of the completions
    only those in flight. Raises EngineError when the teacher is gone.
    """
    usable = [problem for problem in problems if problem.unusable is None]
    requests = _missing([problem for problem in usable if problem.response is None], teacher, sampling, journal, budgets)
    for arrived in engine.complete(requests, sampling):
        journal.append([arrived])
        if on_completion is not None:
            on_completion(arrived)
    for problem in usable:
        if problem.response is not None:
            yield _ready(problem, problem.response)
            continue
        for index in range(sampling.n):
            key = trace_id(problem, teacher, sampling, index)
            completion = journal.get(key)
            if completion is None:
                raise EngineError(f"the {teacher.engine} engine returned nothing for request {key}; run it again to ask once more")
            yield _trace(problem, completion, teacher, draw_seed(problem, teacher, sampling, index), index)


def trace_id(problem: Problem, teacher: Teacher, sampling: Sampling, index: int) -> str:
    """The sampling key: 16 hex digits of the draw and its budget `max_tokens`; `n` is no part of it."""
    return digest(f"{_draw(problem, teacher, sampling, index)}/{sampling.max_tokens}")[:16]


def draw_seed(problem: Problem, teacher: Teacher, sampling: Sampling, index: int) -> int:
    """The seed of a completion, below 2**31: one draw has one seed, whatever its budget."""
    return int(_draw(problem, teacher, sampling, index)[:8], 16) >> 1


def _missing(problems: list[Problem], teacher: Teacher, sampling: Sampling, journal: Journal, budgets: Sequence[int]) -> Iterator[Request]:
    """Requests for what the journal lacks, siblings one after another so that a server's prefix cache serves them."""
    asked: set[str] = set()
    others = [sampling.model_copy(update={"max_tokens": budget}) for budget in budgets if budget != sampling.max_tokens]
    for problem in problems:
        for index in range(sampling.n):
            key = trace_id(problem, teacher, sampling, index)
            if key in journal or key in asked:
                continue
            asked.add(key)
            found = (journal.get(trace_id(problem, teacher, other, index)) for other in others)
            whole = next((one for one in found if one is not None and _ended_within(one, sampling.max_tokens)), None)
            if whole is not None:
                journal.append([replace(whole, key=key)])
                continue
            messages = prompts.render(problem, sampling.prompt, sampling.system)
            yield Request(key, problem, index, messages, teacher.prefill, draw_seed(problem, teacher, sampling, index))


def _ended_within(completion: Completion, max_tokens: int) -> bool:
    """True for a completion that came to its own end, and would have under another budget."""
    ended = completion.failure is None and completion.finish_reason == "stop"
    return ended and completion.completion_tokens is not None and completion.completion_tokens <= max_tokens


def _draw(problem: Problem, teacher: Teacher, sampling: Sampling, index: int) -> str:
    """Hash of all that decides the distribution of one completion but its length budget."""
    return digest(f"{problem.problem_id}/{_distribution(teacher, sampling)}/{index}")


@lru_cache(maxsize=16)
def _distribution(teacher: Teacher, sampling: Sampling) -> str:
    asked_of = {name: value for name, value in teacher.identity().items() if name != "licence"}
    asked_how = {name: value for name, value in sampling.identity().items() if name not in ("n", "max_tokens", "prompt")}
    asked_how["prompt"] = prompts.identity(sampling.prompt)
    return digest(json.dumps([asked_of, asked_how], sort_keys=True))


def _ready(problem: Problem, response: str) -> Trace:
    """The trace of a problem that came with its response, which the trace's problem does not hold a second time."""
    parts = normalise.split(response)
    return Trace(
        problem=replace(problem, response=None),
        id=digest(f"{READY}{problem.problem_id}/{digest(response)}")[:16],
        sample_index=0,
        thinking=parts.thinking,
        answer=parts.answer,
        think_closed=parts.think_closed,
        finish_reason="stop",
        teacher=f"{READY}{problem.source}",
    )


def _trace(problem: Problem, completion: Completion, teacher: Teacher, seed: int, index: int) -> Trace:
    parts = normalise.split(completion.content, completion.reasoning, teacher.prefill)
    thinking_tokens, answer_tokens = token_split(completion, parts)
    return Trace(
        problem=problem,
        id=completion.key,
        sample_index=index,
        thinking=parts.thinking,
        answer=parts.answer,
        think_closed=parts.think_closed,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        thinking_tokens=thinking_tokens,
        answer_tokens=answer_tokens,
        teacher=normalise.well_formed(completion.model),
        seed=seed,
        cost_usd=cost_usd(completion, teacher),
        failure=completion.failure,
    )


def token_split(completion: Completion, parts: normalise.Parts) -> tuple[int | None, int | None]:
    """(thinking, answer) tokens: as the server counted, else the total divided by characters; None when there is no total."""
    total = completion.completion_tokens
    if total is None:
        return None, None
    characters = len(parts.thinking or "")
    counted = completion.reasoning_tokens
    if not counted:  # servers that do not parse thinking report 0
        counted = round(total * characters / max(1, characters + len(parts.answer)))
    return min(counted, total), total - min(counted, total)


def cost_usd(completion: Completion, teacher: Teacher) -> float | None:
    """What a completion cost; None without a price or when a priced count is unknown."""
    cost = None
    priced = (
        (completion.prompt_tokens, teacher.prompt_usd_per_million),
        (completion.completion_tokens, teacher.completion_usd_per_million),
    )
    for tokens, price in priced:
        if price is None:
            continue
        if tokens is None:
            return None
        cost = (cost or 0.0) + tokens * price / 1e6
    return cost
