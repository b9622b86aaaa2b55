"""Shapes of decoder models, and what follows from a shape alone: parameters, KV cache, FLOPs.

For dense Llama and Qwen shapes. It promises nothing for mixtures of experts, sliding windows or multi-token
heads. Sizes are in bytes, lengths in tokens.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from distill.recipe import tables


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of a model's config that decide its memory and compute."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    tied: bool = False
    latent: int = 0
    """Numbers that multi-head latent attention caches of a token in a layer (DeepSeek-V3: 512 + 64); 0: keys
    and values."""

    @property
    def layer_parameters(self) -> int:
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        return attention + 3 * self.hidden * self.ffn

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """L(2·h·a·d + 2·h·kv·d + 3·h·f) + V·h·(1 if tied else 2); biases and norms are less than 0.01 %."""
        return self.layers * self.layer_parameters + self.embedding_parameters

    def kv_bytes(self, number_bytes: float = 2) -> float:
        """Of one token: L·2·kv·d numbers (by KV heads, not by attention heads), or L·latent."""
        return self.layers * (self.latent or 2 * self.kv_heads * self.head_dim) * number_bytes

    def adapter_parameters(self, rank: int) -> int:
        """Of LoRA on every linear layer: r·(in + out) each."""
        attention, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        pairs = 2 * (self.hidden + attention) + 2 * (self.hidden + kv) + 3 * (self.hidden + self.ffn)
        return self.layers * rank * pairs


def flops_per_token(shape: Architecture, length: float, *, recomputed: bool = False) -> float:
    """FLOPs of one trained token in a row of `length` tokens, forward and backward: 6·N + 6·L·a·d·s.

    - 6·N: two a parameter forward, twice that backward (Kaplan et al., arXiv 2001.08361, section 2.1).
    - 6·L·a·d·s: the attention's 12·L·a·d·s (PaLM, arXiv 2204.02311, appendix B), half of it for a causal
      mask.
    - For rows of different lengths s is the mean over tokens, sum(s²) / sum(s).
    - `recomputed`: a third more, because activation checkpointing repeats the forward pass. MFU leaves that
      out.
    """
    attention = 6.0 * shape.layers * shape.heads * shape.head_dim * length
    return (6.0 * shape.parameters + attention) * (4 / 3 if recomputed else 1)


def mfu(shape: Architecture, length: float, tokens_per_second: float, peak_flops: float) -> float:
    """Model FLOPs utilisation: the share of all GPUs' peak that `flops_per_token` accounts for (PaLM,
    appendix B)."""
    return tokens_per_second * flops_per_token(shape, length) / peak_flops


SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![\w])")
TABLE = "models.toml"


@cache
def known() -> dict[str, Architecture]:
    """The shapes of `configs/models.toml` by the model's name in lower case; raises RecipeError."""
    shapes = tables.records(TABLE, "shapes", Architecture)
    return shapes | {name: shapes[other] for name, other in tables.section(TABLE, "same_shape").items()}


def local_folder(model: str) -> Path | None:
    """The folder of a model name: as given, or under the project's root; None when there is none."""
    for folder in (Path(model).expanduser(), Path(__file__).parents[2] / model):
        if folder.is_dir():
            return folder
    return None


def is_path(model: str) -> bool:
    """Whether a model name can only be a folder: a hub id is `name` or `organisation/name`."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def of(model: str) -> Architecture | None:
    """The shape of a model: from the config of a local folder, or by its name; None when it is unknown."""
    folder = local_folder(model)
    if folder is not None and (folder / "config.json").is_file():
        return _from_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    return known().get(model.rsplit("/", 1)[-1].lower().removesuffix("-instruct"))


def guess(model: str) -> Architecture | None:
    """The shape of a model, or for an unknown name that says its size ("Some-8B") a known one."""
    size = SIZE.search(model.rsplit("/", 1)[-1])
    return of(model) or (nearest(int(float(size.group(1)) * 1e9)) if size else None)


def nearest(parameters: int) -> Architecture:
    """A plausible shape of so many parameters: the known one closest in size, scaled in all directions."""
    shape = min(known().values(), key=lambda one: abs(math.log(one.parameters / parameters)))
    scale = parameters / shape.parameters
    if 0.9 < scale < 1.1:
        return shape
    edge = scale ** (1 / 3)
    return replace(
        shape,
        layers=max(1, round(shape.layers * edge)),
        hidden=max(1, round(shape.hidden * edge)),
        head_dim=max(1, round(shape.head_dim * edge)),
        ffn=max(1, round(shape.ffn * edge)),
        vocabulary=max(1, round(shape.vocabulary * edge**2)),
    )


def _from_config(config: dict[str, Any]) -> Architecture | None:
    """The shape in a Hugging Face config; None for one that is not of this kind."""
    wanted = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    if any(not isinstance(config.get(name), int) for name in wanted):
        return None
    layers, hidden, heads, ffn, vocabulary = (config[name] for name in wanted)
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        ffn=ffn,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", False)),
        latent=config["kv_lora_rank"] + config.get("qk_rope_head_dim", 0)
        if config.get("kv_lora_rank")
        else 0,
    )
