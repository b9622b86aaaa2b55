"""The lines of a plan about the teacher and the judge: traces, tokens, time, money, and what a budget covers.

Prices are the recipe's. An API is timed by the usual speed of one request, every other model by `serving`.
"""

import math
from collections.abc import Iterator, Sequence

from distill.engines import ENGINES
from distill.hardware import Device, memory
from distill.plan import costs, serving
from distill.plan.costs import NOTHING, Estimate, Range, exact
from distill.progress import amount, dollars, number
from distill.recipe import DatasetRecipe, Judge, Teacher
from distill.sample import DrawPlan, require_prices

COVERED = "covered by "
JUDGE_PROMPT_TOKENS = 1000
"""Instruction, question, reference and answer; the judge does not see the thinking."""
JUDGE_REPLY_TOKENS = (100, 300)
"""Low and likely; the recipe's `max_tokens` is the high end, for a judge that thinks."""
FILLED = Range(0.01, 0.05, 0.15)
"""Share of the answers that a rule cannot read."""


def sampling(dataset: DatasetRecipe, device: Device, gpus: int) -> list[Estimate]:
    """Lines about the teacher; raises RecipeError for a cap in money without prices."""
    require_prices(dataset.teacher, dataset.sampling)
    lines = _traces(dataset)
    if not ENGINES[dataset.teacher.engine].draws or not costs.asked(dataset):
        return lines
    written = costs.sampled_tokens(dataset)
    lines.append(Estimate("sampled tokens", "", written))
    if dataset.teacher.completion_usd_per_million is not None:
        lines += _bought(dataset.teacher, written, _prompt_tokens(dataset), "sampling")
    else:
        lines += _computed(dataset, device, gpus, written)
    return [*lines, *_covered(dataset, lines)]


def judging(dataset: DatasetRecipe) -> list[Estimate]:
    """Lines about the judge, where there is one that costs anything."""
    judge = dataset.verification.judge
    if judge is None or not ENGINES[judge.model.engine].draws:
        return []
    calls = _judged(dataset, judge)
    prompts = calls.times(JUDGE_PROMPT_TOKENS)
    low, likely = (min(tokens, judge.max_tokens) for tokens in JUDGE_REPLY_TOKENS)
    replies = calls.by(Range(low, likely, judge.max_tokens))
    lines = [Estimate("judge calls", "", calls), Estimate("judge tokens", "", prompts.plus(replies))]
    if judge.model.completion_usd_per_million is not None:
        lines += _bought(judge.model, replies, prompts, "judge")
    return lines


def stops(estimates: Sequence[Estimate]) -> Iterator[str]:
    """A sentence about the budget that is likely to end sampling first, where one covers less than all of
    it."""
    covered = [line for line in estimates if line.name.startswith(COVERED) and line.value.likely < 100]
    for line in sorted(covered, key=lambda line: line.value.likely)[:1]:
        band = f"{number(line.value.low)} to {number(line.value.high)} %"
        key = f"sampling.{line.name.removeprefix(COVERED)}"
        yield f"{key} would stop the run at about {number(line.value.likely)} % ({band}) of its sampling."


def teacher_room(dataset: DatasetRecipe, device: Device, gpus: int) -> str | None:
    """A sentence where the teacher needs more GPUs than there are; None where it fits, or is a priced server.

    An engine of ours spreads a copy over `teacher.tensor_parallel` GPUs; where a server runs is not known, so
    all GPUs count for it.
    """
    teacher = dataset.teacher
    model = serving.served(teacher)
    if not ENGINES[teacher.engine].draws or not costs.asked(dataset) or model is None:
        return None
    if teacher.completion_usd_per_million is not None:
        return None
    need = serving.least_gib(model, costs.trace_tokens(dataset).likely)
    room = device.memory_gib * memory.VLLM_SHARE
    wide = {"vllm": min(teacher.tensor_parallel, gpus), "transformers": 1}.get(teacher.engine, gpus)
    share = room / (teacher.engines_per_gpu if ENGINES[teacher.engine].starts_servers else 1)
    if need <= wide * share:
        return None
    what = f"The teacher {teacher.model} does not fit: it needs {number(need)} GiB"
    if need <= gpus * room and ENGINES[teacher.engine].starts_servers:
        least = math.ceil(need / room)
        return f"{what}; set teacher.tensor_parallel={least} or more, and teacher.engines_per_gpu=1."
    needed = f"{math.ceil(need / room)} x {device.name} or more"
    return f"{what}, {needed}. Serve it elsewhere (teacher.engine=server), or take a smaller one."


