"""Parameters, KV cache and FLOPs of a shape are those of the models that are known."""

import json
from pathlib import Path

import pytest

from distill.hardware import flops_per_token, memory, mfu, shapes
from distill.recipe import load

GIB = memory.GIB
S32K = 32_768
KNOWN = [
    # model, parameters (B), bytes of KV cache a token, bf16 weights in GiB, attention % of 6N at 32k
    ("Qwen/Qwen2.5-1.5B", 1.544, 28_672, 2.9, 91),
    ("Qwen/Qwen2.5-7B", 7.616, 57_344, 14.2, 43),
    ("Qwen/Qwen2.5-14B", 14.770, 196_608, 27.5, 55),
    ("Qwen/Qwen2.5-32B", 32.764, 262_144, 61.0, 33),
    ("Qwen/Qwen3-0.6B", 0.596, 114_688, 1.1, None),
    ("Qwen/Qwen3-8B", 8.191, 147_456, 15.3, None),
    ("Qwen/Qwen3-32B", 32.762, 262_144, 61.0, None),
    ("meta-llama/Llama-3.1-8B", 8.030, 131_072, 15.0, 53),
    ("meta-llama/Llama-3.3-70B-Instruct", 70.553, 327_680, 131.4, 30),
]
LLAMA = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
}


@pytest.mark.parametrize("row", KNOWN, ids=[row[0] for row in KNOWN])
def test_a_known_shape_has_the_published_size_and_cache(
    row: tuple[str, float, int, float, int | None],
) -> None:
    model, billions, cache, weights, attention = row
    shape = shapes.of(model)
    assert shape is not None
    assert shape.parameters / 1e9 == pytest.approx(billions, abs=0.0015)
    assert shape.kv_bytes() == cache
    assert shape.kv_bytes(1) == cache / 2
    assert shape.parameters * 2 / GIB == pytest.approx(weights, abs=0.06)
    if attention is not None:
        share = flops_per_token(shape, S32K) / (6 * shape.parameters) - 1
        assert 100 * share == pytest.approx(attention, abs=1)


def test_latent_attention_caches_its_latent_numbers_only(tmp_path: Path) -> None:
    config = LLAMA | {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shape = shapes.of(str(tmp_path))
    assert shape is not None and shape.kv_bytes() == 70_272


def test_a_config_without_groups_of_heads_caches_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    shape = shapes.of(str(tmp_path))
    assert shape is not None and shape.kv_bytes() == 2 * 2 * 64 * 2


def test_flops_and_mfu_are_those_of_the_formula() -> None:
    shape = shapes.known()["qwen2.5-0.5b"]
    plain = 6 * shape.parameters + 6 * 24 * 14 * 64 * 400
    assert flops_per_token(shape, 400) == plain
    assert flops_per_token(shape, 400, recomputed=True) == pytest.approx(plain * 4 / 3)
    assert mfu(shape, 400, 76_800, 989e12) == pytest.approx(0.234, abs=0.002)  # measured on an H200


@pytest.mark.parametrize("name", [name for name in load.names("students") if not name.startswith("tiny")])
def test_a_recipe_says_how_many_parameters_its_shape_has(name: str) -> None:
    base = load.load_student(name, ()).base
    shape = shapes.of(base.model)
    assert shape is not None
    assert shape.parameters == pytest.approx(base.parameters, rel=1e-3)


@pytest.mark.parametrize("parameters", [900_000, 135_000_000, 4_000_000_000, 123_000_000_000])
def test_an_unknown_model_gets_a_shape_of_its_size(parameters: int) -> None:
    assert shapes.nearest(parameters).parameters == pytest.approx(parameters, rel=0.25)
