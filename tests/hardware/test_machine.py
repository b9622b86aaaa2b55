"""GPUs are found by their listing and by name, however the name is spelt."""

import pytest

from distill import hardware
from distill.hardware import Gpu, devices
from distill.recipe import RecipeError


def test_gpus_are_read_from_the_listing_and_their_visibility() -> None:
    listing = "0, GPU-aa11, NVIDIA H100 80GB HBM3, 81559\n1, GPU-bb22, NVIDIA H100 80GB HBM3, 81559\n"
    assert [gpu.name for gpu in hardware.read_listing(listing, None)] == ["NVIDIA H100 80GB HBM3"] * 2
    assert len(hardware.read_listing(listing, "1")) == len(hardware.read_listing(listing, "GPU-bb")) == 1
    assert hardware.read_listing(listing, "") == hardware.read_listing("No devices were found\n", None) == []
    assert hardware.device_of(hardware.read_listing(listing, "0")[0]).tflops == devices()["h100"].tflops
    assert hardware.device_of(Gpu("NVIDIA A100-SXM4-40GB", 40.0)).memory_gib == 40.0
    assert hardware.device_of(Gpu("NVIDIA GeForce RTX 4090", 24.0)).name == "rtx4090"
    assert hardware.device_of(Gpu("Some Card", 12.0)).memory_gib == 12.0


def test_this_machine_has_memory_and_cores() -> None:
    assert hardware.ram_gib() > 0.5 and hardware.cores() >= 1


@pytest.mark.parametrize("name", ["h100", "H100", " H-100 ", "RTX 4090", "rtx-4090"])
def test_a_gpu_is_found_in_any_spelling(name: str) -> None:
    assert hardware.find(name).name in ("h100", "rtx4090")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("h100x", "did you mean h100"),
        ("rtx409", "rtx4090"),
        ("", "Known are"),
        ("\x1b[2J" * 100, r"no GPU '\\x1b"),
        ("abacus", "and cpu"),
    ],
)
def test_an_unknown_gpu_is_told_with_the_nearest_names(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as told:
        hardware.find(name)
    assert len(str(told.value)) < 400 and "\x1b" not in str(told.value)