def _traces(dataset: DatasetRecipe) -> list[Estimate]:
    """Problems, and what is asked about each of them."""
    counted = [costs.problem_count(source) for source in dataset.problems]
    named = ", ".join(
        f"{source.name} {rows:,}{'' if known else ' (assumed)'}"
        for source, (rows, known) in zip(dataset.problems, counted, strict=True)
    )
    adaptive = dataset.sampling.adaptive
    each = f"n {dataset.sampling.n}"
    if adaptive is not None:
        first = DrawPlan(dataset.sampling).drawn
        each = f"{first} to {adaptive.most} of a problem, until {adaptive.enough} are right"
    return [
        exact("problems", "", sum(rows for rows, _ in counted), named),
        Estimate("traces", "", costs.traces(dataset.problems, dataset), each),
        Estimate("tokens per trace", "", costs.trace_tokens(dataset)),
    ]


def _prompt_tokens(dataset: DatasetRecipe) -> Range:
    return costs.traces(costs.asked(dataset), dataset).times(costs.PROMPT_TOKENS)


def _bought(model: Teacher, replies: Range, prompts: Range, name: str) -> list[Estimate]:
    """Time and money of a server with prices.

    - Hours: replies / (requests in flight x tokens/s of one).
    - Money: replies and prompts at their prices. The prompt of a problem's second and later completions may
      be in the server's cache: low takes all prompts at the cached price, likely half of them, high none.
    """
    fresh, reply = model.prompt_usd_per_million or 0.0, model.completion_usd_per_million or 0.0
    cached = model.cached_prompt_usd_per_million
    cached = fresh if cached is None else cached
    asked = prompts.by(Range(cached, (cached + fresh) / 2, fresh)).times(1e-6)
    hours = serving.api_speed(model).under(1 / 3600).by(replies)
    prices = f"{reply:g} USD a million, prompts {fresh:g}" + (
        f", cached {cached:g}" if cached != fresh else ""
    )
    return [
        Estimate(f"{name} hours", "h", hours, f"{model.concurrency:,} requests at a time"),
        Estimate(f"{name} money", "USD", replies.times(reply / 1e6).plus(asked), prices),
    ]


def _computed(dataset: DatasetRecipe, device: Device, gpus: int, written: Range) -> list[Estimate]:
    """Memory, speed, time and money of a teacher on GPUs: hours are those of the likely number of tokens, and
    money is for the GPUs that the teacher uses."""
    teacher, tokens = dataset.teacher, costs.trace_tokens(dataset).likely
    model = serving.served(teacher)
    if model is None:
        return [exact("sampling hours", "h", math.nan, f"the size of {teacher.model} is not known here")]
    placed = serving.engines(teacher, gpus)
    each = placed.copies / placed.gpus
    speed = serving.speed(model, device, tokens, teacher.concurrency / placed.gpus, each)
    hours = serving.hours(model, teacher, device, gpus, written, tokens)
    return [
        exact("teacher memory", "GiB", serving.least_gib(model, tokens), "weights and one sequence"),
        Estimate(
            "teacher speed", "tok/s", speed, f"{teacher.model} on one {device.name}: modelled, not measured"
        ),
        Estimate("sampling hours", "h", hours, f"{placed.gpus} GPUs"),
        Estimate("sampling money", "USD", hours.times(placed.gpus * device.usd_per_hour)),
    ]


def _covered(dataset: DatasetRecipe, lines: Sequence[Estimate]) -> list[Estimate]:
    """The share of sampling that a budget pays for: the cap over what sampling takes."""
    found = {line.name: line.value for line in lines}
    section = dataset.sampling
    tokens = found["sampled tokens"].plus(_prompt_tokens(dataset))
    caps: list[tuple[str, float | None, Range, str]] = [
        (
            "budget_usd",
            section.budget_usd,
            found.get("sampling money", NOTHING),
            dollars(section.budget_usd or 0),
        ),
        ("budget_tokens", section.budget_tokens, tokens, amount(section.budget_tokens or 0)),
    ]
    return [
        Estimate(COVERED + name, "%", need.under(100 * cap).at_most(100), shown)
        for name, cap, need, shown in caps
        if cap is not None and need.low > 0
    ]


def _judged(dataset: DatasetRecipe, judge: Judge) -> Range:
    """How often the judge is asked: every `open` answer with a reference, others that no rule could read, and
    those drawn for a second opinion."""
    unruled = [
        source for source in dataset.problems if source.kind == "open" and source.reference is not None
    ]
    others = costs.traces([source for source in dataset.problems if source.kind != "open"], dataset)
    calls = costs.traces(unruled, dataset).plus(others.times(judge.second_opinion))
    return calls.plus(others.by(FILLED)) if judge.fills else calls
