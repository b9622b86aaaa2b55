"""Which package may import which: flows > rooms > furniture > records and recipes, and nothing heavy in the core."""

import ast
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "trl", "vllm", "prefect", "datasets", "matplotlib", "math_verify", "sympy", "huggingface_hub")
ROOMS = {"collect", "sample", "verify", "curate", "train", "evaluate"}
OVER_ROOMS = {"plan"}
FRONT = {"__main__"}
CHILDREN = {"distill.train.worker"}
"""Main modules of child processes: they import what they need, and nothing imports them."""
GROUND: dict[str, set[str]] = {
    "records": set(),
    "recipe": {"records"},
}
"""What the modules and packages that all others stand on may import."""


def modules(package: str) -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((PROJECT / package).rglob("*.py"))
    }


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    known = modules("distill") | modules("flows")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in known}


def room(name: str) -> str:
    """The package right under ours that a module is, or is in."""
    return name.split(".")[1] if "." in name else ""


def rooms_of(path: Path) -> set[str]:
    return {room(one) for one in imported(path)} - {""}


def test_the_core_loads_without_anything_heavy() -> None:
    program = f"import sys; import flows.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


def test_the_library_does_not_know_its_flows() -> None:
    for name, path in modules("distill").items():
        if room(name) not in FRONT:
            assert not [one for one in imported(path) if one.startswith("flows")], name


def test_the_library_does_not_know_prefect() -> None:
    for name, path in modules("distill").items():
        assert "import prefect" not in path.read_text(encoding="utf-8"), name
        assert "from prefect" not in path.read_text(encoding="utf-8"), name


def test_rooms_do_not_import_each_other() -> None:
    for name, path in modules("distill").items():
        if room(name) in ROOMS - {"evaluate"}:
            assert not (rooms_of(path) & ROOMS) - {room(name)}, name


def test_furniture_knows_no_room() -> None:
    for name, path in modules("distill").items():
        if name not in CHILDREN and room(name) not in ROOMS | OVER_ROOMS | FRONT | {""}:
            assert not rooms_of(path) & ROOMS, name


def test_records_and_recipes_stand_on_their_own() -> None:
    for name, path in modules("distill").items():
        if room(name) in GROUND:
            assert rooms_of(path) <= GROUND[room(name)] | {room(name)}, name


def test_the_main_modules_of_children_are_imported_by_nobody() -> None:
    for name, path in (modules("distill") | modules("flows")).items():
        assert not imported(path) & CHILDREN, name


def test_what_runs_in_the_box_needs_nothing_of_ours_and_nothing_installed() -> None:
    allowed = set(sys.stdlib_module_names)
    for path in sorted((PROJECT / "distill/sandbox/inside").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] in allowed, path
