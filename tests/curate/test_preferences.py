"""Preference pairs: made of one problem's stored rows, not of lengths or copies, in the columns that trainers
read."""

import math
import os
import random
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.curate import measures
from distill.curate.filters import completion_tokens
from distill.curate.preferences import LONGER, NEAR_COPY, Preference, outline, preferences, similarity
from distill.recipe import Duplicates, Preferences, Screens
from distill.records import Candidate, Opinions, Outline, Problem, Span, Trace, Verdict
from distill.store import schema, shards
from distill.text.thinking import split

PROJECT = Path(__file__).parents[2]
WRONG, LONG = Preferences(), Preferences(rejected="long")
SCREENS = Screens()
MEASURED = {}


def candidate(sample=0, outcome="correct", dropped=None, tokens=100, problem=0, words=None, **opinions):
    asked = Problem(f"p{problem}", "shop", "math", f"What is {problem} + 1?", str(problem + 1), licence="MIT")
    thinking = " ".join(f"{words or f'way{sample}'}-{word}" for word in range(40))
    trace = Trace(
        asked,
        f"t{problem}-{sample}",
        sample,
        thinking,
        f"It is {sample}.",
        True,
        "stop",
        thinking_tokens=tokens - 8,
        answer_tokens=8,
    )
    (measured,) = measures.measure([trace], Duplicates())
    return Candidate(
        trace, Verdict(outcome), Opinions(**opinions), replace(measured, pass_rate=0.5), dropped=dropped
    )


def wrong(sample, **values):
    return candidate(sample, "wrong", "wrong", **values)


def row(sample, good, tokens, words):
    """A candidate measured once for all with these words."""
    if (good, words) not in MEASURED:
        MEASURED[good, words] = candidate(0, words=words) if good else wrong(0, words=words)
    measured = MEASURED[good, words]
    return replace(
        measured,
        trace=replace(
            measured.trace, id=f"t{sample}", sample_index=sample, thinking_tokens=tokens, answer_tokens=0
        ),
    )


def pairs(rows, section=WRONG, screens=SCREENS, contaminated=()):
    return [
        (one.chosen_id, one.rejected_id)
        for one in preferences(rows, section, screens, "math", contaminated=contaminated)
    ]


def test_an_example_is_preferred_to_the_wrong_trace_of_nearest_length():
    rows = [
        candidate(0, tokens=100),
        wrong(1, tokens=300),
        wrong(2, tokens=90),
        wrong(3, tokens=40),
        wrong(4, tokens=105),
    ]
    assert pairs(rows) == [("t0-0", "t0-4")]
    (found,) = preferences(rows, WRONG, SCREENS, "math")
    assert (found.chosen_tokens, found.rejected_tokens, found.margin_tokens, found.rule) == (
        100,
        105,
        5,
        "wrong",
    )


def test_only_examples_are_chosen_and_only_finished_wrong_traces_rejected():
    others = [
        "truncated",
        "malformed",
        "no_answer",
        "failed",
        "near_duplicate",
        "not_selected",
        "mixed_language",
    ]
    rows = [candidate(sample, "wrong", reason) for sample, reason in enumerate(others, start=1)]
    assert pairs([candidate(0), *rows]) == []
    assert pairs([candidate(0, dropped="not_selected"), wrong(1)]) == []


