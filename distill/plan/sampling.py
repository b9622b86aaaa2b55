"""The lines of a plan about the teacher and the judge: traces, tokens, time, money, and what a budget covers.

Prices are the recipe's. An API is timed by its usual speed for one request, everything else by what GPUs can
do.
"""

import math
from collections.abc import Iterator, Sequence

from distill.engines import ENGINES
from distill.hardware import Device, memory
from distill.plan import costs
from distill.plan.costs import Estimate, Range, exact
from distill.progress import amount, dollars, number
from distill.recipe.dataset import DatasetRecipe, Judge, Teacher
from distill.sample import DrawPlan, require_prices

COVERED = "covered by "
JUDGE_PROMPT_TOKENS = 1000
"""Instruction, question, reference and answer; the thinking is not shown to it."""
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
    again, total = costs.next_budget(dataset.sampling), costs.sampled_tokens(dataset)
    cut = f" and 0, 5, 15 % of them {again:,} more where they were cut" if again else ""
    traces = costs.traces(costs.asked(dataset), dataset)
    lines.append(Estimate("sampled tokens", "", total, f"{number(traces.likely)} traces x tokens{cut}"))
    if dataset.teacher.completion_usd_per_million is not None:
        lines += _bought(dataset.teacher, total, _prompt_tokens(dataset), "sampling")
    else:
        lines += _computed(dataset, device, gpus, total)
    return [*lines, *_covered(dataset, lines)]


def judging(dataset: DatasetRecipe) -> list[Estimate]:
    """Lines about the judge, where there is one that costs anything."""
    judge = dataset.verification.judge
    if judge is None or not ENGINES[judge.model.engine].draws:
        return []
    calls, formula = _judged(dataset, judge)
    prompts = calls.times(JUDGE_PROMPT_TOKENS)
    low, likely = (min(tokens, judge.max_tokens) for tokens in JUDGE_REPLY_TOKENS)
    replies = calls.by(Range(low, likely, judge.max_tokens))
    lines = [
        Estimate("judge calls", "", calls, formula),
        Estimate(
            "judge tokens",
            "",
            prompts.plus(replies),
            f"calls x ({JUDGE_PROMPT_TOKENS:,} asked + {low}, {likely}, {judge.max_tokens:,})",
        ),
    ]
    return lines + (
        _bought(judge.model, replies, prompts, "judge")
        if judge.model.completion_usd_per_million is not None
        else []
    )


def stops(estimates: Sequence[Estimate]) -> Iterator[str]:
    """A sentence about the budget that is likely to end sampling first, where one does before all is
    asked."""
    covered = [
        estimate
        for estimate in estimates
        if estimate.name.startswith(COVERED) and estimate.value.likely < 100
    ]
    for estimate in sorted(covered, key=lambda estimate: estimate.value.likely)[:1]:
        band = f"{number(estimate.value.low)} to {number(estimate.value.high)} %"
        key = f"sampling.{estimate.name.removeprefix(COVERED)}"
        yield f"{key} would stop the run at about {number(estimate.value.likely)} % ({band}) of its sampling."


def _traces(dataset: DatasetRecipe) -> list[Estimate]:
    """Problems, and what is asked about each of them."""
    counted = [costs.problem_count(source) for source in dataset.problems]
    problems, asked = (
        sum(rows for rows, _ in counted),
        sum(costs.problem_count(source)[0] for source in costs.asked(dataset)),
    )
    known = (
        ""
        if all(known for _, known in counted)
        else f"; {costs.ASSUMED_ROWS:,} assumed where the size is not known"
    )
    named = " + ".join(
        f"{source.name} {rows:,}" for source, (rows, _) in zip(dataset.problems, counted, strict=True)
    )
    ready, tokens = problems - asked, costs.trace_tokens(dataset)
    return [
        exact("problems", problems, named + known),
        Estimate(
            "traces",
            "",
            costs.traces(dataset.problems, dataset),
            f"{asked:,} problems x {_each(dataset)}" + (f" + {ready:,} ready ones" if ready else ""),
        ),
        Estimate(
            "tokens per trace", "", tokens, "R1's means by domain (Table 5), at most half of max_tokens"
        ),
    ]


def _each(dataset: DatasetRecipe) -> str:
    """How often a problem is asked."""
    adaptive = dataset.sampling.adaptive
    if adaptive is None:
        return f"n {dataset.sampling.n}"
    right = f"{DrawPlan(dataset.sampling).drawn} to {adaptive.most} until {adaptive.enough} are right"
    return f"{right}; likely where {costs.KEPT.likely:.0%} of traces are, by problem as Beta(p, 1 - p)"


def _prompt_tokens(dataset: DatasetRecipe) -> Range:
    return costs.traces(costs.asked(dataset), dataset).times(costs.PROMPT_TOKENS)


