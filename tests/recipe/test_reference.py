"""Each key of each recipe section stands in configs/README.md, with its default and what a change costs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill.recipe import Section, load

PAGE = (Path(__file__).parents[2] / "configs/README.md").read_text(encoding="utf-8")
HEADINGS = {
    "DatasetRecipe": "dataset",
    "ProblemSource": "[[problems]]",
    "Teacher": "[teacher]",
    "TeacherRecipe": "teacher file",
    "Sampling": "[sampling]",
    "Adaptive": "[sampling.adaptive]",
    "Verification": "[verification]",
    "Sandbox": "[verification.sandbox]",
    "Judge": "[verification.judge]",
    "Majority": "[verification.majority]",
    "Curation": "[curation]",
    "Screens": "[curation.screens]",
    "Duplicates": "[curation.duplicates]",
    "Decontamination": "[curation.decontamination]",
    "Selection": "[curation.selection]",
    "Preferences": "[curation.preferences]",
    "StudentRecipe": "student",
    "Base": "[base]",
    "RopeScaling": "[base.rope_scaling]",
    "Training": "[training]",
    "Evaluation": "[evaluation]",
    "Decision": "[evaluation.decision]",
    "Server": "[evaluation.servers.ROLE]",
    "Suite": "suite",
}
"""The heading of each section's table."""
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+) \| ([\w ]+) \|$", re.MULTILINE)
COSTS = set(
    re.findall(r"^\| ([\w ]+) \| ", PAGE.split("## What is made again")[1].split("\n## ")[0], re.MULTILINE)
) - {"word"}
FREE = {
    ("DatasetRecipe", "description"),
    ("StudentRecipe", "description"),
    ("TeacherRecipe", "name"),
    ("TeacherRecipe", "description"),
}
FREE |= {("Teacher", "licence"), ("Base", "licence"), ("Base", "parameters")}
"""Keys that decide nothing and are left out of every fingerprint by name (`flows/identity.py`)."""


def sections(below: type[Section]) -> list[type[Section]]:
    return [
        found
        for one in below.__subclasses__()
        if one.__module__.startswith("distill.")
        for found in (sections(one) or [one])
    ]


SECTIONS = list(dict.fromkeys(sections(Section)))  # a section of two parents is found twice


def default(section: type[Section], key: str) -> str:
    """A key's default as the page shows it."""
    field = section.model_fields[key]
    match field.default:
        case _ if field.is_required():
            return "required"
        case None:
            return "none"
        case Section():
            return "section"
        case str() as text:
            return f"`{json.dumps(text)}`"
        case tuple() | list() | dict() | bool() as value:
            return json.dumps(value)
        case value:
            return str(value)


def deciding(section: type[Section]) -> set[str]:
    """The keys that are part of a fingerprint when they are set."""
    values: dict[str, Any] = dict.fromkeys(section.model_fields, "set")
    return set(section.model_construct(**values).identity())


def rows(section: type[Section]) -> dict[str, tuple[str, str, str]]:
    """Of each key in a section's table: default, meaning, what is made again."""
    assert section.__name__ in HEADINGS, (
        f"a table for {section.__name__} in configs/README.md, and its heading here"
    )
    heading = f"\n### `{HEADINGS[section.__name__]}`\n"
    assert PAGE.count(heading) == 1, heading
    table = re.split(r"\n##", PAGE.split(heading)[1])[0]
    return {key: (shown, meaning, cost) for key, shown, meaning, cost in ROW.findall(table)}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_stands_in_the_reference_with_its_default(section: type[Section]) -> None:
    found = rows(section)
    missing = {
        key: f"| `{key}` | {default(section, key)} | {field.description} | ... |"
        for key, field in section.model_fields.items()
        if key not in found or found[key][0] != default(section, key)
    }
    assert missing == {}
    assert set(found) == set(section.model_fields), "keys that are gone"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_what_a_change_costs_is_what_the_fingerprint_says(section: type[Section]) -> None:
    for key, (_, meaning, cost) in rows(section).items():
        assert cost in COSTS | {"see below"}, key
        assert (cost == "nothing") == (key not in deciding(section) or (section.__name__, key) in FREE), key
        assert meaning.endswith("."), key


def test_no_table_is_left_of_a_section_that_is_gone() -> None:
    assert set(HEADINGS) == {section.__name__ for section in (*SECTIONS, load.TeacherRecipe)}