FAULTS = [
    {"loop": "40 times: wait, no"},
    {"repetition": 0.9},
    {"language_share": 0.2},
    {"language_spans": [Span("answer", 0, 9, "zh", 5.0, "\u7b54\u6848")]},
    {"refusal": "I cannot help"},
    {"answer_leak": "the reference says 4"},
    {"mismatch": "the thinking concludes '5', the answer is '6'"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=[name for fault in FAULTS for name in fault])
def test_a_wrong_trace_with_another_fault_is_not_rejected(fault):
    faulty = wrong(1)
    faulty = replace(faulty, measures=replace(faulty.measures, **fault))
    assert pairs([candidate(0), wrong(1)]) == [("t0-0", "t0-1")]
    assert pairs([candidate(0), faulty]) == []
    assert pairs([candidate(0), faulty, wrong(2, tokens=900)]) == [("t0-0", "t0-2")]


def test_the_recipes_own_thresholds_screen_what_is_rejected():
    rows = [candidate(0), wrong(1), wrong(2, tokens=900)]
    assert pairs(rows, screens=Screens(min_completion_tokens=101)) == [("t0-0", "t0-2")]
    assert pairs(rows[:2], screens=Screens(max_completion_tokens=99)) == []


@pytest.mark.parametrize("section", [WRONG, LONG])
def test_no_pair_has_a_trace_that_is_close_to_a_benchmark(section):
    rows = [candidate(0), wrong(1), wrong(2, tokens=900), candidate(3, tokens=900), candidate(4, tokens=800)]
    (first,) = pairs(rows, section)
    (second,) = pairs(rows, section, contaminated={first[1]})
    assert first[1] not in second
    assert pairs(rows, section, contaminated={row.trace.id for row in rows}) == []


def test_an_outline_is_what_would_be_read_from_the_shard(tmp_path):
    rows = [candidate(0), wrong(1, majority_outcome="wrong")]
    rows[1] = replace(
        rows[1],
        trace=replace(rows[1].trace, failure="empty", cost_usd=0.5, prompt_tokens=3),
        verdict=Verdict("no", "5", "x"),
    )
    shards.write(Candidate, rows, str(tmp_path / "rows.parquet"))
    assert [outline(row) for row in rows] == list(shards.read(Outline, str(tmp_path / "rows.parquet")))
    assert all(outline(row) == schema.from_row(Outline, schema.to_row(row)) for row in rows)


def test_near_copies_make_no_pair():
    rows = [candidate(0, words="same"), wrong(1, words="same"), wrong(2, tokens=500)]
    assert similarity(rows[0], rows[1]) >= NEAR_COPY > similarity(rows[0], rows[2])
    assert pairs(rows) == [("t0-0", "t0-2")]


def test_the_shortest_example_is_preferred_to_the_longest_accepted_one_if_that_is_much_longer():
    rows = [
        candidate(0, tokens=200),
        candidate(1, tokens=100),
        candidate(2, dropped="not_selected", tokens=400),
        wrong(3, tokens=900),
    ]
    assert pairs(rows, LONG) == [("t0-1", "t0-2")]
    assert pairs(rows[:2], LONG) == [("t0-1", "t0-0")]
    assert pairs([candidate(0, tokens=149), candidate(1, tokens=100)], LONG) == []
    assert pairs([candidate(0, dropped="too_long", tokens=900), candidate(1, tokens=100)], LONG) == []


def test_no_wrong_trace_is_preferred_although_the_recipe_keeps_wrong_ones():
    rows = [candidate(0, "wrong", tokens=100), candidate(1, "wrong", tokens=300), candidate(2, tokens=150)]
    assert pairs(rows) == []
    assert pairs([*rows, candidate(3, tokens=900)], LONG) == [("t0-2", "t0-3")]


def test_the_majoritys_answer_may_be_chosen_against_the_reference():
    rows = [candidate(0, "wrong", majority_outcome="correct"), wrong(1, majority_outcome="wrong")]
    assert pairs(rows) == [("t0-0", "t0-1")]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                ("correct", None),
                ("correct", "not_selected"),
                ("wrong", "wrong"),
                ("wrong", "truncated"),
                ("correct", "exact_duplicate"),
            ]
        ),
        st.integers(9, 400),
        st.integers(0, 2),
        st.sampled_from([None, None, "same"]),
    ),
    max_size=10,
)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(1, 3), st.sampled_from(["wrong", "long"]), st.randoms(use_true_random=False))
def test_pairs_stay_within_their_problem_and_use_no_trace_twice(
    tmp_path_factory, drawn, per_problem, rejected, shuffle
):
    rows = [
        candidate(sample, *what, tokens, problem, words)
        for sample, (what, tokens, problem, words) in enumerate(drawn)
    ]
    rows.sort(key=lambda row: row.trace.problem.problem_id)
    section = Preferences(rejected=rejected, per_problem=per_problem)
    found = list(preferences(rows, section, SCREENS, "math"))
    by_id = {row.trace.id: row for row in rows}
    assert len({name for one in found for name in (one.chosen_id, one.rejected_id)}) == 2 * len(found)
    assert all(sum(one.problem_id == other.problem_id for other in found) <= per_problem for one in found)
    for one in found:
        chosen, other = by_id[one.chosen_id], by_id[one.rejected_id]
        assert one.problem_id == chosen.trace.problem.problem_id == other.trace.problem.problem_id
        assert chosen.dropped is None and similarity(chosen, other) < NEAR_COPY
        assert (
            other.dropped == "wrong"
            if rejected == "wrong"
            else one.rejected_tokens >= LONGER * one.chosen_tokens
        )
        assert (
            split(one.chosen[0].content).answer == chosen.trace.answer
            and split(one.rejected[0].content).thinking == other.trace.thinking
        )
    shuffle.shuffle(rows)
    rows.sort(key=lambda row: row.trace.problem.problem_id)
    assert list(preferences(rows, section, SCREENS, "math")) == found
    path = str(tmp_path_factory.mktemp("pairs") / "pairs.parquet")
    shards.write(Preference, found, path)
    assert list(shards.read(Preference, path)) == found


