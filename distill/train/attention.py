"""Attention over rows that lie end to end: FlashAttention 4 or 3 where installed, else torch's own kernel.

- torch's needs no package (torch 2.11, an NVIDIA GPU of compute capability 8.0 or newer, bf16). It is
  FlashAttention 2, which reaches 300 TFLOP/s on an H200 where version 4 reaches 620.
- Padding is not supported: a batch is one sequence of rows with their cumulative lengths, as TRL's
  padding-free collator makes it.
"""

import inspect
import sys
from typing import Any

NAME = "distill_varlen"
LEAST_CAPABILITY = (8, 0)
HOPPER = (9, 0)
TRIED_TOKENS = 256
LARGEST_HEAD = 256
"""The kernel's limit of a head's dimension."""


def register(config: Any, precision: str) -> str | None:
    """The name of the attention for a model of this configuration, registered with transformers; None where
    it cannot run."""
    import torch

    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if (
        not torch.cuda.is_available()
        or torch.cuda.get_device_capability() < LEAST_CAPABILITY
        or precision != "bf16"
        or head > LARGEST_HEAD
    ):
        return None
    if installed := _installed(config, head):
        return installed
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import flash_attention_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    return NAME


def _installed(config: Any, head: int) -> str | None:
    """The name that transformers has for an installed FlashAttention 4 or 3, if it runs here."""
    import torch
    from transformers.utils.import_utils import is_flash_attn_3_available, is_flash_attn_4_available

    if torch.cuda.get_device_capability() < HOPPER:
        return None
    if not is_flash_attn_4_available():
        return "flash_attention_3" if is_flash_attn_3_available() else None
    heads, shared = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    shapes = [(TRIED_TOKENS, count, head) for count in (heads, shared or heads, shared or heads)]
    parts = [torch.randn(*shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for shape in shapes]
    ends = torch.tensor([0, TRIED_TOKENS // 2, TRIED_TOKENS], device="cuda", dtype=torch.int32)
    try:  # it is compiled for this GPU and these heads here, and a training is no place to find that it fails
        from flash_attn.cute import flash_attn_varlen_func

        lengths = {"max_seqlen_q": TRIED_TOKENS // 2, "max_seqlen_k": TRIED_TOKENS // 2}
        out = flash_attn_varlen_func(*parts, cu_seqlens_q=ends, cu_seqlens_k=ends, causal=True, **lengths)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        found = all(bool(torch.isfinite(part.grad).all()) for part in parts if part.grad is not None)
    except Exception as error:  # whatever a compiler raises
        print(f"FlashAttention 4 does not run here, torch's own does: {error}", file=sys.stderr)
        return None
    return "flash_attention_4" if found else None


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **named: Any
) -> tuple[Any, None]:
    """Causal attention within each row. Shapes: query (1, heads, tokens, head), key and value (1, kv heads,
    tokens, head).

    `cu_seq_lens_q` (rows + 1) and `max_length_q` come from the collator. Returns (1, tokens, heads, head).
    """
    from torch.nn.attention.varlen import varlen_attn

    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("rows are padded: this attention is for rows that lie end to end")
    ends, longest = named["cu_seq_lens_q"], named["max_length_q"]
    grouped = query.shape[1] != key.shape[1]
    options: dict[str, Any] = {"scale": named.get("scaling")}
    if grouped and "enable_gqa" in inspect.signature(varlen_attn).parameters:
        options["enable_gqa"] = True
    elif grouped:
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    # RoPE leaves fp32 under autocast, which knows nothing of this kernel.
    query, key, value = (part[0].transpose(0, 1).to(value.dtype) for part in (query, key, value))
    out: Any = varlen_attn(query, key, value, ends, ends, longest, longest, window_size=(-1, 0), **options)
    return out[None], None
