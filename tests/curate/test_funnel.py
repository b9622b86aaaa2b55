"""The funnel adds up, survives JSON and merging, and the card is one that `datasets` reads."""

import json

import pyarrow as pa
import pytest

from distill.curate import dataset_card, examples, funnel
from distill.recipe import Curation, DatasetRecipe
from distill.records import Candidate, Problem, Trace, Verdict
from distill.store import schema, shards


def candidate(number, dropped, source="a", cost=0.01, siblings=2, **measured):
    problem = Problem(
        f"{source}{number // siblings}", source, "math", f"What is {number} | 2?", "1", licence="MIT"
    )
    counts = {
        "prompt_tokens": 3,
        "thinking_tokens": 8,
        "answer_tokens": 2,
        "teacher": "teacher",
        "seed": 1,
        "cost_usd": cost,
    }
    trace = Trace(
        problem,
        f"{source}-{number}",
        number % siblings,
        "Some thinking.",
        "One.",
        True,
        "stop",
        **counts | measured,
    )
    return Candidate(
        trace, Verdict("correct"), dropped=dropped, detail_dropped=dropped and f"because of {dropped}"
    )


def table(rows):
    return pa.Table.from_pylist([schema.to_row(row) for row in rows], schema=schema.schema(Candidate))


def count(rows):
    return funnel.funnel([table(rows)])


REASONS = [
    None, None, "failed", "truncated", "malformed", "wrong", "unverified", "repetition", "mixed_language", "too_long",
    "exact_duplicate", "near_duplicate", "contaminated", "not_selected", "not_selected", "not_selected", "not_selected", None,
]  # fmt: skip
ROWS = [candidate(number, reason) for number, reason in enumerate(REASONS)]
OTHERS = [candidate(number, reason, "b") for number, reason in enumerate([None, "wrong"])]


def test_stages_are_what_is_left_after_each_reason():
    stages = {stage: tally.rows for stage, tally in count(ROWS).stages().items()}
    assert stages == {
        "asked": 18,
        "returned": 17,
        "finished": 15,
        "correct": 13,
        "clean": 10,
        "unique": 8,
        "selected": 3,
    }


def test_problems_tokens_and_cost_are_counted():
    found = count(ROWS)
    stages = found.stages()
    assert (stages["asked"].problems, stages["selected"].problems) == (9, 2)
    assert (stages["asked"].tokens, stages["selected"].tokens) == (180, 30)
    assert found.per_kept() == (60.0, pytest.approx(0.06))
    assert count([candidate(0, None, cost=None)]).per_kept() == (10.0, None)
    assert count([candidate(0, "wrong")]).per_kept() == (None, None)
    assert sum(tally.rows for tally in found.reasons().values()) == 18


def test_what_was_asked_holds_tries_that_were_cut_or_lost_and_what_is_kept_does_not():
    rows = [
        candidate(0, None, spent_tokens=40),
        candidate(1, "wrong"),
        candidate(2, "failed", cost=None, spent_tokens=50),
    ]
    stages = count(rows).stages()
    assert [stages[stage].tokens for stage in ("asked", "returned", "selected")] == [100, 20, 10]
    assert count(rows).per_kept() == (100.0, pytest.approx(0.02))
    assert "a kept trace has 10 tokens and took 100 ($0.02) of all that were sampled" in funnel.table(
        count(rows)
    )


def test_kept_traces_and_covered_problems_have_their_prices():
    found = count(
        [
            candidate(number, reason)
            for number, reason in enumerate([None, None, None, "wrong", "wrong", "wrong"])
        ]
    )
    assert (found.per_kept(), found.per_covered()) == (
        (20.0, pytest.approx(0.02)),
        (30.0, pytest.approx(0.03)),
    )
    text = funnel.markdown(found)
    assert (
        "took 20 ($0.02) of all that were sampled, a problem with one took 30 ($0.03); all together cost "
        "$0.06" in text
    )
    assert "$" not in funnel.markdown(count([candidate(0, None, cost=None)]))


def test_the_share_of_cached_prompts_is_told_where_servers_tell_it():
    rows = [
        candidate(0, None, prompt_tokens=600, cached_prompt_tokens=500),
        candidate(1, "wrong", prompt_tokens=400),
    ]
    assert "50.0% of 1,000 prompt tokens came from the cache" in funnel.table(count(rows))
    assert "cache" not in funnel.table(count(ROWS))


def test_draws_are_told_where_problems_have_different_numbers_of_them():
    few = [candidate(number, None, "a", siblings=2) for number in range(6)]
    many = [candidate(number, "wrong", "b", siblings=8) for number in range(8)]
    found = funnel.merge([count(few), count(many)])
    assert found.draws == count(few + many).draws == {2: 3, 8: 1}
    assert "3.5 traces a problem, from 2 to 8: 75.0% of the problems took fewer than 8" in funnel.table(found)
    assert "traces a problem" not in funnel.table(count(few))
    assert funnel.from_json(funnel.to_json(found)) == found


