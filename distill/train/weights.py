"""Whether weights in safetensors files are finite, read without torch: numpy and the format's header
suffice."""

import json
from pathlib import Path
from typing import Any

import numpy as np

CHUNK_BYTES = 64 << 20
EXPONENTS: dict[str, tuple[Any, int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
}
"""Of each format an unsigned integer of its width, and the exponent bits: all of them are set in NaN and in
infinities."""


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
