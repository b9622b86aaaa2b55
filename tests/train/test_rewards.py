r"""The rewards as GRPO sees them: what earns nothing although it looks right, and a real run of TRL's
trainer."""

import math
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from distill.recipe import Verification
from distill.records import Candidate, Problem, Trace, Verdict
from distill.text.prompts import names
from distill.train.rewards import accuracy_reward, format_reward, grpo_rows, language_consistency_reward

ROOT = Path(__file__).parents[2]
GOOD = "<think>\nTwo and three make five.\n</think>\n\nThe answer is \\boxed{5}."
ASK = [
    {
        "role": "user",
        "content": "What is 2 + 3? Please put your final answer within \\boxed{}, as in \\boxed{5}.",
    }
]


def said(text):
    return [{"role": "assistant", "content": text}]


def accuracy(text, reference="5", prompt=ASK, **columns):
    completion = text if isinstance(prompt, str) else said(text)
    (reward,) = accuracy_reward(
        [prompt], [completion], reference=[reference], **{name: [value] for name, value in columns.items()}
    )
    return reward


def form(text, prompt=ASK, **columns):
    completion = text if isinstance(prompt, str) else said(text)
    (reward,) = format_reward([prompt], [completion], **{name: [value] for name, value in columns.items()})
    return reward


def consistency(text, language="en", **columns):
    (reward,) = language_consistency_reward(
        [ASK], [said(text)], language=[language], **{name: [value] for name, value in columns.items()}
    )
    return reward


def test_a_right_answer_in_the_right_form_earns_all_rewards():
    assert (accuracy(GOOD), form(GOOD), consistency(GOOD)) == (1.0, 1.0, 1.0)
    assert (accuracy(GOOD, "6"), form(GOOD)) == (0.0, 1.0)
    assert accuracy(r"<think>a</think>\boxed{2+\sqrt{9}}") == 1.0


@pytest.mark.parametrize(
    ("text", "right", "well_formed"),
    [
        (r"<think>It is \boxed{5}", 0.0, 0.0),
        (r"<think>It is \boxed{5}. </think>", 0.0, 0.0),
        (r"<think>It is \boxed{5}.</think>Five.", 0.0, 0.0),
        (r"The answer is \boxed{5}.", 0.0, 0.0),
        (r"<think></think>\boxed{5}", 1.0, 0.0),
        (r"Sure! <think>a</think>\boxed{5}", 1.0, 0.0),
        (r"<think><think>a</think>\boxed{5}", 1.0, 0.0),
        (r"<think>a</think></think></think>\boxed{5}", 1.0, 0.0),
        (r"<think>a</think>b<think>c</think>\boxed{5}", 1.0, 0.0),
        (r"<think>a</think>\boxed{5}<think>", 0.0, 0.0),
        (r"<think>a</think>\boxed{5}</THINK>", 1.0, 0.0),
        (r"<think>a</think>\boxed{4} \boxed{6} \boxed{5}", 0.0, 0.0),
        (r"<think>a</think>\boxed{5} or else \boxed{4}", 0.0, 0.0),
        (r"<think>a</think>\boxed{4, 5, 6}", 0.0, 1.0),
        (r"<think>a</think>\boxed{4} or \boxed{5}", 0.0, 1.0),
        (r"<think>a</think>So \boxed{5}. Again: \boxed{5}.", 1.0, 1.0),
        (r"<think>a</think>Within \boxed{}, as asked: \boxed{5}.", 1.0, 1.0),
        (r"<think>a</think>As in \boxed{5}, it is \boxed{6}.", 0.0, 0.0),
        (r"<think>a</think>\boxed{6}<|im_end|>\boxed{5}", 0.0, 0.0),
        (r"<think>a</think>Unsure.<|im_end|>\boxed{5}", 0.0, 0.0),
        (r"<think>a</think>It is six. <!-- \boxed{5} -->", 0.0, 0.0),
        (r"<think>a</think>It is six. $\phantom{\boxed{5}}$", 0.0, 0.0),
        ("<think>a</think>\\boxed{5}\U000e0041", 0.0, 0.0),
        (r"<think>a</think>\boxed{5", 0.0, 0.0),
        (r"<think>a</think>\boxed{", 0.0, 0.0),
        ("<think>a</think>5", 0.0, 0.0),
        ("</think>" * 20_000, 0.0, 0.0),
        ("<think>" * 20_000 + r"\boxed{5}", 0.0, 0.0),
        ("<think>a</think>" + r"\boxed{5}, " * 10_000, 0.0, 1.0),
        ("<think>a</think>" + r"\boxed{" * 20_000, 0.0, 0.0),
        ("<think>a</think>" + "x" * 200_000, 0.0, 0.0),
        ("", 0.0, 0.0),
        (" \n", 0.0, 0.0),
    ],
)
def test_what_looks_right_and_is_not_earns_nothing(text, right, well_formed):
    started = time.perf_counter()
    assert (accuracy(text), form(text)) == (right, well_formed)
    assert time.perf_counter() - started < 5.0  # all take less than 0.3 s


