"""This machine, the GPUs that are known, and the shapes of models with what they need in memory and compute.

It knows no datasets, no times and no money: these are `plan`'s. It never imports torch at the top.
"""

from distill.hardware.machine import (
    Device,
    Gpu,
    cores,
    device_of,
    devices,
    gpus,
    ram_gib,
    read_listing,
    this_cpu,
    without_cudnn_attention,
)

__all__ = [
    "Device",
    "Gpu",
    "cores",
    "device_of",
    "devices",
    "gpus",
    "ram_gib",
    "read_listing",
    "this_cpu",
    "without_cudnn_attention",
]
