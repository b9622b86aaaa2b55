"""What a plan says of teacher and judge: adaptive draws, mixtures of experts, APIs, copies on GPUs, and what
a budget covers."""

import pytest

from distill import plan
from distill.hardware import devices
from distill.plan import adaptive as odds
from distill.plan import costs, sampling, serving
from distill.plan.costs import Estimate, Range
from distill.recipe import DatasetRecipe, RecipeError, Teacher

H200 = devices()["h200"]
API = {
    "model": "some-api",
    "prompt_usd_per_million": 1.0,
    "cached_prompt_usd_per_million": 0.1,
    "completion_usd_per_million": 4.0,
}


def recipe(teacher: dict | None = None, sampling: dict | None = None, **more: object) -> DatasetRecipe:
    problems = [{"name": "p", "path": "org/p", "limit": 1000}]
    about = {
        "name": "demo",
        "description": "d",
        "problems": problems,
        "teacher": teacher or API,
        "sampling": {"n": 4, **(sampling or {})},
    }
    return DatasetRecipe.model_validate(about | more)


def lines(dataset: DatasetRecipe, gpus: int = 8) -> dict[str, Range]:
    return {
        one.name: one.value for one in [*sampling.sampling(dataset, H200, gpus), *sampling.judging(dataset)]
    }


def test_adaptive_sampling_lies_between_its_first_draws_and_its_cap() -> None:
    adaptive = recipe(sampling={"adaptive": {"enough": 2, "most": 16}})
    assert lines(adaptive)["traces"] == Range(
        4000, pytest.approx(1000 * odds.draws(adaptive.sampling, 0.5)), 16_000
    )
    assert lines(recipe())["traces"] == Range(4000, 4000, 4000)
    (shown,) = (one.note for one in sampling.sampling(adaptive, H200, 1) if one.name == "traces")
    assert shown == "4 to 16 of a problem, until 2 are right"


def test_open_problems_get_n_draws_whatever_is_adaptive() -> None:
    open_problems = [{"name": "o", "path": "org/o", "limit": 10, "kind": "open"}]
    assert lines(recipe(sampling={"adaptive": {"most": 16}}, problems=open_problems))["traces"] == Range(
        40, 40, 40
    )


def test_cut_ones_that_are_asked_again_cost_more() -> None:
    plain, again = (
        recipe(sampling={"adaptive": {"budgets": budgets}, "max_tokens": 1000})
        for budgets in ([], [2000, 4000])
    )
    added = lines(again)["traces"].by(costs.CUT).times(2000)
    assert lines(again)["sampled tokens"] == lines(plain)["sampled tokens"].plus(added)


def test_cached_prompts_cost_less() -> None:
    cached, fresh = (
        lines(recipe())["sampling money"],
        lines(recipe(API | {"cached_prompt_usd_per_million": None}))["sampling money"],
    )
    prompts = 4000 * costs.PROMPT_TOKENS / 1e6
    assert fresh.low - cached.low == pytest.approx(prompts * 0.9)
    assert fresh.likely - cached.likely == pytest.approx(prompts * 0.45)
    assert (
        fresh.high
        == pytest.approx(cached.high)
        == pytest.approx(lines(recipe())["sampled tokens"].high * 4e-6 + prompts)
    )


def test_an_api_takes_as_long_as_its_requests_do() -> None:
    few, many = (
        lines(recipe(API | {"concurrency": concurrency}))["sampling hours"] for concurrency in (10, 100)
    )
    assert few.likely == pytest.approx(10 * many.likely)
    assert many.likely == pytest.approx(lines(recipe())["sampled tokens"].likely / (100 * 21) / 3600)


@pytest.mark.parametrize(
    ("model", "weights_gb", "kv_kib"),
    [
        ("Qwen/QwQ-32B", 65.5, 256),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 65.5, 256),
        ("Qwen/Qwen3-235B-A22B", 470, 188),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", 235, 188),
        ("Qwen/Qwen3-30B-A3B", 60, 96),
        ("deepseek-ai/DeepSeek-R1-0528", 671, 68.625),
    ],
)
def test_known_teachers_have_their_weights_and_their_cache(
    model: str, weights_gb: float, kv_kib: float
) -> None:
    served = serving.served(Teacher(model=model))
    assert served is not None
    assert served.weights / 1e9 == pytest.approx(weights_gb, rel=0.01)
    assert served.kv_bytes / 1024 == kv_kib
    gib = (served.weights + 1000 * served.kv_bytes) / 2**30
    assert serving.least_gib(served, 1000) == pytest.approx(gib)


