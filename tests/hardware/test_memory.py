"""Memory of training is what was measured, and follows the recipe's strategy; serving follows the precision."""

from dataclasses import replace

import pytest

from distill.hardware import devices, memory, shapes, this_cpu
from distill.recipe import StudentRecipe, load

H200 = devices()["h200"]
MEASURED = [
    # what, recipe, device, GiB allocated, GiB taken: 0.5B on one H200, 64 rows of 100 to 700 tokens, no checkpointing
    ("end to end", ("training.device_tokens=16384",), "h200", 31.6, 32.3),
    ("padded", ("training.device_batch_size=32",), "padded", 44.6, 45.1),
]


def student(name: str, *overrides: str) -> StudentRecipe:
    return load.load_student(name, overrides)


@pytest.mark.parametrize("row", MEASURED, ids=[row[0] for row in MEASURED])
def test_planned_memory_is_within_a_tenth_of_what_was_measured(
    row: tuple[str, tuple[str, ...], str, float, float],
) -> None:
    _, overrides, where, allocated, taken = row
    chosen = student("qwen2.5-0.5b", "training.gradient_checkpointing=false", *overrides)
    # Rows were padded before the kernel for rows end to end was used: as on a GPU that lacks it.
    device = H200 if where == "h200" else replace(H200, capability=7.5)
    planned = memory.training_memory(chosen, device, 1, row_tokens=400, longest=700)
    assert planned.likely == pytest.approx(taken, rel=0.1)
    assert planned.likely - planned.overhead == pytest.approx(allocated, rel=0.1)
    assert planned.low < taken


def test_a_pass_has_the_tokens_that_the_recipe_asks_for_or_one_long_row() -> None:
    section = student("qwen2.5-0.5b").training  # 64 rows, 16,384 tokens a pass
    assert 12_000 < memory.pass_tokens(section, H200, 1, 400, 700) <= 16_384
    assert memory.pass_tokens(section, H200, 8, 400, 700) < 4000
    assert memory.pass_tokens(section, H200, 1, 4000, 30_000) == 30_000
    halved = section.model_copy(update={"device_tokens": 8192})
    assert memory.pass_tokens(halved, H200, 1, 400, 700) <= 8192


def test_states_are_those_that_are_trained() -> None:
    shape, size = shapes.known()["qwen2.5-7b"], 7_615_616_512
    full = memory.layout(student("qwen2.5-7b").training, 1)
    copies = 2 * shape.layers * shape.layer_parameters
    assert memory.state_bytes(shape, size, None, full) == 16 * size + copies
    in_fp32 = memory.layout(student("qwen2.5-7b", "training.precision=fp32").training, 1)
    assert memory.state_bytes(shape, size, None, in_fp32) == 16 * size
    adapters = shape.adapter_parameters(16)
    lora = memory.layout(student("qwen2.5-7b", "training.lora_rank=16").training, 1)
    assert memory.state_bytes(shape, size, 16, lora) == 2 * size + 18 * adapters
    four_bits = lora._replace(frozen_bytes=0.55)
    assert memory.state_bytes(shape, size, 16, four_bits) == pytest.approx(0.55 * size + 18 * adapters)
    eight = full._replace(gpus=8)
    assert memory.state_bytes(shape, size, None, eight) < memory.state_bytes(shape, size, None, full) / 5
    paged = eight._replace(optimizer_bytes=2)
    saved = memory.state_bytes(shape, size, None, eight) - memory.state_bytes(shape, size, None, paged)
    assert saved == pytest.approx(6 * size / 8)


def test_no_full_logits_exist_in_any_strategy() -> None:
    for overrides in ((), ("training.lora_rank=16",), ("training.precision=fp32",)):
        chosen = student("qwen2.5-7b", *overrides)
        full_logits = 32_768 * 152_064 * 4 / memory.GIB
        assert memory.training_memory(chosen, H200).loss < full_logits / 2


def test_checkpointing_takes_less_and_fp32_more() -> None:
    tokens = "training.device_tokens=16384"
    twice = memory.training_memory(student("qwen2.5-1.5b", tokens), H200).activations
    plain = student("qwen2.5-1.5b", tokens, "training.gradient_checkpointing=false")
    assert twice < memory.training_memory(plain, H200).activations / 5
    fp32 = student("qwen2.5-1.5b", tokens, "training.precision=fp32", "training.packing=true")
    assert memory.training_memory(fp32, H200).activations > twice