def test_one_of_several_options_and_nothing_else_is_rewarded():
    options = "Which?\nA) one\nB) two\nC) three"
    answers = {
        r"\boxed{B}": 1.0,
        r"\boxed{two}": 1.0,
        r"\boxed{A, B, C}": 0.0,
        "A) one\nB) two\nC) three": 0.0,
        r"\boxed{A}\boxed{B}": 0.0,
    }
    answers |= {"<answer>A</answer><answer>B</answer>": 0.0, "<answer>B</answer>": 1.0}
    for answer, reward in answers.items():
        assert accuracy(f"<think>a</think>{answer}", "B", kind="choice", question=options) == reward, answer


def test_what_cannot_be_judged_is_no_reward_and_no_punishment():
    assert accuracy(GOOD, "x^{") is None
    assert accuracy(GOOD, kind="open") is None
    assert accuracy(GOOD, None, tests=None) is None
    with pytest.raises(ValueError, match="solution"):
        accuracy_reward([ASK], [said(GOOD)], kind=["math"])


def test_an_answer_without_thinking_is_right_only_where_none_is_asked_for():
    assert accuracy(r"It is \boxed{5}") == 0.0
    assert accuracy_reward([ASK], [said(r"It is \boxed{5}")], reference=["5"], needs_thinking=False) == [1.0]
    assert accuracy_reward(
        [ASK], [said(r"<think>It is \boxed{5}")], reference=["5"], needs_thinking=False
    ) == [0.0]


def test_a_timeout_earns_nothing():
    slow = "+".join(rf"\sin({i}\cos({i}x))^{{9}}" for i in range(2, 40)) + r"\int_0^1 x^{x^{x}} dx"
    quick = partial(accuracy_reward, verification=Verification(timeout_seconds=0.5, workers=1))
    assert quick([ASK], [said(rf"<think>a</think>\boxed{{{slow}}}")], reference=["5"]) == [0.0]


def test_the_reference_may_stand_in_the_columns_of_others_and_be_a_number():
    for column in ("reference", "solution", "answer"):
        assert accuracy_reward(
            [ASK, ASK], [said(GOOD), said(GOOD)], **{column: [5, "$6$"]}, trainer_state=object()
        ) == [1.0, 0.0]


@pytest.mark.parametrize("opened", ["<think>\n", "<think>"])
def test_a_template_that_opens_the_think_block_is_seen_or_said(opened):
    rest, unfinished = "Hm.\n</think>\n\n\\boxed{5}", r"It is \boxed{5}"
    plain, going_on = (
        f"User: what is 2 + 3? Assistant: {opened}",
        [*ASK, {"role": "assistant", "content": opened}],
    )
    for prompt in (plain, going_on):
        assert (accuracy(rest, prompt=prompt), form(rest, prompt=prompt)) == (1.0, 1.0)
        assert (accuracy(unfinished, prompt=prompt), form(unfinished, prompt=prompt)) == (0.0, 0.0)
        assert form("<think>" + rest, prompt=prompt) == 0.0
    assert (accuracy(rest, prefill=opened), form(rest, prefill=opened)) == (1.0, 1.0)
    assert (accuracy(unfinished, prefill=opened), form(unfinished, prefill=opened)) == (0.0, 0.0)
    assert partial(format_reward, prefill=opened)([ASK], [said(rest)]) == [1.0]
    assert form(rest) == 0.0


