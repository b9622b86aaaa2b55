"""Speeds of sampling: published and measured ones lie in the band, and one engine is bound by one CPU core."""

import importlib.util
import subprocess
import sys

import pytest

from distill.engines.vllm.arguments import places, plans, vllm_python
from distill.hardware import devices
from distill.plan import serving
from distill.plan.costs import Range
from distill.recipe import Teacher, load_student

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


@pytest.mark.parametrize(
    ("student", "gpu", "gpus", "wide"),
    [
        ("llama-3.3-70b", "h100", 8, 4),
        ("llama-3.3-70b", "h200", 8, 2),
        ("llama-3.3-70b", "h100", 2, 2),
        ("qwen2.5-32b", "h100", 8, 2),
        ("qwen2.5-7b", "h100", 8, 1),
        ("qwen2.5-7b", "rtx4090", 8, 1),
        ("qwen2.5-14b", "rtx4090", 8, 2),
        ("tiny-qwen2", "h100", 0, 1),
    ],
)
def test_a_student_is_spread_over_as_few_gpus_as_hold_it(
    student: str, gpu: str, gpus: int, wide: int
) -> None:
    recipe = load_student(student)
    opened = serving.student_engine(recipe, "folder/model", devices()[gpu], gpus)
    assert opened.tensor_parallel == wide
    if gpus:
        assert len(places(opened, [str(number) for number in range(gpus)])) == gpus // wide


def test_an_evaluation_says_how_its_models_are_laid_out() -> None:
    said = (
        "evaluation.tensor_parallel=8",
        "evaluation.replicas=1",
        "evaluation.context_tokens=40000",
        'evaluation.serve_options=["--kv-cache-dtype", "fp8"]',
        "evaluation.concurrency=64",
    )
    opened = serving.student_engine(load_student("llama-3.3-70b", said), "folder", devices()["h100"], 8)
    (one,) = plans(opened, [1], places(opened, [str(number) for number in range(8)]))
    told = " ".join(one.options)
    for words in (
        "--tensor-parallel-size 8",
        "--max-model-len 40000",
        "--kv-cache-dtype fp8",
        "--max-num-seqs 64",
    ):
        assert words in told
    assert one.environment["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,5,6,7"
    assert opened.identity() == Teacher(engine="vllm", model="folder").identity(), "places decide nothing"


PARSE = """
import sys
from vllm.entrypoints.openai.cli_args import make_arg_parser
try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser
except ImportError:
    from vllm.utils import FlexibleArgumentParser
found = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
print(found.tensor_parallel_size, found.trust_request_chat_template)
"""


def test_vllm_takes_the_options_of_a_student_that_is_scored() -> None:
    python = vllm_python()
    if python == sys.executable and importlib.util.find_spec("vllm") is None:
        pytest.skip("no serving environment")
    opened = serving.student_engine(load_student("llama-3.3-70b"), "folder", devices()["h100"], 8)
    opened = opened.model_copy(update={"serve_options": ("--trust-request-chat-template",)})
    options = plans(opened, [8000], ["0,1,2,3"])[0].options
    done = subprocess.run([python, "-c", PARSE, "--model", "m", *options], capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ["4", "True"], done.stderr[-2000:]
