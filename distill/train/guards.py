"""What would train or load wrongly and say nothing.

These are rows beyond a model's positions, another precision than was asked for, weights that are not finite,
and a `config.json` that older readers take for another model's. No function needs torch but `precision`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from distill.recipe import Base, Training
from distill.train.rows import Ints
from distill.workers import Say

SCALED = ("linear", "dynamic", "yarn")
"""Kinds of RoPE scaling whose `factor` multiplies the positions that a base was trained with."""
CHUNK_BYTES = 64 << 20
EXPONENTS: dict[str, tuple[Any, int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
}
"""Of each format an unsigned integer of its width, and the exponent bits: all of them are set in NaN and in
infinities."""


def positions(config: Any, base: Base, training: Training, lengths: Ints, say: Say) -> None:
    """Raises ValueError where a row is longer than the model's positions; says where one could have been."""
    most = positions_of(config)
    if most is None or training.max_length <= most:
        return
    beyond = int((lengths > most).sum())
    told = f"training.max_length={training.max_length:,} is more than the {most:,} positions of {base.model}"
    if beyond:
        raise ValueError(
            f"{told}, and {beyond:,} of {len(lengths):,} rows are longer than those: the model does not know "
            f"such positions. Set training.max_length={most}, or give the base a longer context with "
            "base.max_position_embeddings and base.rope_theta, or with base.rope_scaling"
        )
    say("note", message=f"{told}; no row is longer than those")


def positions_of(config: Any) -> int | None:
    """How many positions a model has with its RoPE scaling; None: its configuration does not say."""
    most: int | None = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    if most is None or rope.get("rope_type") not in SCALED:
        return most
    before = rope.get("original_max_position_embeddings") or most
    return max(most, int(before * float(rope.get("factor") or 1.0)))


def precision(model: Any, training: Training, arguments: Any) -> None:
    """Raises RuntimeError unless autocast and weights are what the recipe asks for.

    Weights that train are fp32, and the frozen ones under a LoRA are of the recipe's precision.
    """
    import torch

    half = training.precision == "bf16"
    if bool(arguments.bf16) != half or arguments.fp16:
        raise RuntimeError(f"training.precision={training.precision}, but the trainer's autocast differs")
    frozen = torch.bfloat16 if half and training.lora_rank else torch.float32
    for name, weight in model.named_parameters():
        wanted = torch.float32 if weight.requires_grad else frozen
        if weight.is_floating_point() and weight.dtype != wanted:
            raise RuntimeError(
                f"training.precision={training.precision} asks for {name} in {wanted}, not {weight.dtype}"
            )


def not_finite(folder: Path) -> str | None:
    """The first tensor of a folder's safetensors files that holds a NaN or an infinity, as "NAME in FILE";
    None: all are finite.

    Reads each file once, in chunks of 64 MiB. Integer and 8-bit formats are not looked at.
    """
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            start = stream.tell()
        for name, tensor in header.items():
            integer, exponent = EXPONENTS.get(tensor.get("dtype", ""), (None, 0))
            if integer is None:
                continue
            first, end = (start + offset for offset in tensor["data_offsets"])
            bits = (
                np.memmap(file, np.uint8, "r", first, (end - first,))
                if end > first
                else np.empty(0, np.uint8)
            )
            for at in range(0, len(bits), CHUNK_BYTES):
                found = bits[at : at + CHUNK_BYTES].view(integer) & integer(exponent)
                if (found == integer(exponent)).any():
                    return f"{name} in {file.name}"
    return None


def write_old_keys(folder: Path) -> None:
    """Adds to a model's folder what readers before transformers 5 look for.

    - `rope_theta`, `rope_scaling` and `torch_dtype` in `config.json`. Without them transformers 4.57 takes a
      theta of 10,000 for any other and says nothing.
    - A `tokenizer_class` that they know: transformers 5 writes `TokenizersBackend` for its other name.
    """
    named = folder / "tokenizer_config.json"
    if named.is_file():
        settings = json.loads(named.read_text(encoding="utf-8"))
        if settings.get("tokenizer_class") == "TokenizersBackend":
            settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        named.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for section in (config, config.get("text_config") or {}):
        rope = section.get("rope_parameters")
        if isinstance(rope, dict) and "rope_theta" in rope:  # else: one for each kind of layer
            section["rope_theta"] = rope["rope_theta"]
            scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
            section["rope_scaling"] = scaling if scaling.get("rope_type", "default") != "default" else None
        if "dtype" in section:
            section["torch_dtype"] = section["dtype"]
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
