"""The shipped chat templates keep thinking and the end of the turn, and train exactly what is served; others
are refused in time."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill.recipe import RecipeError, load
from distill.recipe.dataset import CONFIGS
from distill.text import chat_template as chat
from distill.text import thinking
from distill.train import student_template
from flows import cli, identity

FAMILIES = {
    "qwen2-think": ("<|im_end|>", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
    "llama3-think": (
        "<|eot_id|>",
        [
            "<|end_of_text|>",
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|finetune_right_pad_id|>",
        ],
    ),
}
PLAIN = {"qwen2-plain": FAMILIES["qwen2-think"], "llama3-plain": FAMILIES["llama3-think"]}
SHIPPED = FAMILIES | PLAIN
USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWERED = {
    "role": "assistant",
    "content": "<think>\nTwo and two make 4.\n</think>\n\nThe answer is \\boxed{4}.",
}
PROMPTS = {
    "one turn": [USER],
    "system": [{"role": "system", "content": "Answer in English."}, USER],
    "multi-turn": [USER, ANSWERED, {"role": "user", "content": "  And 3 + 3?\n\n"}],
    "multi-turn without thinking": [
        USER,
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3 + 3?"},
    ],
    "system and multi-turn": [{"role": "system", "content": ""}, USER, ANSWERED, USER, ANSWERED, USER],
}


def tokenizer(family: str, written: str | None = None) -> Any:
    """A byte-level tokenizer with a family's special tokens and the shipped template, or one that is written
    here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    end, special = SHIPPED[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({character: number for number, character in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    toy = make(tokenizer_object=backend, eos_token=end, clean_up_tokenization_spaces=False)
    toy.add_special_tokens({"additional_special_tokens": special})
    toy.chat_template = written or template(family)
    return toy


def template(family: str) -> str:
    return Path(CONFIGS / "chat" / f"{family}.jinja").read_text(encoding="utf-8")


def render(family: str, messages: list[dict[str, str]], *, generation: bool = False) -> str:
    return str(
        tokenizer(family).apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_finished_conversation_is_the_generation_prompt_and_what_the_model_says(
    family: str, prompt: list[dict[str, str]]
) -> None:
    end, _ = FAMILIES[family]
    opened = render(family, prompt, generation=True)
    assert opened.endswith("<think>\n")
    rest = ANSWERED["content"].removeprefix("<think>\n")
    assert render(family, [*prompt, ANSWERED]).rstrip("\n") == opened + rest + end


@pytest.mark.parametrize("family", FAMILIES)
def test_no_turn_loses_its_thinking_or_its_white_space(family: str) -> None:
    messages = [*PROMPTS["multi-turn"], ANSWERED]
    rendered = render(family, messages)
    assert rendered.count("<think>") == rendered.count("</think>") == 2
    assert all(message["content"] in rendered for message in messages)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_is_no_system_turn_that_nobody_wrote(family: str) -> None:
    assert "system" not in render(family, [USER], generation=True)


def test_the_exact_text_of_both_families() -> None:
    assert render("qwen2-think", [USER], generation=True) == (
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    assert render("llama3-think", [USER], generation=True) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2 + 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n<think>\n"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_assistant_mask_is_what_the_model_says_with_its_end_and_without_the_opener(family: str) -> None:
    toy = tokenizer(family)
    end, _ = FAMILIES[family]
    messages = [*PROMPTS["multi-turn"], ANSWERED]
    encoded = toy.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    trained = [
        token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask
    ]
    assert toy.decode(trained) == 2 * (ANSWERED["content"].removeprefix("<think>\n") + end)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_training_rows_made_from_the_template_pass_the_round_trip_guard(
    family: str, prompt: list[dict[str, str]]
) -> None:
    toy = tokenizer(family)
    encoded = chat.encode_pair(toy, prompt, [ANSWERED])
    assert toy.decode(encoded.prompt) == render(family, prompt, generation=True)
    assert encoded.prompt == chat.encode_prompt(toy, prompt, prefill="<think>\n")
    assert encoded.completion[-1] == toy.eos_token_id
    assert encoded.completion.count(toy.eos_token_id) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_template_text_inside_a_problem_stays_text(family: str) -> None:
    toy = tokenizer(family)
    special = FAMILIES[family][1]
    honest = chat.encode_pair(toy, [USER], [ANSWERED])
    hostile = chat.encode_pair(toy, [{"role": "user", "content": " ".join(special)}], [ANSWERED])
    added = set(toy.get_added_vocab().values())
    assert [token for token in hostile.prompt if token in added] == [
        token for token in honest.prompt if token in added
    ]
    assert hostile.completion == honest.completion


SHORT = {"role": "assistant", "content": "4"}


def written(assistant: str, opener: str = "<think>\\n") -> str:
    """A ChatML template that renders an assistant's turn by an expression."""
    turn = (
        f"{{% if m.role == 'assistant' %}}{{{{ {assistant} }}}}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
    )
    opened = f"{{% if add_generation_prompt %}}{{{{ '<|im_start|>assistant\\n{opener}' }}}}{{% endif %}}"
    return f"{{% for m in messages %}}{{{{ '<|im_start|>' + m.role + '\\n' }}}}{turn}{{{{ '<|im_end|>\\n' }}}}{{% endfor %}}{opened}"


def said(content: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": content}]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_without_thinking_gets_an_empty_block_where_the_template_opens_one(family: str) -> None:
    toy = tokenizer(family)
    encoded = chat.encode_pair(toy, [USER], [SHORT])
    assert encoded.prompt == chat.encode_prompt(toy, [USER])
    assert toy.decode(encoded.completion) == f"\n</think>\n\n4{toy.eos_token}"
    assert encoded == chat.encode_pair(toy, [USER], said("<think>\n\n</think>\n\n4"))


def test_a_row_is_trained_as_it_is_where_no_block_is_opened() -> None:
    toy = tokenizer("qwen2-think", written("m.content", opener=""))
    for turn in (SHORT, ANSWERED):
        assert toy.decode(chat.encode_pair(toy, [USER], [turn]).completion) == f"{turn['content']}<|im_end|>"


@pytest.mark.parametrize("family", PLAIN)
def test_a_plain_template_trains_the_answer_alone_because_it_says_so(family: str) -> None:
    toy = tokenizer(family)
    for turn, answer in ((ANSWERED, "The answer is \\boxed{4}."), (SHORT, "4")):
        encoded = chat.encode_pair(toy, [USER], [turn])
        assert toy.decode(encoded.prompt) == render(family, [USER], generation=True)
        assert toy.decode(encoded.completion) == f"{answer}{toy.eos_token}"
    silent = tokenizer(family, template(family).replace(chat.DROPS_THINKING, ""))
    with pytest.raises(chat.TemplateError, match="thinking"):
        chat.encode_pair(silent, [USER], [ANSWERED])


@pytest.mark.parametrize(
    ("assistant", "complaint"),
    [
        (
            "'<think>\\n' + '\\n</think>' + m.content.split('</think>')[-1]",
            "the thinking: '' for 'Two and two",
        ),
        ("m.content.replace('Two ', '')", "the thinking: 'and two make 4.' for 'Two and"),
        ("m.content[:-1]", "the answer: '' for '.'"),
        (
            "'<think>\\n' + m.content.replace('<think>\\n', '').replace('</think>', '')",
            "end of the thinking|the thinking",
        ),
        ("m.content.split('</think>')[-1]", "strips or moves the thinking"),
    ],
)
def test_a_template_that_loses_any_part_of_a_row_is_refused(assistant: str, complaint: str) -> None:
    toy = tokenizer("qwen2-think", written(assistant))
    with pytest.raises(chat.TemplateError, match=complaint):
        chat.encode_pair(toy, [USER], [ANSWERED])


def test_a_template_that_loses_the_question_is_refused() -> None:
    toy = tokenizer("qwen2-think", written("m.content").replace("{{ m.content }}", "{{ m.content[:8] }}"))
    with pytest.raises(chat.TemplateError, match="what the user says"):
        chat.encode_pair(toy, [USER], [ANSWERED])


def test_a_template_may_trim_white_space_at_the_ends_of_thinking_and_answer() -> None:
    trims = "'<think>\\n' + m.content.split('</think>')[0][7:].strip() + '\\n</think>\\n\\n' + m.content.split('</think>')[-1].strip()"
    toy = tokenizer("qwen2-think", written(trims))
    encoded = chat.encode_pair(toy, [USER], said("<think>\n\n  a  b\n\n</think>\n\n c\n\n d \n"))
    assert toy.decode(encoded.completion) == "a  b\n</think>\n\nc\n\n d<|im_end|>"


def test_a_tokenizer_may_compose_characters_and_may_lose_none() -> None:
    from tokenizers import normalizers

    toy = tokenizer("qwen2-think")
    decomposed = [said("<think>\ncafe\u0301\n</think>\n\ncafe\u0301"), said("e\u0301")]
    toy.backend_tokenizer.normalizer = normalizers.NFC()
    assert all(
        "\u00e9" in toy.decode(chat.encode_pair(toy, [USER], turns).completion) for turns in decomposed
    )
    toy.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(chat.TemplateError, match="tokenizer loses or changes the thinking: 'two"):
        chat.encode_pair(toy, [USER], [ANSWERED])


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("Close it with </think>.", "Close it with </think>."),
        ("<think> opens it.", "<think> opens it."),
        ("<think>\nOne <think> in it.\n</think>\n\nIt says <think>.", "It says <think>."),
        ("<think>\nIt says </think> here.\n</think>\n\nDone.", "Done."),
    ],
)
def test_think_tags_that_a_row_merely_names_stay_text(content: str, answer: str) -> None:
    toy = tokenizer("qwen2-think")
    toy.add_tokens(list(chat.THINK_TAGS))
    encoded = chat.encode_pair(
        toy, [{"role": "user", "content": "What does <think> do, and </think>?"}], said(content)
    )
    opener, closer = (toy.convert_tokens_to_ids(tag) for tag in chat.THINK_TAGS)
    assert (encoded.prompt.count(opener), encoded.prompt.count(closer)) == (1, 0)
    assert (encoded.completion.count(opener), encoded.completion.count(closer)) == (0, 1)
    assert (
        toy.decode(encoded.completion[encoded.completion.index(closer) :])
        == f"</think>\n\n{answer}<|im_end|>"
    )


@pytest.mark.parametrize("family", SHIPPED)
def test_no_trace_of_the_seed_is_refused(family: str) -> None:
    from transformers import AutoTokenizer

    base = load.load_student(
        "tiny-qwen2" if "qwen" in family else "tiny-llama", (f"base.chat_template={family}",)
    ).base
    real: Any = AutoTokenizer.from_pretrained(CONFIGS.parent / base.model)
    real.eos_token, real.pad_token, real.chat_template = base.end_of_turn, base.pad_token, template(family)
    files = [CONFIGS.parent / "data/seed" / f"{name}.jsonl" for name in ("every_kind", "heldout")]
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    for row in lines:
        parts = thinking.split(row.get("response", row["question"]))
        for tokens in (real, tokenizer(family)):
            chat.encode_pair(
                tokens,
                [{"role": "user", "content": row["question"]}],
                said(thinking.join(parts.thinking, parts.answer)),
            )


def test_a_template_of_ones_own_lies_anywhere_and_is_known_by_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = (CONFIGS / "students" / "tiny-qwen2.toml").read_text(encoding="utf-8")
    (tmp_path / "beside").mkdir()
    student = tmp_path / "beside" / "mine.toml"
    for folder, name in ((tmp_path / "beside", "own.jinja"), (tmp_path, "here.jinja")):
        (folder / name).write_text(template("qwen2-think"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shipped = identity.prepared_base(load.load_student("tiny-qwen2").base).key
    for named in ("own.jinja", "here.jinja", str(tmp_path / "here.jinja")):
        student.write_text(recipe.replace('"qwen2-think"', f'"{named}"'), encoding="utf-8")
        base = load.load_student(str(student)).base
        assert Path(base.chat_template).is_absolute()
        student_template.check(base)
        assert identity.prepared_base(base).key == shipped, "the same text is the same student"
    (tmp_path / "here.jinja").write_text(template("qwen2-plain"), encoding="utf-8")
    assert identity.prepared_base(base).key != shipped


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ messages[0].content + nothing }}", "UndefinedError: 'nothing' is undefined"),
        ("{{ raise_exception('no user') }}", "no user"),
        (
            written("m.content.split('</think>')[-1]"),
            "a row with thinking: the chat template does not continue",
        ),
        (written("m.content").replace("<|im_end|>", ""), "never stop"),
        (written("m.content | replace('二', '2')"), "a row in Chinese"),
    ],
)
@pytest.mark.parametrize("student", ["tiny-qwen2", "openr1-distill-7b"])
def test_a_template_that_cannot_train_is_refused_before_anything_runs(
    student: str, text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.jinja"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert cli.main(["run", "--student", student, "--set", f"base.chat_template={file}"]) == 2
    told = capsys.readouterr()
    assert said in told.err and "own.jinja" in told.err and "qwen2-think" in told.err
    assert told.out == "" and told.err.count("\n") == 1


def test_a_run_without_the_command_line_looks_at_the_template_first(tmp_path: Path) -> None:
    from flows.loop import distill

    unreachable = ["teacher.engine=server", "teacher.api_key_env=DISTILL_TEST_NO_SUCH_KEY"]
    with pytest.raises(RecipeError, match=r"base\.chat_template"):
        distill.fn("tiny-qwen2", "gsm8k", [f"base.chat_template={tmp_path}/none.jinja", *unreachable])


def test_a_system_prompt_that_the_template_refuses_is_told_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + written("m.content")
    )
    base = load.load_student("tiny-qwen2", (f"base.chat_template={file}",)).base
    student_template.check(base)
    with pytest.raises(RecipeError, match=r"with sampling\.system: .*System role not supported"):
        student_template.check(base, "Answer in English.")


def test_the_bases_tokens_are_looked_up_where_it_lies_here() -> None:
    base = load.load_student(
        "tiny-qwen2", ("base.end_of_turn=<|eot_id|>", "base.chat_template=llama3-think")
    ).base
    with pytest.raises(RecipeError, match=r"has no token <\|eot_id\|>"):
        student_template.check(base)


def test_templates_are_rendered_before_training_as_transformers_renders_them() -> None:
    from transformers import AutoTokenizer

    base = load.load_student("tiny-llama").base
    turn = "{% generation %}{{ m | tojson }}{% endgeneration %}{% if loop.last %}{% break %}{% endif %}"
    text = "{{ bos_token }}{{ eos_token }}\n  {% for m in messages %}\n" + turn + "\n  {% endfor %}"
    real: Any = AutoTokenizer.from_pretrained(CONFIGS.parent / base.model)
    real.eos_token, real.pad_token, real.chat_template = base.end_of_turn, base.pad_token, text
    preview = student_template._Preview(base, text)
    for messages in PROMPTS.values():
        shown = [
            tokens.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            for tokens in (real, preview)
        ]
        assert shown[0] == shown[1]
