"""Gradients of masked attention on a GPU, with torch's own choice of kernel and with cuDNN's switched off as
in training.

    python benchmarks/gpu/attention.py [--rows 8]

A model of Qwen2.5-0.5B's shape with random weights reads padded rows in bf16 autocast, at padded widths 448
to 704. For each width: are all gradients finite, and how far is a query projection's gradient from an fp32
reference (relative L2 error)? One head of each third layer scores every token at about -120, as heads of
trained Qwen2.5 models do: cuDNN's fault needs scores whose log-sum-exp is below -88.7 (pytorch issue 196678).
Needs one NVIDIA GPU, torch and transformers.
"""

import argparse
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from distill import hardware

WIDTHS = range(448, 705, 32)
SHAPE: dict[str, Any] = {
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}


def main() -> None:
    """Prints a row for each width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    rows = parser.parse_args().rows
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        Qwen2Config(**SHAPE), dtype=torch.float32, attn_implementation="sdpa"
    ).cuda()
    model.config.use_cache = False
    plant_low_scores(model)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
    )
    print(f"{'width':>6} {'as torch chooses':>24} {'without cuDNN':>24}")
    for width in WIDTHS:
        batch = padded_rows(rows, width)
        reference = gradients(model, batch, torch.float32)[1]
        cells = []
        for off in (False, True):
            torch.backends.cuda.enable_cudnn_sdp(True)
            if off:
                hardware.without_cudnn_attention()
            finite, gradient = gradients(model, batch, torch.bfloat16)
            error = float((gradient - reference).norm() / reference.norm())
            cells.append(f"{'finite' if finite else 'NOT FINITE'}, error {error:.3f}")
        print(f"{width:>6} {cells[0]:>24} {cells[1]:>24}")


def plant_low_scores(model: Any) -> None:
    """Biases of one head in each third layer: q x k = -31 x 31 in a dimension that RoPE hardly turns, -120
    after division by 8."""
    slow = model.config.hidden_size // model.config.num_attention_heads // 2 - 1
    with torch.no_grad():
        for layer in model.model.layers[::3]:
            layer.self_attn.q_proj.bias[slow] = 31.0
            layer.self_attn.k_proj.bias[slow] = -31.0


def padded_rows(rows: int, width: int) -> dict[str, torch.Tensor]:
    """Random rows of 100 tokens to the full width, padded on the right, with their mask and labels."""
    generator = torch.Generator().manual_seed(width)
    lengths = torch.randint(100, width + 1, (rows,), generator=generator)
    lengths[0] = width
    ids = torch.randint(0, SHAPE["vocab_size"], (rows, width), generator=generator)
    mask = torch.arange(width)[None, :] < lengths[:, None]
    labels = ids.masked_fill(~mask, -100)
    return {
        name: tensor.cuda()
        for name, tensor in {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}.items()
    }


def gradients(model: Any, batch: dict[str, torch.Tensor], dtype: torch.dtype) -> tuple[bool, torch.Tensor]:
    """Whether all gradients of one forward and backward are finite, and that of the first layer's query
    projection."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        loss = model(**batch).loss
    loss.backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    finite = bool(torch.isfinite(loss)) and all(bool(torch.isfinite(gradient).all()) for gradient in found)
    return finite, model.model.layers[0].self_attn.q_proj.weight.grad.detach().float().clone()


if __name__ == "__main__":
    main()
