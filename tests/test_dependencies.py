"""Which package may import which: those in a lower layer only, no circles, nothing heavy in the core, and
files of one sitting."""

import ast
import subprocess
import sys
from functools import cache
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
NOT_FOR_HELP = ("pyarrow", "aiohttp", "numpy", "pydantic")
"""What else `distill --help` does without: it answers before anything is read."""
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
MOST_LINES = 400
MOST_FILES = 15
"""Of a folder, `flows` among them."""


@cache
def modules(*packages: str) -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in packages
        for path in sorted((PROJECT / package).rglob("*.py"))
    }


@cache
def imports(path: Path, top: bool = False) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The import statements of a file; `top`: those that are run when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top else ast.walk(tree)
    return tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    found: set[str] = set()
    for node in imports(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & modules("distill", "flows").keys()


def package(name: str) -> str:
    """The package right under `distill` that a module is, or is in; `flows`; empty for `distill` itself."""
    return "flows" if name.split(".")[0] == "flows" else name.split(".")[1] if "." in name else ""


def past_the_face(user: str, path: Path) -> set[str]:
    """What a module imports of other packages of `distill` that their `__init__` does not list in
    `__all__`."""
    found: set[str] = set()
    for node in imports(path):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("distill."):
            continue
        parts = (node.module or "").split(".")
        face = PROJECT / "distill" / parts[1] / "__init__.py"
        if parts[1] == package(user) or not face.exists():
            continue
        names = {alias.name for alias in node.names}
        found |= {
            f"distill.{'.'.join(parts[1:])}.{name}"
            for name in names
            if len(parts) > 2 or name not in exported(face)
        }
    return found


@cache
def exported(face: Path) -> set[str]:
    """The names in a package's `__all__`."""
    for node in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {str(name) for name in ast.literal_eval(node.value)}
    return set()


def imported_at_the_top(path: Path) -> set[str]:
    """Modules of ours that are imported when a file is; of `from package import module` the module, not the
    package."""
    known = modules("distill", "flows")
    found: set[str] = set()
    for node in imports(path, top=True):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found & known.keys()


def test_the_core_loads_without_anything_heavy() -> None:
    program = f"import sys; import flows.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout.strip() == "[]"


def test_help_loads_nothing_that_it_does_not_show() -> None:
    heavy = (*HEAVY, *NOT_FOR_HELP)
    program = f"""
import sys
from flows.cli import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert "distill run" in done.stdout and done.stdout.splitlines()[-1] == "[]"


def test_the_library_does_not_know_prefect() -> None:
    for name, path in modules("distill").items():
        assert "import prefect" not in path.read_text(encoding="utf-8"), name
        assert "from prefect" not in path.read_text(encoding="utf-8"), name


def test_a_module_imports_lower_layers_only() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    for name, path in modules("distill", "flows").items():
        own = package(name)
        if own in ("", "__main__"):
            continue
        above = {
            one
            for one in imported(path)
            if package(one) not in ("", own) and layer[package(one)] <= layer[own]
        }
        assert not above, name


def test_a_module_imports_of_another_package_what_its_init_exports() -> None:
    offenders = sorted(
        f"{user} <- {name}"
        for user, path in modules("distill", "flows").items()
        for name in past_the_face(user, path)
    )
    assert not offenders, "import these from the package, or add them to its __all__:\n" + "\n".join(
        offenders
    )


def test_no_module_imports_itself_over_others() -> None:
    known = modules("distill", "flows")
    TopologicalSorter({name: imported_at_the_top(path) - {name} for name, path in known.items()}).prepare()


def test_files_and_packages_have_a_size_that_is_read_in_one_sitting() -> None:
    for name, path in modules("distill", "flows").items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, name
    for folder in {path.parent for path in modules("distill", "flows").values()}:
        assert len(list(folder.glob("*.py"))) <= MOST_FILES, folder


def test_the_main_modules_of_children_are_imported_by_nothing() -> None:
    for name, path in modules("distill", "flows").items():
        assert not imported(path) & CHILDREN, name


def test_what_runs_in_the_box_needs_nothing_of_ours_and_nothing_installed() -> None:
    allowed = set(sys.stdlib_module_names)
    for path in sorted((PROJECT / "distill/sandbox/inside").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").partition(".")[0] in allowed, path
