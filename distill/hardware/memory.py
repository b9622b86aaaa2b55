"""How much memory training and serving take, from a model's shape and a recipe.

The likely value follows what PyTorch saves for the backward pass, tensor by tensor, as `train` runs it. The
band allows for lengths of rows and fragmentation; other programs on a GPU are not modelled.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from distill.hardware import shapes
from distill.hardware.machine import TABLE, Device
from distill.hardware.shapes import Architecture
from distill.recipe import Base, StudentRecipe, Training, tables

GIB = 2.0**30
CONTEXT_GIB = 1.0
"""CUDA context and workspaces; on several GPUs NCCL's buffers take as much again."""
SERVING_GIB = 2.0
"""What an engine takes beside weights and cache."""
FRAGMENTATION = 1.1
PASS_TOKENS = (65_536, 32_768, 16_384)
"""Of a forward pass, where the recipe leaves them open: the first that fits is taken."""
MOST_TAKEN = 0.9
"""Of a device, by a training that is planned to fit."""
SHORT_ROWS = 0.25
"""Lower end of the band: the longest row is a quarter of what is allowed."""
FULLEST_STEP = 1.1
"""The step with the most tokens has about a tenth more than the mean one (64 rows of 100 to 700 tokens)."""
TILE_NUMBERS = 4096 * 32_768
"""TRL's fused head projects so many tokens on so much of the vocabulary at a time, forward and backward."""
WIDTH_MULTIPLE = 64
"""A padded batch on a GPU is as wide as a multiple of this: each new width costs new allocations."""
VLLM_SHARE = 0.9
"""Of a GPU's memory, vLLM's default."""
NUMBER_BYTES = {"auto": 2, "bfloat16": 2, "float32": 4, "float64": 8}
MOST_GPUS = 512
SHARDED_PARAMETERS = 100_000_000
"""Smaller models train on one GPU, as `train` starts its processes."""


class Layout(NamedTuple):
    """What decides how a training lies in memory, as numbers: a new strategy is a new row of `layout`."""

    gpus: int
    """That weights, gradients and optimizer are sharded over."""
    frozen_bytes: float
    """A parameter that does not learn."""
    optimizer_bytes: float
    """A parameter that does: AdamW's two moments in fp32 take 8."""
    checkpointing: bool
    half: bool
    """Matrices are multiplied in bf16; master weights, gradients and optimizer stay in fp32."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """GiB on each GPU: the likely parts, and the ends of the band of their sum."""

    states: float
    """Weights, gradients, optimizer."""
    activations: float
    loss: float
    overhead: float
    low: float
    high: float

    @property
    def likely(self) -> float:
        return self.states + self.activations + self.loss + self.overhead


def shape_of(base: Base) -> Architecture:
    """The shape of a student's base; for an unknown name the known one that is closest in size."""
    return shapes.of(base.model) or shapes.nearest(base.parameters)


def gpus_used(student: StudentRecipe, gpus: int) -> int:
    """Of so many GPUs, those that the student is trained on."""
    return gpus if student.base.parameters >= SHARDED_PARAMETERS else 1


def end_to_end(training: Training, device: Device) -> bool:
    """Whether rows are trained without padding: always where the attention kernel for that runs."""
    return training.packing or has_kernel(training, device)


def has_kernel(training: Training, device: Device) -> bool:
    """Whether a device attends over rows that lie end to end without a mask."""
    return training.precision == "bf16" and device.capability >= 8.0


def layout(training: Training, gpus: int) -> Layout:
    """The layout of a recipe on the GPUs that it uses."""
    half = training.precision == "bf16"
    frozen = 0 if training.lora_rank is None else 2 if half else 4
    moments = 2 if training.optimizer == "adamw_8bit" else 8
    sharded = gpus if training.lora_rank is None else 1
    return Layout(sharded, frozen, moments, training.gradient_checkpointing, half)