def test_a_pass_takes_what_fits_and_activations_are_computed_twice_only_where_they_must_be() -> None:
    small = memory.fitted(student("qwen2.5-0.5b"), H200).training
    assert (small.device_tokens, small.gradient_checkpointing) == (65_536, False)
    large = memory.fitted(student("qwen2.5-7b"), H200, 8).training
    assert large.gradient_checkpointing
    asked = memory.fitted(student("qwen2.5-0.5b", "training.device_tokens=4096"), H200).training
    assert asked.device_tokens == 4096
    assert memory.fitted(student("qwen2.5-0.5b"), this_cpu()).training.gradient_checkpointing
    for name in ("qwen2.5-0.5b", "qwen2.5-1.5b"):
        fits = memory.fitted(student(name), H200)
        assert memory.training_memory(fits, H200).likely < 0.9 * H200.memory_gib


def test_small_models_use_one_gpu_and_a_lora_keeps_its_base_on_each() -> None:
    assert memory.gpus_used(student("qwen2.5-7b"), 8) == 8
    assert memory.gpus_used(student("qwen2.5-7b", "training.lora_rank=8"), 8) == 8
    assert memory.gpus_used(student("tiny-qwen2"), 8) == 1
    lora = student("llama-3.3-70b", "training.lora_rank=8")
    one, eight = (memory.training_memory(lora, H200, gpus).states for gpus in (1, 8))
    assert eight == one


def test_published_long_context_runs_fit_or_do_not() -> None:
    h100 = devices()["h100"]
    assert memory.training_memory(student("openr1-distill-7b"), h100, 8).high <= h100.memory_gib
    shape, placed = shapes.known()["qwen2.5-32b"], memory.layout(student("qwen2.5-32b").training, 128)

    def olympic_coder(tokens: int) -> float:
        """GiB a GPU on 128 GPUs where the loss keeps the whole sequence's logits, upper end."""
        held = memory.state_bytes(shape, shape.parameters, None, placed) + memory.activation_bytes(
            shape, None, placed, tokens, padded=False
        )
        logits = tokens * shape.vocabulary * 4 * 2.5
        return (held + logits) * memory.FRAGMENTATION / memory.GIB + 2 * memory.CONTEXT_GIB

    assert olympic_coder(20_000) < h100.memory_gib < olympic_coder(32_768)


def test_full_fine_tuning_of_70b_needs_many_gpus_and_7b_few() -> None:
    assert memory.gpus_needed(student("llama-3.3-70b"), devices()["h100"]) in (64, 128)
    assert memory.gpus_needed(student("qwen2.5-math-7b"), devices()["h100"]) in (2, 4)
    assert memory.gpus_needed(student("tiny-qwen2"), devices()["t4"]) == 1
    assert memory.gpus_needed(student("llama-3.3-70b", "training.lora_rank=16"), devices()["rtx4090"]) is None


def test_a_gpu_without_the_kernel_and_a_processor_train_padded_rows() -> None:
    section = student("qwen2.5-0.5b").training
    assert memory.end_to_end(section, H200)
    assert not memory.end_to_end(section, devices()["t4"])
    assert not memory.end_to_end(section, this_cpu())
    assert memory.end_to_end(section.model_copy(update={"packing": True}), this_cpu())
    assert not memory.end_to_end(section.model_copy(update={"precision": "fp32"}), H200)


@pytest.mark.parametrize(
    ("precision", "weights", "at_32k"),
    [("bf16", 14.19, 15.94), ("fp8", 8.11, 8.99), ("int8", 8.11, 9.86), ("int4", 5.19, 6.95)],
)
def test_serving_takes_weights_and_cache_in_the_precision(
    precision: str, weights: float, at_32k: float
) -> None:
    shape, chosen = shapes.known()["qwen2.5-7b"], memory.precisions()[precision]
    held = memory.served_weights(shape, chosen)
    assert held / memory.GIB == pytest.approx(weights, abs=0.01)
    cache = 32_768 * shape.kv_bytes(chosen.cache_bytes)
    assert (held + cache) / memory.GIB == pytest.approx(at_32k, abs=0.01)
    most = memory.served_sequences(shape, chosen, 32_768, devices()["h100"])
    assert held + most * cache <= devices()["h100"].memory_gib * memory.GIB
    assert memory.served_sequences(shapes.known()["llama-3.1-70b"], chosen, 32_768, devices()["t4"]) == 0
