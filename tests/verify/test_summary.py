import json

from distill.verify import summary

ROW = {
    "id": "1",
    "source": "s",
    "kind": "math",
    "outcome": "correct",
    "verifier": "math/1",
    "verify_seconds": 0.5,
    "answer": "a" * 5000,
}


def rows(*changes: dict[str, object]) -> list[dict[str, object]]:
    return [ROW | change for change in changes]


def test_rates_are_shares_of_the_traces_of_a_source_and_kind():
    found = summary.summarise(
        rows(
            {},
            {"outcome": "unparsed_answer"},
            {"outcome": "unparsed_reference"},
            {"outcome": "timeout"},
            {"source": "t"},
            {"kind": "code"},
        )
    )
    assert [(one.source, one.kind, one.traces) for one in found] == [
        ("s", "code", 1),
        ("s", "math", 4),
        ("t", "math", 1),
    ]
    plain = json.loads(summary.to_json(found))[1]
    assert (plain["yield"], plain["parse_failure_rate"], plain["timeout_rate"], plain["verify_seconds"]) == (
        0.25,
        0.5,
        0.25,
        2.0,
    )


def test_what_the_judge_and_the_majority_said_is_counted_against_the_verdict():
    (one,) = summary.summarise(
        rows(
            {"judge_outcome": "wrong"},
            {"judge_outcome": "correct"},
            {"judge_outcome": "error"},
            {"majority_outcome": "correct"},
        )
    )
    assert dict(one.judge) == {"differs": 1, "agrees": 1, "error": 1}
    assert dict(one.majority) == {"agrees": 1}
    assert "judge 1 times the same, 1 times not, 1 unusable" in summary.table([one])


def test_a_disagreement_is_a_correct_and_a_wrong_whoever_said_them(tmp_path):
    given = rows(
        {"judge_outcome": "wrong"},
        {"judge_outcome": "correct", "majority_outcome": "wrong"},
        {"outcome": "unverified", "judge_outcome": "correct", "majority_outcome": "wrong"},
        {"judge_outcome": "correct"},
        {"outcome": "wrong", "judge_outcome": "error"},
        {"outcome": "no_answer", "majority_outcome": "wrong"},
    )
    assert summary.write_disagreements(given, str(tmp_path / "list.jsonl")) == 3
    listed = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert [one["judge_outcome"] for one in listed] == ["wrong", "correct", "correct"]
    assert len(listed[0]["answer"]) < 2100


def test_outside_text_in_a_table_is_shown_inert():
    (one,) = summary.summarise(rows({"source": "\x1b[31m<b>|x"}))
    assert "\x1b" not in summary.table([one])
    assert "<b>" not in summary.markdown([one])
