"""The page of a report says the decision first, then each benchmark, and takes what the caller has."""

from dataclasses import replace

from distill.evaluate import promote
from distill.evaluate.page import Section, Table
from distill.evaluate.sections import render
from distill.recipe import Decision
from distill.records import Report
from tests.evaluate.test_decision import SCORE, difference
from tests.evaluate.test_page import Parts

SCORES = [
    replace(SCORE, source=source, role=role)
    for source in ("all", "math-500", "aime24")
    for role in ("base", "student")
]
COMPARISONS = [
    difference(3.9, 1.0, "all", 530),
    difference(4.8, 1.1, "math-500"),
    difference(-11.7, 5.6, "aime24", 30),
]


def page(found: Report) -> str:
    empty = (
        Section("Training"),
        Section("Dataset"),
        Section("Planned and taken", (), [Table("x", [("a", "b"), ("c", "d")])]),
    )
    training, data, spent = empty
    return render(
        found, training=training, data=data, spent=spent, groups=[], pictures=[], lineage={"base": "b"}
    )


def test_a_loss_on_one_benchmark_is_the_first_thing_that_is_read() -> None:
    promotion = promote(SCORES, COMPARISONS, Decision())
    found = Report("mine", "d", "c", "0" * 12, SCORES, COMPARISONS, "better", {}, promotion)
    text = page(found)
    start = text.index("<main>")
    assert '<p class="decision bad">hold</p>' in text[:start] and "aime24 -11.7" in text[:start]
    rules = text[start : text.index("Benchmarks</h2>")]
    assert rules.index("fails") < rules.index("holds") and "aime24" in rules
    benchmarks = text[text.index("<tbody>", text.index("Benchmarks</h2>")) :]
    assert benchmarks.index("aime24") < benchmarks.index("math-500") < benchmarks.index("all problems")
    assert "Training</h2>" not in text, "a section without anything in it is left out"


def test_a_report_from_before_there_were_rules_is_shown_without_them() -> None:
    text = page(Report("mine", "d", "c", "0" * 12, SCORES[:2], COMPARISONS[:1], "better", {}))
    assert '<p class="decision good">better</p>' in text and "Decision</h2>" not in text
    identifiers = [attributes["id"] for _, attributes in Parts(text).found if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
