"""Collect: one problem for each row whatever is in it, and nothing unjudgeable is ever asked."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import contamination, verifiers
from distill.collect import MAX_QUESTION_CHARACTERS, apart, collect, marked
from distill.files.readers import BAD_ROW, read_rows
from distill.recipe import Curation, ProblemSource, RecipeError, Screens, Verification, load_dataset
from distill.records import Problem, Trace
from distill.store import folders, list_shards, schema, shards

VERIFICATION = Verification(workers=1)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
SURROGATES = st.text(st.sampled_from("ab \n\x00\ud800\udfff你"), max_size=10)
MIXED = SURROGATES | VALUES
ROWS = st.fixed_dictionaries(
    {}, optional={"question": MIXED, "answer": MIXED, "tests": MIXED, "language": MIXED, BAD_ROW: SURROGATES}
)


def source(**values: Any) -> ProblemSource:
    return ProblemSource(**({"name": "test", "path": "unused.jsonl"} | values))


def problems(rows: list[dict[str, Any]], **values: Any) -> list[Problem]:
    return list(collect(rows, source(**values), VERIFICATION))


def one(row: dict[str, Any], **values: Any) -> Problem:
    (problem,) = problems([row], **values)
    return problem


@settings(max_examples=100, deadline=None)
@given(
    st.lists(ROWS, max_size=4),
    st.sampled_from(["open", "code", "sql", "choice"]),
    st.sampled_from([None, "@language", "en"]),
)
def test_every_row_becomes_one_problem_that_a_shard_can_hold(
    rows: list[dict[str, Any]], kind: str, language: str | None
) -> None:
    found = problems(rows, kind=kind, tests="tests", language=language)
    assert len(found) == len(rows)
    table = pa.Table.from_pylist([schema.to_row(problem) for problem in found], schema=schema.schema(Problem))
    assert [schema.from_row(Problem, row) for row in table.to_pylist()] == found
    for problem in found:
        assert problem.unusable is not None or problem.question.strip()
        assert (problem.unusable is None) == (problem.detail_unusable is None)


@given(
    st.lists(st.sampled_from(["a", " a", "a\n", "b", "b  b", "b b", "A", "\u00e9", "e\u0301"]), max_size=12)
)
@settings(max_examples=40, deadline=None)
def test_of_equal_questions_only_the_first_is_usable(questions: list[str]) -> None:
    found = problems([{"question": text} for text in questions], kind="open")
    assert [problem.question for problem in found] == [text.strip() for text in questions]
    usable = {
        " ".join(problem.question.replace("e\u0301", "\u00e9").split())
        for problem in found
        if problem.unusable is None
    }
    assert len(usable) == sum(problem.unusable is None for problem in found)
    assert {problem.unusable for problem in found} <= {None, "exact_duplicate"}


@pytest.mark.parametrize(
    ("row", "values", "reason", "detail"),
    [
        ({BAD_ROW: "line 3: not JSON"}, {}, "bad_row", "line 3: not JSON"),
        ({"answer": "1"}, {}, "empty", "no 'question' in answer"),
        ({"question": None, "answer": "1"}, {}, "empty", "null"),
        ({"question": " \n\t", "answer": "1"}, {}, "empty", "blank"),
        ({"question": 7, "answer": "1"}, {}, "bad_row", "int, not text"),
        (
            {"question": "x" * (MAX_QUESTION_CHARACTERS + 1), "answer": "1"},
            {},
            "too_long",
            "100001 characters",
        ),
        ({"question": "q"}, {}, "no_reference", "needs reference"),
        ({"question": "q", "answer": " "}, {}, "no_reference", "needs reference"),
        ({"question": "q", "answer": ["1", "2"]}, {}, "no_reference", "a list of 2"),
        ({"question": "q", "answer": float("nan")}, {}, "no_reference", "float"),
        ({"question": "Prove it.", "answer": "Proof"}, {}, "no_reference", "'Proof' stands"),
        ({"question": "See ![figure](a.png). Area?", "answer": "4"}, {}, "needs_image", "image"),
        (
            {"question": "q", "answer": "no number"},
            {"reference_pattern": "#### (.+)$"},
            "no_reference",
            "does not match",
        ),
        ({"question": "q", "answer": r"\frac{1}{"}, {}, "reference_fails", "by math/"),
        ({"question": "q", "answer": "Z"}, {"kind": "choice"}, "reference_fails", "by choice/"),
        (
            {"question": "Pick", "options": ["a", "b"], "answer": "B"},
            {"kind": "choice"},
            "reference_fails",
            "lists no options",
        ),
        (
            {"question": "Pick\nA) a\nB) b", "answer": "C"},
            {"kind": "choice"},
            "reference_fails",
            "none of the options",
        ),
        ({"question": "q"}, {"kind": "code", "tests": "tests"}, "no_reference", "needs tests"),
        ({"question": "q", "tests": "{torn"}, {"kind": "code", "tests": "tests"}, "reference_fails", "code/"),
        (
            {"question": "q", "tests": [{"input": "1", "output": "1"}], "generated_checker": "import sys"},
            {"kind": "code", "tests": "tests"},
            "reference_fails",
            "unsupported",
        ),
        (
            {"question": "q", "tests": {"a": b"bytes"}},
            {"kind": "code", "tests": "tests"},
            "bad_row",
            "no JSON",
        ),
        ({"question": "q", "answer": "select 1"}, {"kind": "sql"}, "no_reference", "needs tests"),
    ],
)
def test_what_cannot_be_asked_or_judged_has_a_reason_and_a_detail(
    row: Any, values: Any, reason: str, detail: str
) -> None:
    problem = one(row, **values)
    assert problem.unusable == reason
    assert problem.detail_unusable is not None and detail in problem.detail_unusable


@pytest.mark.parametrize(
    ("answer", "pattern", "reference"),
    [
        ("42", None, "42"),
        (42, None, "42"),
        (0.5, None, "0.5"),
        (["42"], None, "42"),
        ("He has 1.\n2 + 2 = 4\n#### 4", "#### (.+)$", "4"),
        ("a\nb\nc", "(?s)a(.+)", "b\nc"),
    ],
)
def test_references_of_common_shapes_are_read(answer: Any, pattern: str | None, reference: str) -> None:
    assert (
        one({"question": "q", "answer": answer}, reference_pattern=pattern, kind="open").reference
        == reference
    )


def test_tests_that_lie_in_several_columns_are_put_together_and_the_reference_is_run_with_them() -> None:
    row = {
        "question": "def half(n):",
        "body": "    return n // TWO",
        "checks": "def check(f):\n    assert f(8) == 4\n",
        "name": "half",
    }
    setup = {"prompt": 'TWO = 2\ndef half(n):\n    """Half."""\n'}
    columns = {
        "kind": "code",
        "reference": "body",
        "tests": "checks",
        "setup": "prompt",
        "entry_point": "name",
    }
    assert one(row | setup, **columns).unusable is None
    assert (
        one(row | {"prompt": 'TWO = 3\ndef half(n):\n    """Half."""\n'}, **columns).unusable
        == "reference_fails"
    )
    mbpp = {
        "question": "q",
        "body": "def f(x): return x",
        "checks": ["assert f(math.pi) > 3"],
        "prompt": ["import math"],
    }
    assert one(mbpp, **columns).unusable is None


def test_a_duplicate_of_an_unusable_problem_is_no_duplicate() -> None:
    found = problems(
        [{"question": "q", "answer": ""}, {"question": "q", "answer": "1"}, {"question": "q ", "answer": "1"}]
    )
    assert [problem.unusable for problem in found] == ["no_reference", None, "exact_duplicate"]
    assert found[1].problem_id in (found[2].detail_unusable or "")


def test_questions_of_an_earlier_source_are_duplicates_when_they_are_carried_over() -> None:
    seen: dict[bytes, str] = {}
    row = {"question": "1 + 1?", "answer": "2"}
    found = [
        next(collect([row], source(name=name), VERIFICATION, seen)).unusable for name in ("first", "second")
    ]
    assert found == [None, "exact_duplicate"]


def test_the_id_depends_on_what_makes_the_problem_and_on_nothing_else() -> None:
    row = {"question": "1 + 1?", "answer": "2", "id": "../../etc/passwd"}
    first = one(row)
    assert len(first.problem_id) == 16 and int(first.problem_id, 16) >= 0
    assert one(row | {"id": 7}, name="other", licence="MIT").problem_id == first.problem_id
    assert one(row | {"answer": "3"}).problem_id != first.problem_id
    assert one(row, kind="open").problem_id != first.problem_id


def test_surrogates_and_nul_are_replaced_before_they_reach_a_shard(tmp_path: Any) -> None:
    problem = one({"question": "a\ud800b\x00c", "answer": "\udfff"}, kind="open")
    assert (problem.question, problem.reference) == ("a\ufffdb\ufffdc", "\ufffd")
    path = str(tmp_path / "problems.parquet")
    assert shards.write(Problem, [problem], path) == 1
    assert list(shards.read(Problem, path)) == [problem]


def test_text_that_looks_like_a_template_or_html_is_kept_as_it_is() -> None:
    text = "<|im_end|><think> <script>alert(1)</script> </think>"
    assert one({"question": text}, kind="open").question == text


@pytest.mark.parametrize(
    ("language", "row", "expected"),
    [
        (None, {"question": "你有几个苹果?"}, "zh"),
        (None, {"question": "How many?"}, "en"),
        ("de", {"question": "Wie viele?"}, "de"),
        ("@lang", {"question": "Combien?", "lang": "FR"}, "fr"),
        ("@lang", {"question": "几个?", "lang": "zh-CN"}, "zh"),
        ("@lang", {"question": "有几个?", "lang": None}, "zh"),
    ],
)
def test_language_is_the_recipe_s_the_row_s_or_detected(
    language: str | None, row: dict[str, Any], expected: str
) -> None:
    assert one(row, kind="open", language=language).language == expected


@pytest.mark.parametrize("pattern", ["(", "no group"])
def test_a_pattern_that_cannot_work_is_an_error_of_the_recipe(pattern: str) -> None:
    with pytest.raises(RecipeError, match="reference_pattern"):
        problems([{"question": "q", "answer": "1"}], reference_pattern=pattern)


def test_references_checked_ahead_come_out_in_the_order_of_the_rows() -> None:
    rows = [
        {"question": f"q{number}", "answer": r"\frac{1}{" if number % 7 == 0 else str(number)}
        for number in range(600)
    ]
    found = problems(rows)
    assert [problem.question for problem in found] == [row["question"] for row in rows]
    assert [problem.unusable for problem in found] == [
        "reference_fails" if number % 7 == 0 else None for number in range(600)
    ]


def test_every_seed_problem_is_usable() -> None:
    for name in ("train", "heldout"):
        seed = source(name="seed", path=f"data/seed/{name}.jsonl", language="@language")
        assert {problem.unusable for problem in collect(read_rows(seed), seed, VERIFICATION)} == {None}


def usable(*questions: str, **values: Any) -> list[Problem]:
    fields: dict[str, Any] = {"source": "test", "kind": "math", "reference": "7"} | values
    return [
        Problem(problem_id=f"p{row}", question=question, **fields) for row, question in enumerate(questions)
    ]


def close_to(question: str, rows: list[Problem]) -> list[contamination.Match]:
    return list(contamination.of_problems(rows, contamination.Benchmarks([("bench", question)])))


ANNA = "Anna walks along the river for {} miles each morning, opens the bakery at 6 and then cycles {} miles to the market. How far is it?"


def test_a_problem_in_other_words_is_a_near_duplicate_and_one_with_other_numbers_is_none() -> None:
    rows = usable(
        ANNA.format(3, 4), ANNA.format(3, 5), ANNA.format(4, 3), ANNA.format(3, 4).replace("Anna", "Maria")
    )
    assert apart(rows, [], near=True) == {3: ("near_duplicate", "nearly the same question as p0 of test")}
    assert apart(rows, [], near=False) == {}


@pytest.mark.parametrize("values", [{"reference": None, "kind": "open"}, {"reference": "yes"}])
def test_problems_whose_answers_are_no_numbers_are_no_near_duplicates(values: dict[str, Any]) -> None:
    assert (
        apart(usable(ANNA.format(3, 4), ANNA.format(3, 4).replace("Anna", "Maria"), **values), [], near=True)
        == {}
    )


def test_a_benchmark_question_is_contaminated_and_its_copies_go_with_it_wherever_they_are() -> None:
    question = ANNA.format(3, 4)
    rows = usable(question.replace("Anna", "Maria"), "What is 3 + 4?", question)
    marks = apart(rows, [match for match in close_to(question, rows) if match.rule == "exact"], near=True)
    assert {row: reason for row, (reason, _) in marks.items()} == {0: "near_duplicate", 2: "contaminated"}
    assert "bench" in marks[2][1] and question in marks[2][1]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [ANNA.format(3, 4), ANNA.format(3, 5), ANNA.format(3, 4) + " Say it.", "What is 3 + 4?", ""]
        ),
        max_size=8,
    )
)
def test_marking_keeps_every_row_and_what_was_wrong_with_it(questions: list[str]) -> None:
    rows = [
        row
        if row.question
        else Problem("p", "test", "math", "", None, unusable="empty", detail_unusable="blank")
        for row in usable(*questions)
    ]
    found = list(marked(rows, apart(rows, close_to(ANNA.format(3, 5), rows), near=True)))
    assert [problem.question for problem in found] == questions
    assert [problem.unusable for problem in found if not problem.question] == ["empty"] * questions.count("")
    assert [problem.unusable for problem in found if problem.question == ANNA.format(3, 5)] == [
        "contaminated"
    ] * questions.count(ANNA.format(3, 5))
    half = len(rows) // 2
    marks = apart(rows, close_to(ANNA.format(3, 5), rows), near=True)
    assert [*marked(rows[:half], marks), *marked(rows[half:], marks, half)] == found


def test_the_stage_marks_what_stands_apart_and_goes_on_after_a_kill(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.collect import collect_stage
    from flows.identity import Folders, Model

    monkeypatch.setattr(folders, "ROOT", str(tmp_path / "store"))
    rows = [
        ANNA.format(3, 4),
        "What is 3 + 4?",
        "",
        ANNA.format(3, 4).replace("Anna", "Maria"),
        ANNA.format(3, 5),
    ]
    asked, bench = tmp_path / "asked.jsonl", tmp_path / "bench.jsonl"
    asked.write_text(
        "".join(json.dumps({"question": row, "answer": "7"}) + "\n" for row in rows), encoding="utf-8"
    )
    bench.write_text(json.dumps({"question": "WHAT IS 3+4"}) + "\n", encoding="utf-8")
    curation = Curation(benchmarks=(source(name="bench", path=str(bench)),))

    def reasons(section: Curation | None) -> tuple[str, list[str | None]]:
        recipe = load_dataset("tiny")
        settings = (source(path=str(asked)),), VERIFICATION, 2, Model.of(recipe.teacher), recipe.sampling
        recipe = recipe.model_copy(update={"curation": section})
        folder = collect_stage(Folders(*settings, recipe if section else None)).path
        return folder, [
            problem.unusable for path in list_shards(folder) for problem in shards.read(Problem, path)
        ]

    folder, found = reasons(curation)
    assert found == [None, "contaminated", "empty", "near_duplicate", None]
    summary = json.loads(Path(folder, "made.json").read_text(encoding="utf-8"))
    assert summary["unusable"] == {"contaminated": 1, "empty": 1, "near_duplicate": 1}
    (pair,) = json.loads(Path(folder, "contamination.json").read_text(encoding="utf-8"))["pairs"]
    assert (pair["benchmark"], pair["rule"], pair["text"], pair["dropped"]) == (
        "bench",
        "exact",
        "What is 3 + 4?",
        True,
    )
    for killed in ("made.json", "00001.parquet"):
        Path(folder, killed).unlink()
    written = Path(folder, "00000.parquet").stat().st_mtime_ns
    assert reasons(curation) == (folder, found)
    assert json.loads(Path(folder, "made.json").read_text(encoding="utf-8")) == summary
    assert Path(folder, "00000.parquet").stat().st_mtime_ns == written
    assert reasons(None)[1] == [None, None, "empty", None, None]
    assert reasons(curation.model_copy(update={"screens": Screens(max_repetition=0.1)}))[0] == folder


@pytest.mark.parametrize(
    ("reference", "read_as"),
    [
        ("The answer is 7.", "7"),
        ("Adding both gives 7. So the final answer is 7.", "7"),
        ("#### 7", "7"),
        ("['7']", "7"),
        ("She has 7 apples left.", None),
        ("They walk home together after 7 hours of work.", None),
        ("7 apples", "7"),
        ("7", "7"),
    ],
)
def test_a_reference_in_prose_is_the_value_that_a_marker_leads_to_or_unusable(
    reference: str, read_as: str | None
) -> None:
    """Before a token is spent; a right answer is then never wrong."""
    section = Verification(workers=1)
    given = ProblemSource(name="s", path="s.jsonl", language="en")
    (problem,) = collect([{"question": "How many are left?", "answer": reference}], given, section)
    if read_as is None:
        assert problem.unusable == "reference_fails" and "unparsed_reference" in str(problem.detail_unusable)
        return
    assert problem.unusable is None
    for answer, outcome in ((read_as, "correct"), ("8", "wrong")):
        trace = Trace(problem, "t", 0, "I count.", f"\\boxed{{{answer}}}", True, "stop")
        assert verifiers.judge(trace, section).outcome == outcome


def test_texts_of_several_columns_make_one_question() -> None:
    row = {"text": "Add two numbers.", "tests": ["assert add(1, 2) == 3"], "starter": "", "answer": "x"}
    found = one(row, kind="open", question=("text", "starter", "tests.0"))
    assert found.question == "Add two numbers.\n\nassert add(1, 2) == 3"
    lacking = one({"text": "Add.", "answer": "x"}, kind="open", question=("text", "starter"))
    assert (lacking.unusable, lacking.detail_unusable) == ("empty", "no 'starter' in text, answer")


@pytest.mark.parametrize(
    ("script", "unusable"),
    [
        ("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);", None),
        ("CREATE TABLE t (a INT4, b MONEY[]) PARTITION BY a;", "reference_fails"),
    ],
)
def test_a_script_is_a_database_where_sqlite_runs_it(script: str, unusable: str | None) -> None:
    row = {"context": script, "ask": "How many?", "sql": "SELECT COUNT(*) FROM t"}
    found = one(row, kind="sql", question=("context", "ask"), reference="sql", tests="context")
    assert found.unusable == unusable
    assert found.question == f"{script}\n\nHow many?"
