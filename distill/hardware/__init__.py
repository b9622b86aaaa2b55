"""This machine, the GPUs that are known, and the shapes of models with what they need in memory and compute.

It knows no datasets, no times and no money: these are `plan`'s. It never imports torch at the top.
"""

from distill.hardware import memory, shapes
from distill.hardware.machine import (
    Device,
    Gpu,
    cores,
    device_of,
    devices,
    find,
    gpus,
    here,
    ram_gib,
    read_listing,
    this_cpu,
    without_cudnn_attention,
)
from distill.hardware.shapes import flops_per_token, mfu

__all__ = [
    "Device",
    "Gpu",
    "cores",
    "device_of",
    "devices",
    "find",
    "flops_per_token",
    "gpus",
    "here",
    "memory",
    "mfu",
    "ram_gib",
    "read_listing",
    "shapes",
    "this_cpu",
    "without_cudnn_attention",
]
