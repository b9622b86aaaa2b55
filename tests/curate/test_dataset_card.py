"""The card: a header that the hub takes, and a text that says what is in the folder, where it is from and
what it does not promise."""

from pathlib import Path

import pytest
import yaml

from distill.curate import dataset_card
from distill.curate.funnel import Funnel, Reject, Tally
from distill.recipe import Curation, DatasetRecipe

FUNNEL = Funnel(
    {
        "sums": {
            "kept": Tally(1_500, 900, 3_000_000, spent_tokens=3_500_000),
            "wrong": Tally(500, 300, 2_000_000, spent_tokens=2_000_000),
            "mixed_language": Tally(7, 7, 9, spent_tokens=9),
        }
    },
    {"sums": 1_000},
    {
        "wrong": [
            Reject("t1", "What is 1 + 1?", "3, not 2 `|` \n# heading", "ends\nhere ``` [link](http://x)")
        ]
    },
)


def recipe(*licences: str, teacher: str = "MIT", language: str | None = None) -> DatasetRecipe:
    problems = [
        {"name": f"s{n}", "path": "org/data", "licence": licence, "language": language}
        for n, licence in enumerate(licences)
    ]
    about = {
        "name": "demo",
        "description": "A demo.",
        "problems": problems,
        "teacher": {"model": "some/teacher", "licence": teacher},
    }
    return DatasetRecipe.model_validate(about)


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_header_is_what_the_hub_reads(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    made = dataset_card.card(
        "demo: 'ein' \U0001f600 \"name\"", Curation(), FUNNEL, recipe("MIT", language="no"), preferences=True
    )
    (tmp_path / "README.md").write_text(made, encoding="utf-8")
    loaded = hub.DatasetCard.load(tmp_path / "README.md", repo_type="dataset")
    assert loaded.data.pretty_name == "demo: 'ein' \U0001f600 \"name\"" and loaded.data.license == "mit"
    assert loaded.data.language == ["no"] and loaded.data.size_categories == ["1K<n<10K"]
    assert {one["config_name"]: one["data_files"] for one in loaded.data.configs} == {
        name: f"{name}/*.parquet" for name in ("examples", "candidates", "preferences")
    }
    assert [one["config_name"] for one in loaded.data.configs if one.get("default")] == ["examples"]


def test_a_control_character_in_the_name_does_not_break_the_header() -> None:
    assert header(dataset_card.card("a\x07b\u202ec", Curation(), FUNNEL))["pretty_name"] == "a\\x07b\\u202ec"


@pytest.mark.parametrize(
    ("licences", "teacher", "named"),
    [
        (["MIT"], "MIT", "mit"),
        (["Apache-2.0"], "MIT", "other"),
        (["ODC-By-1.0"], "ODC-By-1.0", "odc-by"),
        (["CC-BY-NC-SA-4.0"], "CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        (["MAA (evaluation only)"], "MAA (evaluation only)", "other"),
        (["unknown"], "unknown", "unknown"),
        (["MIT"], "unknown", "other"),
    ],
)
def test_the_licence_is_one_that_the_hub_knows(licences: list[str], teacher: str, named: str) -> None:
    text = dataset_card.card("demo", Curation(), FUNNEL, recipe(*licences, teacher=teacher))
    assert header(text)["license"] == named
    assert (
        all(f"| {licence} |" in text for licence in licences) and f"licence of its outputs: {teacher}" in text
    )
    assert ("is unknown" in text) == ("unknown" in (*licences, teacher))


def test_sizes_and_tokens_are_those_of_the_funnel() -> None:
    text = dataset_card.card("demo", Curation(), FUNNEL)
    assert "**1,500 examples** (3,000,000 completion tokens) for 900 problems" in text
    assert "**2,007 candidates** (5,500,009 sampled tokens) for 1,000 problems" in text
    assert header(dataset_card.card("none", Curation(), Funnel()))["size_categories"] == ["n<1K"]


def test_preference_pairs_are_named_only_when_they_are_there() -> None:
    assert "preferences" not in dataset_card.card("demo", Curation(), FUNNEL).replace(
        '"preferences": null', ""
    )
    assert 'load_dataset("PATH", "preferences"' in dataset_card.card(
        "demo", Curation(), FUNNEL, preferences=True
    )


def test_pictures_are_shown_when_they_were_drawn() -> None:
    assert "![" not in dataset_card.card("demo", Curation(), FUNNEL)
    text = dataset_card.card("demo", Curation(), FUNNEL, plots=["plots/funnel.png", "plots/other.png"])
    assert (
        "![How many traces reach each stage](plots/funnel.png)" in text
        and "![other](plots/other.png)" in text
    )


def test_contamination_is_told_only_when_it_was_looked_for() -> None:
    checked = Curation.model_validate({"benchmarks": [{"name": "aime", "path": "x.jsonl"}]})
    assert "## Contamination\n\nNone found.\n" in dataset_card.card(
        "demo", checked, FUNNEL, contamination="None found.\n"
    )
    unchecked = dataset_card.card("demo", Curation(), FUNNEL, contamination="None found.\n")
    assert "None found." not in unchecked and "not checked at all" in unchecked


def test_rejects_are_one_line_of_code_each() -> None:
    (line,) = (
        line
        for line in dataset_card.card("demo", Curation(), FUNNEL).splitlines()
        if line.startswith("- **wrong**")
    )
    assert line == "- **wrong** `t1`: `3, not 2 '|' # heading`, ends in `ends here ''' [link](http://x)`"