def fitted(
    student: StudentRecipe,
    device: Device,
    gpus: int = 1,
    row_tokens: float | None = None,
    longest: int | None = None,
) -> StudentRecipe:
    """The recipe with what the device decides: tokens of a pass where it leaves them open, and whether
    activations are computed twice, which is where they do not fit otherwise.

    A tenth of the memory is left free. Where nothing fits, the recipe asks for the least.
    """
    section = student.training
    if not device.capability:
        return _with(student, section.device_tokens or PASS_TOKENS[-1], section.gradient_checkpointing)
    asked = PASS_TOKENS if section.device_tokens is None else (section.device_tokens,)
    twice = (False, True) if section.gradient_checkpointing else (False,)
    for checkpointing, tokens in ((one, other) for one in twice for other in asked):
        tried = _with(student, tokens, checkpointing)
        if training_memory(tried, device, gpus, row_tokens, longest).likely <= MOST_TAKEN * device.memory_gib:
            return tried
    return _with(student, asked[-1], section.gradient_checkpointing)


def _with(student: StudentRecipe, device_tokens: int, gradient_checkpointing: bool) -> StudentRecipe:
    changed = {"device_tokens": device_tokens, "gradient_checkpointing": gradient_checkpointing}
    return student.model_copy(update={"training": student.training.model_copy(update=changed)})


def training_memory(
    student: StudentRecipe,
    device: Device,
    gpus: int = 1,
    row_tokens: float | None = None,
    longest: int | None = None,
) -> TrainingMemory:
    """Memory on each GPU of a kind, or of this machine for a processor.

    `row_tokens` and `longest` are the mean and the longest row; without them a pass is as full as the recipe
    allows, which is the upper end of the band in any case.
    """
    if student.training.device_tokens is None:
        student = fitted(student, device, gpus, row_tokens, longest)
    shape, training, used = shape_of(student.base), student.training, gpus_used(student, gpus)
    placed = layout(training, used)
    padded = not end_to_end(training, device)
    tokens = pass_tokens(training, device, used, row_tokens, longest)
    states = state_bytes(shape, student.base.parameters, training.lora_rank, placed)

    def held(tokens: int) -> tuple[float, float]:
        activations = activation_bytes(shape, training.lora_rank, placed, tokens, padded=padded)
        if not padded and not has_kernel(training, device):
            activations += 4.0 * tokens**2  # a mask over the whole pass keeps rows apart
        return activations, loss_bytes(shape, training.lora_rank, placed, tokens)

    activations, loss = held(tokens)
    overhead = CONTEXT_GIB * (1 if used == 1 else 2)
    low = states + sum(held(max(1, int(tokens * SHORT_ROWS))))
    high = (states + sum(held(pass_tokens(training, device, used, None, longest)))) * FRAGMENTATION
    return TrainingMemory(
        states / GIB, activations / GIB, loss / GIB, overhead, low / GIB + overhead / 2, high / GIB + overhead
    )


