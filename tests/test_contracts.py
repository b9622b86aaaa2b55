"""data/README.md holds the contracts: every outcome, reason, column and field of a file stands there."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from distill.curate import filters
from distill.curate.preferences import Preference
from distill.files import traces
from distill.records import (
    Candidate,
    Checkpoint,
    Comparison,
    Example,
    Kind,
    Outcome,
    Promotion,
    Report,
    Ruling,
    Score,
)
from distill.store.schema import schema

PAGE = (Path(__file__).parents[1] / "data/README.md").read_text(encoding="utf-8")
REASONS = {value for name, value in vars(filters).items() if name.isupper() and isinstance(value, str)}


def part(title: str) -> str:
    assert PAGE.count(f"# {title}\n") == 1, title
    return PAGE.split(f"# {title}\n")[1].split("\n#")[0]


def absent(names: Any, text: str) -> list[str]:
    return [name for name in names if f"`{name}`" not in text]


def test_outcomes_and_kinds_stand_there() -> None:
    assert absent(get_args(Outcome), part("Outcomes")) == []
    assert absent(get_args(Kind), part("Verifiers")) == []


def test_every_reason_why_a_row_is_dropped_stands_there() -> None:
    assert len(REASONS) > 10
    assert absent(REASONS, part("Dropped rows")) == []


@pytest.mark.parametrize(
    ("title", "record"), [("Examples", Example), ("Candidates", Candidate), ("Preferences", Preference)]
)
def test_every_column_of_a_dataset_stands_there(title: str, record: type) -> None:
    assert absent(schema(record).names, part(title)) == []


@pytest.mark.parametrize("record", [Checkpoint, Report, Score, Comparison, Promotion, Ruling])
def test_every_field_of_a_students_files_stands_there(record: Any) -> None:
    assert absent([field.name for field in fields(record)], part("A student folder")) == []


def test_the_columns_that_a_file_is_read_by_stand_there() -> None:
    read = [
        "response",
        "thinking",
        "answer",
        "model",
        *traces.Trace.__annotations__,
        *traces.Problem.__annotations__,
    ]
    rest = {"problem", "cached_prompt_tokens", "spent_tokens", "unusable", "detail_unusable"}
    assert absent(set(read) - rest, part("Files of your own")) == []
