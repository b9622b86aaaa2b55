"""How much memory training and serving need, as bands, from a model's shape and a recipe.

Full fine-tuning shards weights, gradients and optimizer over all GPUs (FSDP, as `train` runs it); activations
and logits are each GPU's own. The band is not a guarantee: kernels, fragmentation and other programs are not
modelled, only allowed for.
"""

from dataclasses import dataclass

from distill.hardware import shapes
from distill.hardware.machine import Device
from distill.hardware.shapes import (
    TRAINED_BYTES,
    TRAINED_BYTES_BF16,
    TRAINED_BYTES_FP32_GRADIENTS,
    Architecture,
)
from distill.recipe.dataset import Base, StudentRecipe, Training

GIB = 2.0**30
OVERHEAD_GIB = 2.0  # CUDA context, NCCL buffers, workspaces
FRAGMENTATION = 1.15  # upper end of the band
SHORT_ROWS = 0.25  # lower end of the band: the longest row is a quarter of `max_length`
CHUNK_TOKENS = 1024  # a fused or chunked loss holds the logits of so many tokens
LOGIT_COPIES = 2.5  # logits, their gradient, and a part in bf16, when the loss is not chunked
VLLM_SHARE = 0.9  # of a GPU's memory, vLLM's default
NUMBER_BYTES = {"auto": 2, "bfloat16": 2, "float32": 4, "float64": 8}
MOST_GPUS = 512


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """GiB on each GPU: the likely parts, and the ends of the band of their sum."""

    states: float
    """Weights, gradients, optimizer."""
    activations: float
    logits: float
    overhead: float
    low: float
    high: float

    @property
    def likely(self) -> float:
        return self.states + self.activations + self.logits + self.overhead


def shape_of(base: Base) -> Architecture:
    """The shape of a student's base; for an unknown name the known one that is closest in size."""
    return shapes.of(base.model) or shapes.nearest(base.parameters)


def training_memory(student: StudentRecipe, gpus: int, *, on_gpu: bool = True) -> TrainingMemory:
    """Memory on each of so many GPUs, or of this machine for a processor (`on_gpu=False`)."""
    shape, training = shape_of(student.base), student.training
    tokens = training.device_batch_size * training.max_length
    number_bytes = 4 if training.precision == "fp32" else 2
    states = state_bytes(shape, student.base.parameters, training) / gpus + _gathered(shape, gpus)
    overhead = OVERHEAD_GIB * GIB
    activations, logits = (
        activation_bytes(shape, training, tokens, number_bytes),
        logit_bytes(shape, training, tokens, on_gpu=on_gpu),
    )
    short = max(1, int(tokens * SHORT_ROWS))
    low_states = state_bytes(shape, student.base.parameters, training, lowest=gpus == 1) / gpus + _gathered(
        shape, gpus
    )
    low = (
        low_states
        + activation_bytes(shape, training, short, number_bytes)
        + logit_bytes(shape, training, short, on_gpu=on_gpu)
        + overhead / 2
    )
    high_states = states * (1 if training.lora_rank else TRAINED_BYTES_FP32_GRADIENTS / TRAINED_BYTES)
    high = (high_states + activations + logits) * FRAGMENTATION + overhead
    return TrainingMemory(
        states / GIB, activations / GIB, logits / GIB, overhead / GIB, low / GIB, high / GIB
    )


def state_bytes(shape: Architecture, parameters: int, training: Training, *, lowest: bool = False) -> float:
    """Weights, gradients and optimizer over all GPUs: 16 B a parameter (8 all in bf16), or a frozen base and
    16 B an adapter parameter."""
    if training.lora_rank is not None:
        frozen = parameters * (4 if training.precision == "fp32" else 2)
        return float(frozen + TRAINED_BYTES * shape.adapter_parameters(training.lora_rank))
    return float(
        parameters * (TRAINED_BYTES_BF16 if lowest and training.precision == "bf16" else TRAINED_BYTES)
    )


def activation_bytes(shape: Architecture, training: Training, tokens: int, number_bytes: int) -> float:
    """Checkpoints of all layers and one recomputed layer, or everything."""
    if training.gradient_checkpointing:
        return float(
            shape.kept_activations(tokens, number_bytes) + shape.recomputed_layer(tokens, number_bytes)
        )
    return float(shape.all_activations(tokens, number_bytes))


def logit_bytes(shape: Architecture, training: Training, tokens: int, *, on_gpu: bool) -> float:
    """fp32 logits of the loss: of one chunk where `trainer` uses a chunked or fused loss, else of all."""
    chunked = on_gpu and (training.liger or training.lora_rank is None)
    return shape.logits(min(tokens, CHUNK_TOKENS) if chunked else tokens) * LOGIT_COPIES


def gpus_needed(student: StudentRecipe, device: Device) -> int | None:
    """The fewest GPUs (1, 2, 4, ...) of a kind that the likely estimate fits on; None for none."""
    count = 1
    while count <= MOST_GPUS:
        if training_memory(student, count).likely <= device.memory_gib:
            return count
        count *= 2
    return None


def _gathered(shape: Architecture, gpus: int) -> float:
    """What FSDP puts together on every GPU: two layers and the embeddings in bf16."""
    return 0.0 if gpus == 1 else 2.0 * (2 * shape.layer_parameters + shape.embedding_parameters)
