"""Tables of facts beside the recipes: shipped, or a folder's own, with errors that name the file and the
row."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill import hardware
from distill.recipe import RecipeError, tables


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own in DISTILL_CONFIGS."""
    monkeypatch.setattr(tables, "CONFIGS", tmp_path)
    hardware.devices.cache_clear()
    yield tmp_path
    hardware.devices.cache_clear()


def test_a_folder_of_ones_own_may_leave_a_table_out(own: Path) -> None:
    assert hardware.devices()["h100"].name == "h100"


def test_rows_of_ones_own_stand_beside_the_shipped_ones_or_in_their_place(own: Path) -> None:
    row = "{ memory_gib = 7.5, tflops = 1, bandwidth_gb_per_second = 2, usd_per_hour = 3 }"
    (own / "hardware.toml").write_text(f"[gpus]\nmine = {row}\nh100 = {row}\n", encoding="utf-8")
    found = {name: device.memory_gib for name, device in hardware.devices().items()}
    assert (found["mine"], found["h100"], found["h200"]) == (7.5, 7.5, 140.4)
    assert hardware.this_cpu().tflops > 0


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[gpus]\nmine = { memory_gib = 7.5 }", r"hardware.toml: gpus.mine: .*tflops"),
        ("[gpus]\nmine = { memory = 7.5 }", r"hardware.toml: gpus.mine: .*'memory'"),
        ("[gpus", r"hardware.toml: Expected"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error_that_names_file_and_row(
    own: Path, text: str, cause: str
) -> None:
    (own / "hardware.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=cause):
        hardware.devices()


def test_all_data_of_the_package_goes_into_the_wheel() -> None:
    project = Path(tables.__file__).parents[2]
    patterns = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]["distill"]
    files = [
        file
        for file in (project / "distill").rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    ]
    assert files and {file.suffix for file in files} <= {Path(pattern).suffix for pattern in patterns}
