"""Attention over rows that lie end to end: torch's own flash kernel for variable lengths, under the name that
transformers asks for.

No package and no kernel of a hub is needed (torch 2.11 and newer, an NVIDIA GPU of compute capability 8.0 or
newer, bf16). Padding is not supported: a batch is one sequence of rows with their cumulative lengths, as
TRL's padding-free collator makes it.
"""

import inspect
from typing import Any

NAME = "distill_varlen"
LEAST_CAPABILITY = (8, 0)
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
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import flash_attention_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    return NAME


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