def _bought(model: Teacher, replies: Range, prompts: Range, name: str) -> list[Estimate]:
    """Money and time of an API; siblings find their prompt in the cache at the low end, half of the time, and
    never."""
    fresh, reply = model.prompt_usd_per_million or 0.0, model.completion_usd_per_million or 0.0
    cached = model.cached_prompt_usd_per_million if model.cached_prompt_usd_per_million is not None else fresh
    asked = prompts.by(Range(cached, (cached + fresh) / 2, fresh)).times(1e-6)
    money = replies.times(reply / 1e6).plus(asked)
    prices = f"replies x {reply:g} USD a million, prompts x {fresh:g}" + (
        f" (cached {cached:g})" if cached != fresh else ""
    )
    hours = costs.api_speed(model).under(1 / 3600)
    slow, usual, fast = costs.REQUEST_TOKENS_PER_SECOND
    return [
        Estimate(
            f"{name} hours",
            "h",
            hours.by(replies),
            f"replies / ({model.concurrency:,} requests at a time x {slow:g}, {usual:g}, {fast:g} tokens/s "
            "each)",
        ),
        Estimate(f"{name} money", "USD", money, prices),
    ]


def _computed(dataset: DatasetRecipe, device: Device, gpus: int, total: Range) -> list[Estimate]:
    """Memory, time and money of a teacher that runs on GPUs of one's own, or on some that are paid by the
    hour."""
    teacher, tokens = dataset.teacher, costs.trace_tokens(dataset)
    used, layout = _used(teacher, gpus)
    speed = costs.teacher_speed(teacher, device, tokens.likely, used)
    if speed is None:
        return [exact("sampling hours", float("nan"), f"the size of {teacher.model} is not known here")]
    need = (costs.teacher_bytes(teacher, tokens.likely) or 0.0) / memory.GIB
    needed = math.ceil(need / (device.memory_gib * memory.VLLM_SHARE))
    source = (
        "published for R1, Open-R1 to DeepSeek's own"
        if costs.is_r1(teacher.model)
        else "5, 25, 60 % of the decode roofline"
    )
    hours = speed.under(total.likely / 3600)
    return [
        exact(
            "teacher memory",
            need,
            f"weights and one sequence: {needed} x {device.name} or more, at 90 % of each",
            "GiB",
        ),
        Estimate(
            "teacher speed",
            "tok/s",
            speed,
            f"{teacher.model} on one {device.name}: {source}; {teacher.concurrency:,} sequences at a time",
        ),
        Estimate(
            "sampling hours", "h", hours.times(1 / used), f"{number(total.likely)} tokens / speed / {layout}"
        ),
        Estimate(
            "sampling money",
            "USD",
            hours.times(device.usd_per_hour),
            f"GPU-hours x {device.usd_per_hour:g} USD",
        ),
    ]


def _used(teacher: Teacher, gpus: int) -> tuple[int, str]:
    """How many of the GPUs a teacher uses, and in words: vLLM has copies of `tensor_parallel` GPUs each, with
    `engines_per_gpu` on them."""
    width = min(teacher.tensor_parallel, gpus)
    if not ENGINES[teacher.engine].starts_servers or (width == 1 and teacher.replicas is None):
        return gpus, f"{gpus}"
    groups = gpus // width
    if teacher.replicas is not None:
        groups = min(groups, math.ceil(teacher.replicas / teacher.engines_per_gpu))
    return groups * width, f"{groups * width} ({groups} x {width} GPUs)"


def _covered(dataset: DatasetRecipe, lines: Sequence[Estimate]) -> list[Estimate]:
    """The share of sampling that a budget pays for."""
    found = {line.name: line.value for line in lines}
    caps = (
        ("budget_usd", dataset.sampling.budget_usd, found.get("sampling money"), dollars),
        (
            "budget_tokens",
            dataset.sampling.budget_tokens,
            found["sampled tokens"].plus(_prompt_tokens(dataset)),
            lambda cap: amount(round(cap)),
        ),
    )
    return [
        Estimate(
            COVERED + name, "%", need.under(100 * cap).at_most(100), f"{shown(cap)} of what sampling takes"
        )
        for name, cap, need, shown in caps
        if cap is not None and need is not None and need.low > 0
    ]


def _judged(dataset: DatasetRecipe, judge: Judge) -> tuple[Range, str]:
    """How often the judge is asked: every `open` answer, others that no rule could read, and those drawn for
    a second opinion."""
    unruled = [
        source for source in dataset.problems if source.kind == "open" and source.reference is not None
    ]
    ruled = [source for source in dataset.problems if source.kind != "open"]
    calls, formula = costs.traces(unruled, dataset), "open traces"
    others = costs.traces(ruled, dataset)
    if judge.fills:
        calls, formula = (
            calls.plus(others.by(FILLED)),
            f"{formula} + 1, 5, 15 % of the others that no rule can read",
        )
    if judge.second_opinion:
        calls, formula = (
            calls.plus(others.times(judge.second_opinion)),
            f"{formula} + {judge.second_opinion:.0%} of them for a second opinion",
        )
    return calls, formula
