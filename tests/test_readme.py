"""The documents are true: commands parse, recipes and settings exist, links lead somewhere."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from distill.recipe import load
from flows import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "configs/README.md",
    "data/README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS if (ROOT / name).is_file()}
README = TEXTS["README.md"]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
PATH = re.compile(r"`((?:distill|flows|configs|tests|benchmarks|data|\.ci)/[\w./-]*)`")
WORDS = re.compile(r"\b(?:nobody|somebody|anybody|whoever|rooms?)\b", re.IGNORECASE)


def commands(text: str) -> list[str]:
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


HELP = [line.split("  #")[0].strip() for line in cli.EXAMPLES.splitlines() if line.startswith("  distill")]
COMMANDS = sorted({command for text in TEXTS.values() for command in commands(text)} | set(HELP))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


def section(title: str) -> str:
    return README.split(f"## {title}")[1].split("\n## ")[0]


def test_all_documents_are_there_and_have_commands() -> None:
    assert set(TEXTS) == set(DOCUMENTS)
    assert len(commands(README)) > 8
    assert len(COMMANDS) > 15


def test_the_readme_takes_five_minutes() -> None:
    assert README.count("\n") <= 150


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (command,) = commands(section("Tests"))
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_each_make_command_names_a_target_and_a_recipe(command: str) -> None:
    words = shlex.split(command)
    assert {word for word in words[1:] if "=" not in word} <= makefile_targets()
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if "STUDENT" in given:
        load.load_student(given["STUDENT"])
    if "DATASET" in given:
        load.load_dataset(given["DATASET"])
    if "TEACHER" in given:
        load.load_teacher(given["TEACHER"])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("distill")])
def test_each_distill_command_parses_and_its_settings_are_known(command: str) -> None:
    options = cli.parser().parse_args(shlex.split(command)[1:])
    overrides = tuple(getattr(options, "set", None) or ())
    if getattr(options, "input", None):
        load.load_parts(overrides)
    elif shlex.split(command)[1] == "dataset":
        load.load_dataset(options.name, overrides)
    elif hasattr(options, "student"):
        load.load_both(options.student, options.dataset, overrides)


def test_every_command_is_in_the_reference_and_explains_itself() -> None:
    table = TEXTS["configs/README.md"].split("## Commands")[1].split("\n## ")[0]
    found = next(action.choices for action in cli.parser()._actions if isinstance(action.choices, dict))
    assert {name for name in found if f"`{name}" in table} == set(found)


@pytest.mark.parametrize("command", sorted(cli.HELP))
def test_help_says_what_a_command_prints_and_its_examples_parse(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert "Prints" in shown
    assert WORDS.findall(shown) == []
    examples = [line.strip() for line in shown.split("examples:\n")[1].splitlines()]
    assert all(example.startswith(f"distill {command}") for example in examples)
    for example in examples:
        test_each_distill_command_parses_and_its_settings_are_known(example)


def test_make_help_lists_every_target_that_the_documents_name() -> None:
    shown = run("make", "help").stdout
    for target in {
        word for command in COMMANDS if command.startswith("make") for word in command.split()[1:2]
    }:
        assert f"make {target}" in shown


def test_the_recipes_that_are_listed_are_there() -> None:
    listed = section("Which files do I edit?")
    assert [
        name for family in ("datasets", "teachers") for name in load.names(family) if name not in listed
    ] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    assert [link for link in LINK.findall(TEXTS[name]) if not (folder / link).exists()] == []
    named = [
        path for path in PATH.findall(TEXTS[name]) if not path.startswith("data/store") and "KIND" not in path
    ]
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_documents_speak_to_the_reader(name: str) -> None:
    assert WORDS.findall(TEXTS[name]) == []


@pytest.mark.parametrize("family", ["datasets", "students", "teachers"])
def test_recipes_speak_to_the_reader(family: str) -> None:
    loaders = {"datasets": load.load_dataset, "students": load.load_student, "teachers": load.load_teacher}
    assert [name for name in load.names(family) if WORDS.search(loaders[family](name).description)] == []


def test_the_examples_of_files_of_your_own_run(tmp_path: Path) -> None:
    response = "<think>\nTwo.\n</think>\n\n\\boxed{2}"
    row = {"id": "1", "problem_id": "p", "question": "1 + 1?", "reference": "2", "response": response}
    (tmp_path / "traces.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    made = ("traces.jsonl", "verdicts.parquet", "curated", "shortest")
    for command in dict.fromkeys([*commands(README), *commands(TEXTS["data/README.md"])]):
        if "--input" in command:
            words = [str(tmp_path / word) if word in made else word for word in shlex.split(command)]
            run(sys.executable, "-m", *words)
    assert (tmp_path / "curated" / "README.md").is_file()
    assert list((tmp_path / "shortest" / "examples").glob("*.parquet"))