@pytest.mark.parametrize("section", [WRONG, LONG])
@pytest.mark.parametrize("seed", range(20))
def test_the_pairs_are_the_first_of_all_pairs(section, seed):
    """At most 30 traces are near-copies of one another here."""
    draw = random.Random(seed)
    count, per_problem, longest = draw.choice([5, 20, 120]), draw.randint(1, 9), draw.choice([5, 50, 900])
    rows = [
        row(sample, draw.random() < 0.3 or section is LONG, draw.randint(1, longest), f"way{sample % 4}")
        for sample in range(count)
    ]
    good, others = (
        [one for one in rows if one.dropped is None],
        [one for one in rows if (one.dropped is None) == (section is LONG)],
    )
    ranked = []
    for one in good:
        for other in others:
            ratio = completion_tokens(other.trace) / completion_tokens(one.trace)
            if section is WRONG or ratio >= LONGER:
                ranked.append(
                    (
                        abs(math.log(ratio)) if section is WRONG else -ratio,
                        one.trace.id,
                        other.trace.id,
                        similarity(one, other),
                    )
                )
    wanted = []
    for _, *ids, alike in sorted(ranked):
        if (
            alike < NEAR_COPY
            and not {name for pair in wanted for name in pair} & set(ids)
            and len(wanted) < per_problem
        ):
            wanted.append(tuple(ids))
    assert pairs(rows, section.model_copy(update={"per_problem": per_problem})) == wanted


@pytest.mark.parametrize(("section", "found"), [(WRONG, 0), (LONG, 0), (WRONG, 3), (LONG, 3)])
def test_thousands_of_siblings_need_no_memory_for_all_their_pairs(section, found):
    """With near-copies alone, every partner of every trace is tried."""
    words = [f"other{way}" if found else "same" for way in range(8)]
    rows = [
        row(sample, sample % 2 == 0 or section is LONG, 1 + sample, words[sample % 8])
        for sample in range(2000)
    ]
    tracemalloc.start()
    assert len(pairs(rows, section.model_copy(update={"per_problem": 3}))) == found
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_a_pair_asks_as_the_teacher_was_asked():
    (found,) = preferences([candidate(0), wrong(1)], WRONG, SCREENS, "math", "Be kind.")
    assert [turn.role for turn in (*found.prompt, *found.chosen, *found.rejected)] == [
        "system",
        "user",
        "assistant",
        "assistant",
    ]
    assert found.prompt[1].content.startswith("What is 0 + 1?\n") and "\\boxed{}" in found.prompt[1].content
    assert found.chosen[0].content.startswith("<think>\nway0-0 ") and found.chosen[0].content.endswith(
        "\n</think>\n\nIt is 0."
    )
    assert (found.source, found.kind, found.language, found.pass_rate, found.licence) == (
        "shop",
        "math",
        "en",
        0.5,
        "MIT",
    )


TRAINED = """
import sys
import datasets
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
folder, model, template = sys.argv[1:]
rows = datasets.load_dataset("parquet", data_files=f"{folder}/pairs.parquet", split="train", cache_dir=f"{folder}/cache")
tokenizer = AutoTokenizer.from_pretrained(model)
tokenizer.chat_template = open(template, encoding="utf-8").read()
config = DPOConfig(f"{folder}/out", max_steps=1, per_device_train_batch_size=2, max_length=2048, use_cpu=True, bf16=False, report_to=[])
trainer = DPOTrainer(AutoModelForCausalLM.from_pretrained(model), args=config, train_dataset=rows, processing_class=tokenizer)
row = trainer.train_dataset[0]
print([tokenizer.decode(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")])
print(round(trainer.train().training_loss, 4))
"""


def test_trl_trains_on_the_rows_as_they_are(tmp_path):
    rows = [row for problem in range(2) for row in (candidate(0, problem=problem), wrong(1, problem=problem))]
    assert (
        shards.write(Preference, preferences(rows, WRONG, SCREENS, "math"), str(tmp_path / "pairs.parquet"))
        == 2
    )
    model, template = PROJECT / "data/models/tiny-qwen2", PROJECT / "configs/chat/qwen2-think.jinja"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", TRAINED, tmp_path, model, template],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    texts, loss = [line for line in run.stdout.splitlines() if line.startswith(("['", "0."))]
    assert "What is 0 + 1?" in texts and "It is 0.<|im_end|>" in texts and "It is 1.<|im_end|>" in texts
    assert loss == "0.6931", "policy and reference are the same before the first step: log 2"


@pytest.mark.parametrize("section", [{"rejected": "short"}, {"per_problem": 0}])
def test_a_wrong_setting_is_an_error(section):
    with pytest.raises(ValueError, match=next(iter(section))):
        Preferences.model_validate(section)
