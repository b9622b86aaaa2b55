"""What this machine has (GPUs, memory, cores), and what the data sheets say of common GPUs.

Only NVIDIA GPUs are found, and a GPU that another program is using counts as free. torch is imported by its
one switch only.
"""

import difflib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from distill.recipe import RecipeError, tables


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this machine."""

    name: str
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Device:
    """A kind of accelerator: a row of `configs/hardware.toml`, which says what the numbers are."""

    name: str
    memory_gib: float
    tflops: float
    bandwidth_gb_per_second: float
    usd_per_hour: float
    capability: float = 8.0
    """CUDA compute capability, where it is below 8.0; 0 for a processor."""


TABLE = "hardware.toml"


@cache
def devices() -> dict[str, Device]:
    """The GPUs of `configs/hardware.toml` by name; raises RecipeError."""
    return {
        name: replace(device, name=name)
        for name, device in tables.records(TABLE, "gpus", partial(Device, "")).items()
    }


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that `nvidia-smi` lists and `CUDA_VISIBLE_DEVICES` allows; empty when there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return (
        read_listing(listing.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if listing.returncode == 0
        else []
    )


def read_listing(listing: str, visible: str | None) -> list[Gpu]:
    """The GPUs of `nvidia-smi`'s "index, uuid, name, MiB" lines that CUDA_VISIBLE_DEVICES allows."""
    allowed = None if visible is None else [part.strip() for part in visible.split(",") if part.strip()]
    found: list[Gpu] = []
    for line in listing.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4:
            continue
        index, uuid, name, mebibytes = parts
        if (
            allowed is None or index in allowed or any(uuid.startswith(part) for part in allowed)
        ) and mebibytes.isdecimal():
            found.append(Gpu(name, int(mebibytes) / 1024))
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ram_gib() -> float:
    """Memory of this machine, or of the container when its limit is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (
        _limit(path) for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    )
    return float(min([physical, *(limit for limit in limits if limit is not None)])) / 2**30


def device_of(gpu: Gpu) -> Device:
    """The data sheet of a GPU of this machine, with its real memory; a modest guess for an unknown one."""
    name = gpu.name.lower().replace(" ", "").replace("-", "")
    known = max((key for key in devices() if key in name), key=len, default=None)
    device = devices()[known] if known else tables.records(TABLE, "unknown", partial(Device, "gpu"))["gpu"]
    return replace(device, memory_gib=gpu.memory_gib)


def here(found: Sequence[Gpu]) -> Device:
    """What a model is trained on with the GPUs of a machine: the smallest of them, or the processor."""
    return device_of(min(found, key=lambda gpu: gpu.memory_gib)) if found else this_cpu()


def this_cpu() -> Device:
    """This machine's processor as a device."""
    cpu = tables.section(TABLE, "cpu")
    tflops, bandwidth = cpu["tflops_per_core"] * cores(), cpu["bandwidth_gb_per_second"]
    return Device("cpu", ram_gib(), tflops, bandwidth, 0.0, capability=0.0)


def find(name: str) -> Device:
    """The GPU of a name, in any case and spelt with spaces or hyphens; raises RecipeError with the nearest
    names."""
    plain = name.lower().replace(" ", "").replace("-", "")
    if plain not in devices():
        near = difflib.get_close_matches(plain, devices(), 3, 0.5)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise RecipeError(f"no GPU {name[:40]!r}; {meant}Known are {', '.join(devices())} and cpu")
    return devices()[plain]


def without_cudnn_attention() -> None:
    """Keeps torch's attention off cuDNN in this process: every process that trains or scores with torch calls
    it first.

    With a mask and a padded width of 64 modulo 128 cuDNN's backward gives NaN on Hopper (torch 2.11 with
    cuDNN 9.19, torch 2.13 with 9.20; pytorch issue 196678, trl issue 7181), and there SDPA prefers it. What
    SDPA takes instead is nearer to fp32: relative error of a gradient 0.033 against 0.095. To be removed when
    the issue is closed and `benchmarks/gpu/attention.py` shows finite gradients.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def _limit(path: str) -> int | None:
    """The number in a cgroup file, or None for no file and for "max"."""
    file = Path(path)
    text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None
