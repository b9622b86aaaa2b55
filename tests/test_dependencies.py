"""Which module may import which: flows > rooms > furniture > records and recipes, and nothing heavy in the core."""

import ast
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "trl", "vllm", "prefect", "datasets", "matplotlib", "math_verify", "sympy", "huggingface_hub")
ROOMS = {"collect", "sample", "verify", "curate", "train", "evaluate"}
FRONT = {"cli", "commands", "file_mode", "__main__"}
CHILDREN = {"trainer"}
"""Main modules of child processes: they import what they need, and nothing imports them."""
GROUND: dict[str, set[str]] = {
    "records": set(),
    "arrow": set(),
    "section": set(),
    "recipe_benchmarks": set(),
    "recipe_curation": {"records", "section"},
    "recipe": {"recipe_benchmarks", "recipe_curation", "records", "section"},
    "recipe_files": {"recipe", "section"},
}


def modules(package: str) -> dict[str, Path]:
    return {".".join(path.relative_to(PROJECT).with_suffix("").parts): path for path in sorted((PROJECT / package).rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    known = modules("distill") | modules("flows")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in known or name in ("distill", "flows")}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_the_core_loads_without_anything_heavy() -> None:
    program = f"import sys; import distill.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
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
    for own in ROOMS - {"evaluate"}:
        others = {room(one) for one in imported(PROJECT / "distill" / f"{own}.py")}
        assert not (others & ROOMS) - {own}, own


def test_furniture_knows_no_room() -> None:
    for name, path in modules("distill").items():
        if room(name) not in ROOMS | FRONT | CHILDREN | {""}:
            found = {room(one) for one in imported(path)} & ROOMS
            assert not found, (name, found)


def test_records_and_recipes_stand_on_their_own() -> None:
    for own, needed in GROUND.items():
        assert {room(one) for one in imported(PROJECT / "distill" / f"{own}.py")} <= {""} | needed, own


def test_the_main_modules_of_children_are_imported_by_nobody() -> None:
    for name, path in (modules("distill") | modules("flows")).items():
        assert not {room(one) for one in imported(path) if one.startswith("distill.")} & CHILDREN, name


def test_what_runs_in_the_box_needs_nothing_of_ours_and_nothing_installed() -> None:
    allowed = set(sys.stdlib_module_names)
    for path in sorted((PROJECT / "distill/sandbox/inside").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] in allowed, path
