"""The shipped chat templates keep thinking and the end of the turn, and train exactly what is served."""

from pathlib import Path
from typing import Any

import pytest

from distill import chat
from distill.recipe import CONFIGS

FAMILIES = {
    "qwen2-think": ("<|im_end|>", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
    "llama3-think": (
        "<|eot_id|>",
        ["<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|finetune_right_pad_id|>"],
    ),
}
USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWERED = {"role": "assistant", "content": "<think>\nTwo and two make 4.\n</think>\n\nThe answer is \\boxed{4}."}
PROMPTS = {
    "one turn": [USER],
    "system": [{"role": "system", "content": "Answer in English."}, USER],
    "multi-turn": [USER, ANSWERED, {"role": "user", "content": "  And 3 + 3?\n\n"}],
    "multi-turn without thinking": [USER, {"role": "assistant", "content": "4"}, {"role": "user", "content": "And 3 + 3?"}],
    "system and multi-turn": [{"role": "system", "content": ""}, USER, ANSWERED, USER, ANSWERED, USER],
}


def tokenizer(family: str) -> Any:
    """A byte-level tokenizer with a family's special tokens and the shipped template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    end, special = FAMILIES[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({character: number for number, character in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    toy = make(tokenizer_object=backend, eos_token=end, clean_up_tokenization_spaces=False)
    toy.add_special_tokens({"additional_special_tokens": special})
    toy.chat_template = template(family)
    return toy


def template(family: str) -> str:
    return Path(CONFIGS / "chat" / f"{family}.jinja").read_text(encoding="utf-8")


def render(family: str, messages: list[dict[str, str]], *, generation: bool = False) -> str:
    return str(tokenizer(family).apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_finished_conversation_is_the_generation_prompt_and_what_the_model_says(family: str, prompt: list[dict[str, str]]) -> None:
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
    encoded = toy.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    trained = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert toy.decode(trained) == 2 * (ANSWERED["content"].removeprefix("<think>\n") + end)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_training_rows_made_from_the_template_pass_the_round_trip_guard(family: str, prompt: list[dict[str, str]]) -> None:
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
    assert [token for token in hostile.prompt if token in added] == [token for token in honest.prompt if token in added]
    assert hostile.completion == honest.completion
