import json
from concurrent.futures import Future
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from distill.recipe import Sandbox, Verification
from distill.records import Problem, Verdict
from distill.verifiers import sql

SECTION = Verification(workers=2, sandbox=Sandbox(timeout_seconds=1.0, memory_mb=256))
CASES = [
    json.loads(line)
    for line in Path(__file__)
    .parents[1]
    .joinpath("cases", "sql.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
CELLS = (
    st.none()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 2.0, 0.1 + 0.2])
    | st.text(alphabet="ab", max_size=2)
    | st.binary(max_size=2)
)
TABLES = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), max_size=8))


def problem(tests: object, reference: str | None) -> Problem:
    return Problem("p", "s", "sql", "q", reference, tests if isinstance(tests, str) else json.dumps(tests))


def settled(verdict: Verdict | Future[Verdict]) -> Verdict:
    return verdict.result() if isinstance(verdict, Future) else verdict


def test_the_table_of_cases_is_judged_as_it_says():
    assert len(CASES) >= 40
    pending = [
        (case, sql.judge(problem(case["tests"], case["reference"]), case["answer"], SECTION))
        for case in CASES
    ]
    for case, verdict in [(case, settled(verdict)) for case, verdict in pending]:
        assert (case["why"], verdict.outcome) == (case["why"], case["outcome"]), verdict
        assert case.get("detail", "") in verdict.detail, (case["why"], verdict.detail)
        assert case.get("extracted", verdict.extracted) == verdict.extracted, case["why"]
        assert verdict.verifier == sql.VERSION


def test_a_reference_is_correct_exactly_when_it_runs():
    tests = {"schema": "CREATE TABLE t (a)", "rows": "INSERT INTO t VALUES (1)"}
    assert sql.judge_reference(problem(tests, "SELECT a FROM t"), SECTION).outcome == "correct"
    assert sql.judge_reference(problem(tests, "```sql\nSELECT a FROM t;\n```"), SECTION).outcome == "correct"
    for reference in ("SELECT b FROM t", "", None, "DROP TABLE t"):
        assert sql.judge_reference(problem(tests, reference), SECTION).outcome == "unparsed_reference", (
            reference
        )


@settings(deadline=None)
@given(TABLES, st.randoms())
def test_shuffled_rows_are_the_same_rows_and_a_changed_cell_is_not(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert sql.difference(tuple(rows), tuple(shuffled), ordered=False) == ""
    if rows:
        changed = [("other", *row[1:]) if index == 0 else row for index, row in enumerate(shuffled)]
        assert sql.difference(tuple(rows), tuple(changed), ordered=False)
        assert sql.difference(tuple(rows), tuple(rows[1:]), ordered=False)


def test_text_that_is_no_unicode_is_compared_and_its_verdict_can_be_stored():
    tests = {"schema": "CREATE TABLE t (a)", "rows": "INSERT INTO t VALUES (CAST(x'ff41' AS TEXT))"}
    same = settled(
        sql.judge(problem(tests, "SELECT a FROM t"), "```sql\nSELECT CAST(x'ff41' AS TEXT)\n```", SECTION)
    )
    other = settled(
        sql.judge(problem(tests, "SELECT a FROM t"), "```sql\nSELECT CAST(x'fe41' AS TEXT)\n```", SECTION)
    )
    assert (same.outcome, other.outcome) == ("correct", "wrong")
    assert other.detail.encode()