def test_candidates_and_funnels_from_before_these_columns_are_read():
    old = table(ROWS).drop_columns(["spent_tokens", "cached_prompt_tokens"])
    assert funnel.funnel([old]) == count(ROWS)
    stored = json.loads(funnel.to_json(count(ROWS)))
    del stored["draws"]
    for tallies in stored["tallies"].values():
        for tally in tallies.values():
            for name in ("spent_tokens", "prompt_tokens", "cached_prompt_tokens"):
                del tally[name]
    assert funnel.from_json(json.dumps(stored)).per_kept() == count(ROWS).per_kept()


def test_an_unknown_reason_is_an_outcome():
    assert count([candidate(0, "some_new_outcome")]).stages()["correct"].rows == 0


def test_funnels_of_shards_add_up():
    whole, parts = count(ROWS + OTHERS), funnel.merge([count(ROWS[:8]), count(ROWS[8:]), count(OTHERS)])
    assert {
        source: {reason: tally.rows for reason, tally in tallies.items()}
        for source, tallies in parts.tallies.items()
    } == {
        source: {reason: tally.rows for reason, tally in tallies.items()}
        for source, tallies in whole.tallies.items()
    }
    assert parts.problems == whole.problems and parts.rejects == whole.rejects
    assert whole.stages("b")["selected"].rows == 1


def test_json_gives_the_funnel_back():
    found = count(ROWS + OTHERS)
    assert funnel.from_json(funnel.to_json(found)) == found


def test_three_rejects_are_kept_for_each_reason():
    rejects = count(ROWS).rejects
    assert len(rejects["not_selected"]) == 3 and "because" in rejects["wrong"][0].detail
    assert set(rejects) == set(REASONS) - {None}


def test_tables_show_every_stage_reason_and_source():
    found = count(ROWS + OTHERS)
    for text in (funnel.table(found), funnel.markdown(found)):
        assert all(word in text for word in (*funnel.STAGES, "near_duplicate", "because of contaminated"))
        assert "$" in text
    assert all(line.count("|") == 5 for line in funnel.markdown(found).splitlines()[:9])


@pytest.mark.parametrize("rows", [[], [candidate(0, "wrong")]])
def test_nothing_kept_is_told_and_no_division_by_zero(rows):
    assert "no trace was kept" in funnel.table(count(rows))
    assert "no trace was kept" in dataset_card.card("none", Curation(), count(rows))


RECIPE = DatasetRecipe.model_validate(
    {
        "name": "demo",
        "description": 'A "demo": with a colon.',
        "problems": [{"name": "a", "path": "data/seed/train.jsonl", "licence": "Apache-2.0"}],
        "teacher": {"model": "some/teacher", "licence": "Apache-2.0"},
    }
)


def test_the_card_states_teacher_sampling_licences_and_limits():
    text = dataset_card.card("demo", RECIPE.curation, count(ROWS), RECIPE, {"traces": "abc123"})
    for part in (
        "some/teacher",
        "0.6",
        "32,768",
        "Apache-2.0",
        "not checked at all",
        "abc123",
        "| asked | 18 |",
        "because of wrong",
    ):
        assert part in text


def test_the_card_states_adaptive_sampling_and_what_the_server_ignores():
    adaptive = {"n": 2, "top_k": 20, "adaptive": {"enough": 3, "most": 16, "budgets": [65536]}}
    recipe = DatasetRecipe.model_validate(
        RECIPE.model_dump()
        | {"sampling": adaptive, "teacher": {"model": "some/teacher", "ignores": ["temperature"]}}
    )
    text = dataset_card.card("demo", recipe.curation, count(ROWS), recipe)
    for part in (
        "at least 2 completions",
        "top_k 20",
        "3 correct ones",
        "up to 16",
        "cut ones again with 65,536",
        "ignores temperature",
    ):
        assert part in text
    assert "Pass rates are too high" in text
    assert "Pass rates are too high" not in dataset_card.card("demo", RECIPE.curation, count(ROWS), RECIPE)


def test_datasets_reads_the_card_and_both_configurations(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [candidate(number, reason) for number, reason in enumerate([None, "wrong", None])]
    shards.write(Candidate, rows, str(tmp_path / "candidates" / "00000.parquet"))
    kept = table([row for row in rows if row.dropped is None])
    shards.write_tables(
        examples.SCHEMA, [examples.examples(kept, "math")], str(tmp_path / "examples" / "00000.parquet")
    )
    (tmp_path / "README.md").write_text(
        dataset_card.card("demo: one", RECIPE.curation, count(rows), RECIPE), encoding="utf-8"
    )
    cache = str(tmp_path / "cache")
    assert (
        datasets.load_dataset(str(tmp_path), split="train", cache_dir=cache)[0]["messages"][1]["role"]
        == "assistant"
    )
    assert datasets.load_dataset(str(tmp_path), "candidates", split="train", cache_dir=cache)["dropped"] == [
        None,
        "wrong",
        None,
    ]