def pass_tokens(
    training: Training, device: Device, gpus: int, row_tokens: float | None = None, longest: int | None = None
) -> int:
    """Tokens of the fullest forward pass on one GPU.

    - Padded: the rows of `device_batch_size`, as wide as the longest.
    - End to end: a step's tokens over GPUs and the passes that `device_tokens` asks for, or the longest row.
    """
    rows, longest = max(1, training.batch_size // gpus), longest or training.max_length
    most = training.device_tokens or PASS_TOKENS[-1]
    if not end_to_end(training, device):
        wide = math.ceil(longest / WIDTH_MULTIPLE) * WIDTH_MULTIPLE if device.capability else longest
        return min(training.device_batch_size, rows) * wide
    if row_tokens is None:
        return min(rows * longest, max(most, longest))
    step = training.batch_size * row_tokens * FULLEST_STEP
    passes = min(max(1, math.ceil(step / (gpus * most))), rows)
    return max(math.ceil(step / (gpus * passes)), longest)


def state_bytes(shape: Architecture, parameters: int, lora_rank: int | None, placed: Layout) -> float:
    """Weights, gradients and optimizer on each GPU.

    - Trained parameters: 4 B weight + 4 B gradient + optimizer, sharded.
    - Frozen ones (the base of a LoRA): `frozen_bytes`.
    - One GPU in bf16: autocast keeps 2 B copies of the trained matrices from forward to backward.
    - Several GPUs: FSDP gathers two layers and the embeddings in 2 B.
    """
    trained = parameters if lora_rank is None else shape.adapter_parameters(lora_rank)
    matrices = shape.layers * shape.layer_parameters if lora_rank is None else trained
    frozen = 0.0 if lora_rank is None else parameters * placed.frozen_bytes
    states = frozen + trained * (8 + placed.optimizer_bytes) / placed.gpus
    if placed.gpus > 1:
        return states + 2.0 * (2 * shape.layer_parameters + shape.embedding_parameters)
    return states + 2.0 * matrices * placed.half


def activation_bytes(
    shape: Architecture, lora_rank: int | None, placed: Layout, tokens: int, *, padded: bool
) -> float:
    """What the backward pass needs of the forward pass: of all layers, or with checkpointing every layer's
    input and all of one layer."""
    layer = stored_layer(shape, lora_rank, placed, padded=padded)
    if not placed.checkpointing:
        return layer * tokens * shape.layers
    wide = not placed.half or (lora_rank is None and placed.gpus == 1)  # the residual stream is in fp32
    return tokens * ((4 if wide else 2) * shape.hidden * shape.layers + layer)


def stored_layer(shape: Architecture, lora_rank: int | None, placed: Layout, *, padded: bool) -> float:
    """Bytes that one layer saves of one token, b bytes a number (2 in bf16).

    - Norms and their products' inputs: residual and normalised values of two norms in fp32, and the inputs of
      q, k, v, gate and up, which autocast casts one by one: 26·h; sharded in bf16 16·h; LoRA 18·h; all in
      fp32 24·h.
    - Attention: q and output b·a·d each, k and v b·kv·d each, or b·a·d where rows are padded (heads
      repeated), and 4 B a head of the softmax. LoRA saves the output projection's input once more.
    - MLP: gate, up, activation and product: 4·b·f.
    """
    number = 2 if placed.half else 4
    attention, kv = shape.heads * shape.head_dim, (shape.heads if padded else shape.kv_heads) * shape.head_dim
    norms = 24 if not placed.half else 18 if lora_rank is not None else 26 if placed.gpus == 1 else 16
    again = attention if lora_rank is not None else 0
    saved = number * (2 * attention + 2 * kv + again + 4 * shape.ffn)
    return float(norms * shape.hidden + saved + 4 * shape.heads)


def loss_bytes(shape: Architecture, lora_rank: int | None, placed: Layout, tokens: int) -> float:
    """Beside the activations at the start of the backward pass: the fused head, or one layer's own gradients.

    Head: a tile of logits, the hidden states and their gradient (14·h a token), and the weight's gradient in
    fp32 where it is trained. Layer: gradients of gate, up and product. Full logits never exist.
    """
    number = 2 if placed.half else 4
    tile = number * min(TILE_NUMBERS, tokens * shape.vocabulary)
    weight = 4 * shape.vocabulary * shape.hidden if lora_rank is None else 0
    return float(max(tile + weight + 14 * shape.hidden * tokens, 3 * number * shape.ffn * tokens))


def gpus_needed(
    student: StudentRecipe, device: Device, row_tokens: float | None = None, longest: int | None = None
) -> int | None:
    """The fewest GPUs (1, 2, 4, ...) of a kind that the likely estimate fits on; None for none."""
    for power in range(MOST_GPUS.bit_length()):
        if training_memory(student, device, 1 << power, row_tokens, longest).likely <= device.memory_gib:
            return 1 << power
    return None


@dataclass(frozen=True, slots=True)
class Precision:
    """Number formats of a served model: a row of `configs/hardware.toml`."""

    weight_bytes: float
    """A parameter of the layers, with its share of the scales."""
    cache_bytes: float
    """A number of the KV cache."""


@cache
def precisions() -> dict[str, Precision]:
    """The number formats that a plan shows, by name; raises RecipeError."""
    return tables.records(TABLE, "precisions", Precision)


def served_weights(shape: Architecture, precision: Precision) -> float:
    """Bytes of the weights: quantised layers, and embeddings and head, which stay in 16 bits."""
    return shape.layers * shape.layer_parameters * precision.weight_bytes + 2.0 * shape.embedding_parameters


def served_sequences(shape: Architecture, precision: Precision, context: int, device: Device) -> int:
    """Sequences of a length whose cache fits beside the weights on one device; 0 where not even one does."""
    room = (device.memory_gib * VLLM_SHARE - SERVING_GIB) * GIB - served_weights(shape, precision)
    return max(0, int(room / (context * shape.kv_bytes(precision.cache_bytes))))
