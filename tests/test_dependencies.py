"""Which package may import which: those in a lower layer only, no circles, nothing heavy in the core, and
files of one sitting."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

PROJECT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "vllm",
    "prefect",
    "datasets",
    "matplotlib",
    "math_verify",
    "sympy",
    "huggingface_hub",
)
LAYERS = (
    {"flows"},
    {"plan"},
    {"collect", "sample", "verify", "curate", "train", "evaluate"},
    {"verifiers", "contamination"},
    {"engines", "duplicates", "sandbox", "plots"},
    {"files"},
    {"text"},
    {"store", "hardware", "workers"},
    {"recipe"},
    {"records", "progress"},
)
"""A module imports its own package, and others of lower layers only. `distill.__main__`, which starts the
command line, is above them."""
CHILDREN = {"distill.train.worker"}
"""Main modules of child processes: nothing imports them."""
MOST_LINES = 450
MOST_FILES = 16
"""Of a package of `distill`."""


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


def package(name: str) -> str:
    """The package right under `distill` that a module is, or is in; `flows`; empty for `distill` itself."""
    return "flows" if name.split(".")[0] == "flows" else name.split(".")[1] if "." in name else ""


def imported_at_the_top(path: Path) -> set[str]:
    """Modules of ours that are imported when a file is; of `from package import module` the module, not the
    package."""
    known = modules("distill") | modules("flows")
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found & set(known)


def test_the_core_loads_without_anything_heavy() -> None:
    program = f"import sys; import flows.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout.strip() == "[]"


def test_the_library_does_not_know_prefect() -> None:
    for name, path in modules("distill").items():
        assert "import prefect" not in path.read_text(encoding="utf-8"), name
        assert "from prefect" not in path.read_text(encoding="utf-8"), name


def test_a_module_imports_lower_layers_only() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    for name, path in (modules("distill") | modules("flows")).items():
        own = package(name)
        if own in ("", "__main__"):
            continue
        above = {
            one
            for one in imported(path)
            if package(one) not in ("", own) and layer[package(one)] <= layer[own]
        }
        assert not above, name


def test_no_module_imports_itself_over_others() -> None:
    known = modules("distill") | modules("flows")
    TopologicalSorter({name: imported_at_the_top(path) - {name} for name, path in known.items()}).prepare()


def test_files_and_packages_have_a_size_that_is_read_in_one_sitting() -> None:
    for top in ("distill", "flows"):
        for name, path in modules(top).items():
            assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, name
    for folder in {path.parent for path in modules("distill").values()}:
        assert len(list(folder.glob("*.py"))) <= MOST_FILES, folder


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
