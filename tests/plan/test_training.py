"""The lines about a student agree with what a run took on an H200, and say what to choose where it does not fit."""

from dataclasses import replace

import pytest

from distill import plan
from distill.hardware import devices, memory
from distill.plan import serving, training
from distill.plan.costs import Range
from distill.recipe import DatasetRecipe, StudentRecipe, load

H200 = devices()["h200"]


def student(name: str, *overrides: str) -> StudentRecipe:
    return load.load_student(name, overrides)


def dataset(name: str, *overrides: str) -> DatasetRecipe:
    return load.load_dataset(name, overrides)


def within(band: Range, value: float) -> bool:
    return band.low <= value <= band.high


@pytest.mark.parametrize(
    ("what", "tokens_per_second", "capability"),
    [("end to end", 76_800, 9.0), ("end to end, Liger", 96_300, 9.0), ("padded", 52_800, 7.5)],
)
def test_measured_training_speeds_lie_in_the_band(
    what: str, tokens_per_second: float, capability: float
) -> None:
    chosen = student("qwen2.5-0.5b", "training.gradient_checkpointing=false")
    hours = training.hours(chosen, replace(H200, capability=capability), 1, 1e9, 400)
    taken = 1e9 / tokens_per_second / 3600
    assert within(hours, taken), what
    assert 0.5 < hours.likely / taken < 2


def test_an_evaluation_with_its_two_engine_starts_takes_what_it_took() -> None:
    """On an H200: 367 s for a 0.5B and its base at 16,000 to 18,000 tokens/s, 254 s of it in starts."""
    chosen = student("qwen2.5-0.5b", "evaluation.teacher=false")
    written = 113 * 17_000 / 2
    models = training.scored_models(chosen, dataset("gsm8k"), H200, 1)
    starts = training.engine_starts(chosen, dataset("gsm8k"), H200, 1)
    assert len(models) == 2 and within(starts, 254 / 3600)
    opened, size = models[1]
    assert size is not None
    one = serving.hours(size, opened, H200, 1, Range(written, written, written), 300)
    assert within(one.times(2).plus(starts), 367 / 3600)


def test_what_lies_beside_the_steps_is_planned() -> None:
    """49 s before the first step and 31 s in checkpoints: 18,229 rows of 320 tokens, three epochs."""
    chosen = student("qwen2.5-0.5b", "training.max_rows=18229")
    tokens = 18_229 * 320 * 3
    beside = training.beside_steps(chosen, dataset("gsm8k"), Range(tokens, tokens, tokens))
    assert within(beside, 80 / 3600)


def test_the_whole_run_is_the_sum_of_its_stages() -> None:
    made = plan.plan(student("qwen2.5-7b"), dataset("openr1-math"), "h200", 8)
    for unit in ("hours", "money"):
        parts = [made.of(f"{stage} {unit}") for stage in ("sampling", "training", "evaluation", "starts")]
        assert made.of(f"whole run {unit}").likely == pytest.approx(sum(part.likely for part in parts))
    assert made.of("disk").likely > made.of("checkpoint").likely > 80
    assert made.of("host memory").likely > made.of("checkpoint").likely


def test_a_teacher_of_unknown_size_is_left_out_and_said_so() -> None:
    made = plan.plan(student("qwen2.5-7b"), dataset("openr1-math", "teacher.model=some-model"), "h200", 8)
    assert made.of("whole run hours").likely > 0
    assert "leaves out its sampling hours" in made.verdict[-1]
    assert "unknown" in plan.table(made) and '"likely": null' in plan.as_json(made)


def test_a_priced_teacher_is_scored_for_its_price_and_takes_no_engine() -> None:
    priced = dataset("gsm8k", "teacher.completion_usd_per_million=2.0")
    chosen = student("qwen2.5-0.5b")
    alone = student("qwen2.5-0.5b", "evaluation.teacher=false")
    dear, cheap = (plan.plan(one, priced, "h200", 1) for one in (chosen, alone))
    tokens = sum(training.suite_tokens(suite).likely for suite in chosen.evaluation.asked_of_teacher)
    added = dear.of("evaluation money").likely - cheap.of("evaluation money").likely
    assert added == pytest.approx(tokens * 2e-6)
    assert dear.of("starts hours") == cheap.of("starts hours")


@pytest.mark.parametrize(
    ("name", "gpu", "gpus", "offered"),
    [
        ("qwen2.5-7b", "h100", 1, "2 x h100"),
        ("qwen2.5-7b", "h100", 1, "training.lora_rank=16"),
        ("qwen2.5-7b", "h100", 1, "smaller student"),
        ("llama-3.3-70b", "h100", 8, "128 x h100"),
        ("llama-3.3-70b", "rtx4090", 1, "smaller student, such as --student qwen3-0.6b"),
    ],
)
def test_what_does_not_fit_gets_the_next_best_offer(name: str, gpu: str, gpus: int, offered: str) -> None:
    chosen = student(name)
    made = plan.plan(chosen, dataset(chosen.dataset), gpu, gpus)
    assert not made.fits and made.verdict[0] == f"Training does not fit on {gpus} x {gpu}."
    assert offered in made.verdict[1]


def test_an_offer_is_one_that_fits() -> None:
    chosen = student("qwen2.5-7b", "training.lora_rank=16")
    data = dataset(chosen.dataset)
    assert training.memory_of(chosen, data, devices()["h100"], 1).likely < 79.6


def test_lora_takes_an_eighth_of_the_time_on_eight_gpus() -> None:
    chosen = student("qwen2.5-7b", "training.lora_rank=16")
    one, eight = (plan.plan(chosen, dataset("openr1-math"), "h200", gpus) for gpus in (1, 8))
    assert eight.of("training hours").likely == pytest.approx(one.of("training hours").likely / 8)
    assert eight.of("training money").likely == pytest.approx(one.of("training money").likely)


@pytest.mark.parametrize(
    ("overrides", "gpus", "said"),
    [
        (("teacher.engine=server",), 8, "9 x h100 or more"),
        (("teacher.engine=server",), 16, None),
        (("teacher.engine=vllm",), 16, "teacher.tensor_parallel=9"),
        (("teacher.engine=vllm", "teacher.tensor_parallel=16"), 16, None),
        (("teacher.engine=server", "teacher.completion_usd_per_million=2"), 1, None),
    ],
)
def test_a_teacher_that_does_not_fit_stands_in_the_verdict(
    overrides: tuple[str, ...], gpus: int, said: str | None
) -> None:
    made = plan.plan(student("qwen2.5-7b"), dataset("openr1-math", *overrides), "h100", gpus)
    told = [sentence for sentence in made.verdict if "The teacher" in sentence]
    assert len(told) == (said is not None)
    assert said is None or said in told[0]
    assert not (told and made.fits)


def test_checkpoints_hold_what_is_trained() -> None:
    full, lora = student("qwen2.5-7b"), student("qwen2.5-7b", "training.lora_rank=16")
    assert training.checkpoint_bytes(full) == 12 * 7_615_616_512
    adapters = memory.shape_of(lora.base).adapter_parameters(16)
    assert training.checkpoint_bytes(lora) == 12 * adapters
