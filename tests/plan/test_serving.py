"""Speeds of sampling: published and measured ones lie in the band, and one engine is bound by one CPU core."""

import pytest

from distill.hardware import devices
from distill.plan import serving
from distill.plan.costs import Range
from distill.recipe import Teacher

PUBLISHED = [
    # what, model, GPU, mean completion, sequences a GPU, engines a GPU, tokens/s a GPU
    ("OpenThoughts3: 22,000 H100-hours, about 10k a trace", "Qwen/QwQ-32B", "h100", 10_000, 64, 1, 152),
    ("four engines on one H200", "Qwen/Qwen2.5-1.5B", "h200", 256, 2048, 4, 67_000),
    ("one engine on one H100", "Qwen/Qwen2.5-1.5B", "h100", 256, 512, 1, 26_200),
    ("an evaluation on one H200", "Qwen/Qwen2.5-0.5B", "h200", 300, 256, 1, 17_000),
    ("TensorRT-LLM, FP8, 8k out", "deepseek-ai/DeepSeek-R1-0528", "h200", 8192, 128, 1, 1218),
    ("TensorRT-LLM, FP8, 32k out", "deepseek-ai/DeepSeek-R1-0528", "h200", 32_768, 128, 1, 438),
]


def speed(model: str, gpu: str, tokens: float, sequences: float, engines: float) -> Range:
    size = serving.served(Teacher(model=model))
    assert size is not None
    return serving.speed(size, devices()[gpu], tokens, sequences, engines)


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_and_measured_speeds_lie_in_the_band(
    row: tuple[str, str, str, float, float, float, float],
) -> None:
    *_, found = row
    band = speed(*row[1:-1])
    assert band.low <= found <= band.high


def test_a_device_that_was_not_measured_is_not_given_anothers_speed() -> None:
    slow, fast = (speed("deepseek-ai/DeepSeek-R1", gpu, 6000, 64, 1) for gpu in ("a100", "b200"))
    assert fast.likely > 1.5 * slow.likely


def test_one_engine_is_bound_by_one_core_and_four_are_not() -> None:
    one, four = (speed("Qwen/Qwen2.5-0.5B", "b200", 300, 1024, engines) for engines in (1, 4))
    assert one.high == 45_000 and four.high > one.high


def test_starting_an_engine_takes_its_start_and_the_reading_of_weights() -> None:
    small, large = (
        serving.start_hours(Teacher(model="m", engine="vllm"), weights) for weights in (1e9, 671e9)
    )
    assert 75 / 3600 < small.low < small.likely < small.high < 160 / 3600
    assert large.likely * 3600 == pytest.approx(120 + 671 / 2)
    assert serving.start_hours(Teacher(model="m", engine="server"), 671e9) == Range(0, 0, 0)
