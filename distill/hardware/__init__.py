"""What this machine has (GPUs, memory, cores), and what the data sheets say of common GPUs; torch is imported by its one switch only.

Only NVIDIA GPUs are found. A GPU that another program is using counts as free.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this machine."""

    name: str
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Device:
    """A kind of accelerator: its data sheet, and a round rental price that differs between providers."""

    name: str
    memory_gib: float
    """As `nvidia-smi` reports it."""
    tflops: float
    """Dense bf16 (fp16 where there is no bf16) tensor throughput at its peak."""
    bandwidth_gb_per_second: float
    usd_per_hour: float
    """For H100: the DeepSeek-R1 paper reckons 2 (H800), Sky-T1 paid 3; the others in proportion to today's lists."""


DEVICES = {
    device.name: device
    for device in (
        Device("b200", 179.1, 2250, 8000, 5.0),
        Device("h200", 140.4, 989, 4800, 3.0),
        Device("h100", 79.6, 989, 3350, 2.5),
        Device("h800", 79.6, 989, 3350, 2.0),
        Device("h20", 95.6, 148, 4000, 1.5),
        Device("a100", 80.0, 312, 2039, 1.5),
        Device("a800", 80.0, 312, 2039, 1.5),
        Device("l40s", 45.0, 362, 864, 1.0),
        Device("l4", 22.5, 121, 300, 0.5),
        Device("a10", 22.5, 125, 600, 0.5),
        Device("a6000", 48.0, 155, 768, 0.6),
        Device("rtx5090", 31.8, 210, 1792, 0.6),
        Device("rtx4090", 24.0, 165, 1008, 0.4),
        Device("rtx3090", 24.0, 71, 936, 0.25),
        Device("t4", 15.0, 65, 320, 0.3),
    )
}
CPU_TFLOPS_PER_CORE = 0.1  # AVX-512 fp32 at its peak; 5,389 tokens/s of a 1.05 M model on two cores are 17 % of it
CPU_BANDWIDTH_GB_PER_SECOND = 20.0
UNKNOWN_GPU = Device("gpu", 0.0, 100, 800, 0.5)


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that `nvidia-smi` lists and `CUDA_VISIBLE_DEVICES` allows; empty when there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return read_listing(listing.stdout, os.environ.get("CUDA_VISIBLE_DEVICES")) if listing.returncode == 0 else []


def read_listing(listing: str, visible: str | None) -> list[Gpu]:
    """The GPUs of `nvidia-smi`'s "index, uuid, name, MiB" lines that a `CUDA_VISIBLE_DEVICES` value allows."""
    allowed = None if visible is None else [part.strip() for part in visible.split(",") if part.strip()]
    found: list[Gpu] = []
    for line in listing.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4:
            continue
        index, uuid, name, mebibytes = parts
        if (allowed is None or index in allowed or any(uuid.startswith(part) for part in allowed)) and mebibytes.isdecimal():
            found.append(Gpu(name, int(mebibytes) / 1024))
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ram_gib() -> float:
    """Memory of this machine, or of the container when its limit is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_limit(path) for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    return float(min([physical, *(limit for limit in limits if limit is not None)])) / 2**30


def device_of(gpu: Gpu) -> Device:
    """The data sheet of a GPU of this machine, with the memory that it really has; a modest guess for an unknown one."""
    name = gpu.name.lower().replace(" ", "").replace("-", "")
    known = max((key for key in DEVICES if key in name), key=len, default=None)
    return replace(DEVICES[known] if known else UNKNOWN_GPU, memory_gib=gpu.memory_gib)


def this_cpu() -> Device:
    """This machine's processor as a device."""
    return Device("cpu", ram_gib(), CPU_TFLOPS_PER_CORE * cores(), CPU_BANDWIDTH_GB_PER_SECOND, 0.0)


def without_cudnn_attention() -> None:
    """Keeps torch's attention off cuDNN in this process: every process that trains or scores with torch calls it first.

    With a mask and a padded width of 64 modulo 128 cuDNN's backward gives NaN on Hopper (torch 2.11 with cuDNN 9.19, torch 2.13 with
    9.20; pytorch issue 196678, trl issue 7181), and there SDPA prefers it. What SDPA takes instead is nearer to fp32: relative error
    of a gradient 0.033 against 0.095. To be removed when the issue is closed and `benchmarks/gpu/attention.py` shows finite gradients.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def _limit(path: str) -> int | None:
    """The number in a cgroup file, or None for no file and for "max"."""
    file = Path(path)
    text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None