def test_a_field_for_thinking_and_blocks_of_content_are_read():
    message = {
        "role": "assistant",
        "reasoning_content": "Hm.",
        "content": [{"type": "text", "text": r"\boxed{5}"}],
    }
    tool = {"role": "tool", "content": r"\boxed{6}"}
    completions = [[message], [message, tool], [{"role": "assistant", "content": None}], []]
    assert accuracy_reward([ASK] * 4, completions, reference=["5"] * 4) == [1.0, 1.0, 0.0, 0.0]
    assert format_reward([ASK] * 4, completions) == [1.0, 1.0, 0.0, 0.0]


def test_the_language_reward_is_the_share_of_words_in_the_target_language():
    assert consistency("<think>我们先算一下然后再看结果。</think>x", "zh") == 1.0
    assert consistency("<think>我们先算一下然后再看结果。</think>x") == 0.0
    mixed = consistency("<think>We add two and three. 我们先算一下然后再看结果到底是多少。</think>x")
    assert 0.2 < mixed < 0.5
    assert consistency("<think>1 + 1 = 2</think>3") is None
    assert consistency("<think></think>我们先算一下然后再看结果。") == 0.0


@pytest.mark.parametrize(
    "cover",
    [
        "```\n{}\n```",
        "`{}`",
        r"$$\text{{{}}}$$",
        r"\({}\)",
        r"\[ {} \]",
        "https://{}",
        "```python\n# {}",
        r"$\text{{{}}}$",
    ],
)
def test_another_language_is_not_hidden_in_code_or_formulas(cover):
    hidden = cover.format("我们先算一下然后再看结果到底是多少呢") + "\n"
    assert consistency(f"<think>We add two and three. {hidden}</think>x") < 0.5
    assert (
        consistency("<think>我们先算一下然后再看结果。\n```python\nprint(sum(numbers))\n```\n</think>x", "zh")
        == 1.0
    )


def test_rewards_are_the_same_from_many_threads_at_once_and_can_be_pickled():
    completions = [said(rf"<think>a</think>\boxed{{{n}+\sqrt{{4}}}}") for n in range(6)]
    again = pickle.loads(pickle.dumps(partial(accuracy_reward, verification=Verification(workers=2))))
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(again, [ASK] * 6, completions, reference=["5"] * 6) for _ in range(8)]
        assert [call.result() for call in calls] == [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]] * 8


def test_rewards_come_from_another_process_and_need_nothing_heavy():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        call = process.submit(
            accuracy_reward, [ASK], [said(r"<think>a</think>\boxed{2+\sqrt{9}}")], reference=["5"]
        )
        assert call.result() == [1.0]
    program = "import sys, distill.train.rewards; print([name for name in ('torch', 'transformers', 'trl') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_each_problem_of_a_dataset_is_one_row():
    problem = Problem("p", "s", "choice", "Which?\nA) one\nB) two", "B", language="en")
    candidates = [
        Candidate(Trace(problem, str(n), n, None, "x", True, "stop"), Verdict("wrong")) for n in range(3)
    ]
    (row,) = grpo_rows(candidates, template="choice")
    assert row.keys() == {"prompt", "kind", "reference", "tests", "question", "language"}
    assert problem.question in row["prompt"][0]["content"] and "choice" in names()
    completion = said(r"<think>a</think>\boxed{two}")
    columns = {name: [value] for name, value in row.items() if name != "prompt"}
    assert accuracy_reward([row["prompt"]], [completion], **columns) == [1.0]
    assert format_reward([row["prompt"]], [completion], **columns) == [1.0]


def test_grpo_runs_on_a_real_model_with_the_three_rewards(tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    source = ROOT / "data/models/tiny-teacher"
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source)
    rows = [{"prompt": ASK, "reference": "5", "language": "en", "kind": "math"}] * 4
    settings = GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=32,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    assert tokenizer.apply_chat_template(ASK, tokenize=False, add_generation_prompt=True).endswith(
        "<think>\n"
    )
    rewards = [
        partial(reward, prefill="<think>\n")
        for reward in (accuracy_reward, format_reward, language_consistency_reward)
    ]
    trainer = GRPOTrainer(
        model,
        reward_funcs=rewards,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logged) == 2
    for entry in logged:
        assert math.isfinite(entry["loss"]) and math.isfinite(entry["reward"])
        for reward in rewards:
            assert 0.0 <= entry[f"rewards/{reward.func.__name__}/mean"] <= 1.0
    assert trainer._logs["extra"].keys() == {"outcome", "extracted"}
