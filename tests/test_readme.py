"""The README is true: its commands parse, its recipes and settings exist, and the quick ones run."""

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
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip() and not line.startswith("#")]


def makefile_targets():
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


def test_the_readme_has_commands():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_each_make_command_names_a_target_and_a_recipe(command):
    words = shlex.split(command)
    assert {word for word in words[1:] if "=" not in word} <= makefile_targets()
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if "STUDENT" in given:
        load.load_student(given["STUDENT"])
    if "DATASET" in given:
        load.load_dataset(given["DATASET"])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("distill")])
def test_each_distill_command_parses_and_its_settings_are_known(command):
    options = cli.parser().parse_args(shlex.split(command)[1:])
    overrides = tuple(getattr(options, "set", None) or ())
    name = getattr(options, "name", None) or getattr(options, "dataset", None)
    if shlex.split(command)[1] == "dataset":
        load.load_dataset(name, overrides)


def test_each_row_of_the_command_table_is_a_command():
    table = README.split("## Commands")[1].split("Exit codes")[0]
    for room in ("run", "dataset", "plan", "collect", "sample", "verify", "curate", "train", "evaluate", "datasets", "students", "report"):
        assert room in table
        assert run(sys.executable, "-m", "distill", room, "--help").stdout.startswith("usage: distill")


def test_make_help_lists_every_target_that_the_readme_names():
    shown = run("make", "help").stdout
    for target in {word for command in COMMANDS if command.startswith("make") for word in command.split()[1:2]}:
        assert f"make {target}" in shown


def test_the_recipes_that_are_listed_are_there():
    section = README.split("## Recipes")[1].split("##")[0]
    for name in load.names("datasets"):
        assert name in section


def test_the_readmes_example_of_files_of_your_own_runs(tmp_path):
    response = "<think>\nTwo.\n</think>\n\n\\boxed{2}"
    row = {"id": "1", "problem_id": "p", "question": "1 + 1?", "reference": "2", "response": response}
    (tmp_path / "traces.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    for command in [c for c in COMMANDS if "--input" in c]:
        words = [
            str(tmp_path / word) if word in ("traces.jsonl", "verdicts.parquet", "curated", "shortest") else word
            for word in shlex.split(command)
        ]
        run(sys.executable, "-m", *words)
    assert (tmp_path / "curated" / "README.md").is_file()
    assert list((tmp_path / "curated" / "examples").glob("*.parquet"))