def test_a_mixture_needs_the_memory_of_all_its_experts_and_computes_with_some() -> None:
    mixture = serving.served(Teacher(model="org/Some-200B-A20B"))
    assert mixture is not None and (mixture.parameters, mixture.dense_share) == (20e9, 0.1)
    dense = serving.Served(mixture.weights, 200e9, 1.0, mixture.kv_bytes)
    for sequences in (1, 8, 1000):
        fast, slow = (serving.speed(one, H200, 1600, sequences, 100).likely for one in (mixture, dense))
        assert fast > slow
    assert serving.served(Teacher(model="nobody/knows")) is None


def test_fewer_sequences_at_a_time_are_slower() -> None:
    model = serving.served(Teacher(model="Qwen/QwQ-32B"))
    assert model is not None
    speeds = [serving.speed(model, H200, 6000, count / 4).likely for count in (4, 64, 1024)]
    assert speeds == sorted(set(speeds))


@pytest.mark.parametrize(
    ("layout", "gpus", "used"),
    [
        ({}, 8, 8),
        ({"replicas": 2}, 8, 2),
        ({"replicas": 6, "engines_per_gpu": 4}, 8, 2),
        ({"tensor_parallel": 4}, 8, 8),
        ({"tensor_parallel": 4, "replicas": 1}, 8, 4),
        ({"tensor_parallel": 3}, 8, 6),
        ({"tensor_parallel": 8}, 4, 4),
    ],
)
def test_time_counts_the_gpus_that_copies_of_a_model_use(layout: dict, gpus: int, used: int) -> None:
    found = lines(recipe({"engine": "vllm", "model": "Qwen/QwQ-32B", "concurrency": 10_000, **layout}), gpus)
    assert found["sampling hours"].likely == pytest.approx(
        found["sampling money"].likely / used / H200.usd_per_hour
    )


def test_a_budget_says_how_far_it_goes() -> None:
    whole = lines(recipe())["sampling money"].likely
    found = lines(recipe(sampling={"budget_usd": whole / 4, "budget_tokens": 10**12}))
    assert found["covered by budget_usd"].likely == pytest.approx(25)
    assert found["covered by budget_tokens"] == Range(100, 100, 100)
    band = [Estimate(name, "%", value) for name, value in found.items() if name.startswith("covered")]
    (told,) = sampling.stops(band)
    assert told.startswith("sampling.budget_usd would stop the run at about 25 % (")
    assert not list(sampling.stops(band[1:]))
    with pytest.raises(RecipeError, match="budget_usd needs the teacher's prices"):
        lines(recipe({"model": "Qwen/QwQ-32B"}, {"budget_usd": 1.0}))


def test_a_budget_in_money_covers_nothing_that_costs_nothing() -> None:
    free = {"model": "Qwen/QwQ-32B", "prompt_usd_per_million": 0.0, "completion_usd_per_million": 0.0}
    assert "covered by budget_usd" not in lines(recipe(free, {"budget_usd": 1.0}))


def test_the_judge_is_counted_for_what_it_is_asked() -> None:
    judge = {"model": API, "max_tokens": 2000}
    problems = [
        {"name": "p", "path": "org/p", "limit": 1000},
        {"name": "o", "path": "org/o", "limit": 100, "kind": "open"},
    ]

    def judged(**settings: object) -> dict[str, Range]:
        return lines(recipe(problems=problems, verification={"judge": judge | settings}))

    assert judged()["judge calls"] == Range(400, 400, 400)
    assert judged(second_opinion=0.25)["judge calls"] == Range(1400, 1400, 1400)
    assert judged(fills=["no_answer"])["judge calls"].likely == pytest.approx(
        400 + 4000 * sampling.FILLED.likely
    )
    tokens, money = judged()["judge tokens"], judged()["judge money"]
    assert tokens == Range(400 * 1100, 400 * 1300, 400 * 3000)
    assert money.high == pytest.approx(400 * (1000 * 1.0 + 2000 * 4.0) / 1e6)
    assert "judge money" not in judged(model={"model": "Qwen/QwQ-32B"})
    assert "judge calls" not in judged(
        model={"model": "m", "engine": "scripted"}
    ) and "judge calls" not in lines(recipe())


def test_the_lines_are_in_the_plan_with_a_word_about_the_budget() -> None:
    from distill.recipe import load_student

    made = plan.plan(load_student("qwen2.5-0.5b"), recipe(sampling={"budget_usd": 1.0}), "h100", 1)
    assert made.of("covered by budget_usd").likely < 5
    assert "sampling.budget_usd would stop the run" in made.verdict[-1]
