"""Each family of students, with its real configuration class and a tokenizer built as its own: trained here, it
loads, says its turn and stops.

The tokenizers are byte-level BPE with the family's normaliser, expression, added tokens (not all of them
special), post-processor and `tokenizer_config.json`. The merges are few, and the weights are random.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from distill import train
from distill.recipe import load
from distill.recipe.dataset import Base
from distill.recipe.section import RecipeError
from distill.recipe.student import RopeScaling
from distill.records import Example
from distill.store import shards
from distill.text import chat_template
from distill.train import checkpoint, guards, student_template, worker
from tests.train.test_train import example_of

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
THINK = ("<think>", "</think>")
CALLS = ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_pad|>")
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
R1 = ("<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>")
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>")
TYPED = "Say <think>, </think>, <tool_call>, <|im_end|>, <|eot_id|>, <｜Assistant｜> and <|fim_pad|>."
"""A question that types control tokens."""


class Family(NamedTuple):
    """A shipped student of the family, and how its base is built."""

    student: str
    config: str
    special: tuple[str, ...]
    plain: tuple[str, ...]
    """Added tokens that are not special."""
    bos: str | None
    eos: str
    pad: str | None
    tokenizer_class: str
    pattern: str | None = QWEN
    rope_theta: float = 1e6
    adds_bos: bool = False


FAMILIES = {
    "qwen2.5": Family(
        "qwen2.5-7b", "Qwen2Config", CHATML, CALLS, None, "<|endoftext|>", "<|endoftext|>", "Qwen2Tokenizer"
    ),
    "qwen2.5-math": Family(
        "qwen2.5-math-7b", "Qwen2Config", CHATML, CALLS, None, "<|endoftext|>", "<|endoftext|>", "Qwen2Tokenizer"
    ),
    "qwen3-base": Family(
        "qwen3-8b-base", "Qwen3Config", CHATML, (*CALLS, *THINK), None, "<|endoftext|>", "<|endoftext|>", "Qwen2Tokenizer"
    ),
    "qwen3": Family(
        "qwen3-8b", "Qwen3Config", CHATML, (*CALLS, *THINK), None, "<|im_end|>", "<|endoftext|>", "Qwen2Tokenizer"
    ),
    "llama-3": Family(
        "llama-3.1-8b", "LlamaConfig", (*LLAMA3, *HEADERS), (), "<|begin_of_text|>", "<|end_of_text|>", None,
        "PreTrainedTokenizerFast", LLAMA, 5e5, adds_bos=True,
    ),
    "r1-distill-qwen": Family(
        "r1-distill-qwen-7b", "Qwen2Config", R1, (*THINK, *CALLS), R1[3], R1[0], R1[0], "LlamaTokenizerFast", QWEN, 1e4,
        adds_bos=True,
    ),
    "r1-distill-llama": Family(
        "r1-distill-llama-8b", "LlamaConfig", (*R1, "<|finetune_right_pad_id|>"), THINK, R1[3], R1[0], R1[0],
        "LlamaTokenizerFast", LLAMA, 5e5, adds_bos=True,
    ),
    "smollm2": Family(
        "smollm2-1.7b", "LlamaConfig", CHATML, (), "<|im_start|>", "<|im_end|>", "<|im_end|>", "GPT2Tokenizer", None, 1.3e5
    ),
    "smollm3": Family(
        "smollm3-3b", "SmolLM3Config", (*LLAMA3, *CHATML[1:]), THINK, None, "<|im_end|>", "<|im_end|>",
        "PreTrainedTokenizerFast", LLAMA, 5e6,
    ),
}  # fmt: skip


def tokenizer_file(family: Family, texts: list[str]) -> Any:
    """A byte-level BPE as the family's `tokenizer.json` has it, with few merges."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    made = Tokenizer(models.BPE())
    if family.pattern == QWEN:
        made.normalizer = normalizers.NFC()
    made.pre_tokenizer = (
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(family.pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        if family.pattern
        else pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in family.special])
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in family.plain])
    if family.adds_bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, made.token_to_id(family.bos))]
        )
    return made


def write_base(name: str, folder: Path) -> Base:
    """A base of a family with random weights in a folder, and the recipe's section that names it."""
    import torch
    import transformers

    family = FAMILIES[name]
    folder.mkdir()
    tokenizer = tokenizer_file(family, [message.content for row in EXAMPLES for message in row.messages])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": family.tokenizer_class,
        "bos_token": family.bos,
        "eos_token": family.eos,
        "pad_token": family.pad,
        "add_bos_token": family.adds_bos,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
        "chat_template": "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = getattr(transformers, family.config)(
        vocab_size=tokenizer.get_vocab_size() + 16,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": family.rope_theta},
        tie_word_embeddings=name in ("smollm2", "smollm3"),
        eos_token_id=tokenizer.token_to_id(family.eos),
        pad_token_id=tokenizer.token_to_id(family.pad or family.eos),
        bos_token_id=None if family.bos is None else tokenizer.token_to_id(family.bos),
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return load.load_student(family.student).base.model_copy(
        update={"model": str(folder), "parameters": 500_000}
    )


EXAMPLES = [
    *(
        example_of(at, f"What is {at} + 1?", f"<think>\n{at} + 1 = {at + 1}\n</think>\n\n\\boxed{{{at + 1}}}")
        for at in range(6)
    ),
    example_of(6, "Greet me.", "Good morning."),
    example_of(7, TYPED, f"<think>\nIt asks: {TYPED}\n</think>\n\nSaid."),
]
TRAINED = [name for name in FAMILIES if name not in ("qwen2.5", "qwen3-base")]
"""Families that are trained here; the others differ from one of these in the EOS of the base alone."""
TRAINING = load.load_student("tiny-qwen2").training.model_copy(
    update={
        "learning_rate": 5e-3,
        "epochs": 150.0,
        "batch_size": 8,
        "device_batch_size": 8,
        "max_length": 512,
    }
)
SAMPLES = 13


@pytest.fixture(scope="module", params=TRAINED)
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A family's name, and the folder of a model that knows eight short rows by heart."""
    folder = tmp_path_factory.mktemp("family")
    base = write_base(request.param, folder / "hub")
    shards.write(Example, EXAMPLES, f"{folder}/examples.parquet")
    made: Any
    if request.param == TRAINED[0]:
        made = asdict(
            train.train(base, TRAINING, [f"{folder}/examples.parquet"], f"{folder}/model", f"{folder}/log")
        )
    else:  # what the child of `train` does, without its imports
        made = worker.train(
            base, TRAINING, [f"{folder}/examples.parquet"], folder / "model", lambda *_, **__: None
        )
    assert (made["rows_trained"], made["rows_unrenderable"]) == (8, 0)
    return request.param, folder / "model"


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def ask(row: Example) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in row.prompt]


def say(row: Example) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in row.completion]


def test_a_trained_student_says_what_it_learnt_and_stops_in_100_of_100_generations(
    student: tuple[str, Path],
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    name, folder = student
    tokenizer, model = tokenizer_of(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    torch.manual_seed(0)
    stopped = 0
    for row in EXAMPLES:
        wanted = chat_template.encode_pair(tokenizer, ask(row), say(row))
        prompt = torch.tensor([wanted.prompt])
        asked = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt), "max_new_tokens": 400}
        (greedy,) = model.generate(**asked, do_sample=False)
        assert greedy[prompt.shape[1] :].tolist() == wanted.completion, name
        drawn = model.generate(
            **asked, do_sample=True, temperature=0.6, top_p=0.95, num_return_sequences=SAMPLES
        )
        stopped += sum(tokenizer.eos_token_id in ids[prompt.shape[1] :] for ids in drawn.tolist())
    assert stopped == SAMPLES * len(EXAMPLES) >= 100


def test_what_older_readers_look_for_stands_in_the_students_folder(student: tuple[str, Path]) -> None:
    name, folder = student
    config, settings = (
        json.loads((folder / file).read_text(encoding="utf-8"))
        for file in ("config.json", "tokenizer_config.json")
    )
    theta = 300_000.0 if name == "qwen2.5-math" else FAMILIES[name].rope_theta
    assert (config["rope_theta"], config["rope_scaling"], config["torch_dtype"]) == (theta, None, "float32")
    assert settings["tokenizer_class"] != "TokenizersBackend", "transformers 4 does not know it"
    base = load.load_student(FAMILIES[name].student).base
    assert (settings["eos_token"], settings["pad_token"]) == (base.end_of_turn, base.pad_token)


@pytest.fixture(scope="module", params=FAMILIES)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A family's name, and the folder with the untrained base as its student starts from it."""
    folder = tmp_path_factory.mktemp("prepared")
    base = write_base(request.param, folder / "hub")
    student_template.check(base)
    checkpoint.prepare(base, folder / "base")
    return request.param, folder / "base"


def test_a_prompt_is_what_serving_sends_and_begins_with_one_bos(prepared: tuple[str, Path]) -> None:
    name, folder = prepared
    tokenizer, family = tokenizer_of(folder), FAMILIES[name]
    for row in EXAMPLES[:7]:
        served = tokenizer.apply_chat_template(ask(row), add_generation_prompt=True, return_dict=False)
        assert chat_template.encode_prompt(tokenizer, ask(row)) == served
        if family.bos is not None and name != "smollm2":
            assert served[0] == tokenizer.bos_token_id and served.count(tokenizer.bos_token_id) == 1


def test_control_tokens_that_a_question_types_stay_text(prepared: tuple[str, Path]) -> None:
    name, folder = prepared
    tokenizer = tokenizer_of(folder)
    row = EXAMPLES[7]
    plain = chat_template.encode_pair(tokenizer, ask(EXAMPLES[0]), say(EXAMPLES[0]))
    typed = chat_template.encode_pair(tokenizer, ask(row), say(row))
    added = set(tokenizer.get_added_vocab().values())
    for one, other in ((plain.prompt, typed.prompt), (plain.completion, typed.completion)):
        assert [at for at in one if at in added] == [at for at in other if at in added], name
    assert typed.completion[-1] == tokenizer.eos_token_id
    assert TYPED in tokenizer.decode(typed.prompt)


def test_the_tokenizer_is_the_bases_own(prepared: tuple[str, Path]) -> None:
    from tokenizers import Tokenizer

    _, folder = prepared
    own = Tokenizer.from_file(str(folder.with_name("hub") / "tokenizer.json"))
    for text in (TYPED, "Two  and 1234 é — x\n\n  so", *chat_template.PROOFS):
        ids = own.encode(text, add_special_tokens=False).ids
        assert tokenizer_of(folder).encode(text, add_special_tokens=False) == ids


@pytest.mark.parametrize("name", ["qwen3", "smollm3"])
def test_rows_without_thinking_are_trained_as_requests_with_enable_thinking_off(
    name: str, tmp_path: Path
) -> None:
    base = write_base(name, tmp_path / "hub")
    checkpoint.prepare(base, tmp_path / "base")
    tokenizer, row = tokenizer_of(tmp_path / "base"), EXAMPLES[6]
    for served in (False, True):
        asked = {"add_generation_prompt": True, "tokenize": False, "enable_thinking": served}
        end = "<think>\n" if served else "<think>\n\n</think>\n\n"
        assert tokenizer.apply_chat_template(ask(row), **asked).endswith(f"<|im_start|>assistant\n{end}")
    off = tokenizer.apply_chat_template(
        ask(row), add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    encoded = chat_template.encode_pair(tokenizer, ask(row), say(row))
    assert encoded.prompt == off
    assert tokenizer.decode(encoded.completion) == "Good morning.<|im_end|>"


def test_yarn_is_what_every_reader_finds(tmp_path: Path) -> None:
    from transformers import AutoConfig

    base = write_base("qwen3", tmp_path / "hub").model_copy(update={"rope_scaling": RopeScaling(factor=4.0)})
    checkpoint.prepare(base, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
    assert (config["rope_theta"], config["rope_scaling"]) == (1e6, scaling)
    assert config["max_position_embeddings"] == 16_384
    assert tokenizer_of(tmp_path / "base").model_max_length == 16_384
    read = AutoConfig.from_pretrained(tmp_path / "base")
    assert guards.positions_of(read) == 16_384 and read.rope_parameters == {"rope_theta": 1e6, **scaling}


def test_yarn_changes_what_a_student_is_only_where_it_is_set(tmp_path: Path) -> None:
    recipe = load.load_student("qwen3-8b").base
    assert "rope_scaling" not in recipe.identity()
    asked = load.load_student("qwen3-8b", ("base.rope_scaling.factor=4.0",)).base
    assert asked.identity()["rope_scaling"] == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": None,
    }


def test_a_base_with_a_scaling_of_its_own_keeps_it(tmp_path: Path) -> None:
    base = write_base("llama-3", tmp_path / "hub").model_copy(
        update={"rope_scaling": RopeScaling(factor=2.0)}
    )
    file = tmp_path / "hub" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["rope_parameters"] = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"scaling of its own, llama3, .*leave base\.rope_scaling out"):
        checkpoint.prepare(base, tmp_path / "base")
    checkpoint.prepare(base.model_copy(update={"rope_scaling": None}), tmp_path / "base")
    kept = json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))
    assert kept["rope_scaling"]["rope_type"] == "llama3" and kept["rope_theta"] == 5e5


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        ("r1-distill-qwen", {"pad_token": R1[0]}, r"equals base\.end_of_turn, .* Set base\.pad_token to .*<\|fim_pad\|>"),
        ("llama-3", {"pad_token": "<|pad|>"}, r"no token <\|pad\|>; set base\.pad_token to .*<\|finetune_right_pad_id\|>"),
        ("smollm2", {"end_of_turn": "<|eot_id|>"}, r"no token <\|eot_id\|>; set base\.end_of_turn to .*<\|im_end\|>"),
    ],
)  # fmt: skip
def test_tokens_that_cannot_train_are_refused_before_anything_is_sampled(
    family: str, change: dict[str, str], said: str, tmp_path: Path
) -> None:
    base = write_base(family, tmp_path / "hub").model_copy(update=change)
    for refuse in (student_template.check, lambda wrong: checkpoint.prepare(wrong, tmp_path / "base")):
        with pytest.raises(RecipeError, match=said):
            refuse(base)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            (
                "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}<｜Assistant｜>"
                "{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
                "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
            ),
            r"a row with thinking: the chat template does not continue its own generation prompt",
        ),
        (
            (
                "{% for m in messages %}<｜User｜>{{ m.content }}{% endfor %}"
                "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
            ),
            r"does not continue its own generation prompt.*The shipped ones are: .*r1-think",
        ),
    ],
    ids=["R1's own", "no assistant"],
)
def test_a_generation_prompt_that_is_not_trained_is_refused(template: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(template, encoding="utf-8")
    base = write_base("r1-distill-qwen", tmp_path / "hub").model_copy(update={"chat_template": str(file)})
    with pytest.raises(RecipeError, match=said):
        student_template.check(base)


def test_qwen3s_own_template_by_its_path_trains_both_modes(tmp_path: Path) -> None:
    """Qwen3's template does not open the think block, and cuts thinking from earlier turns alone."""
    file = tmp_path / "own.jinja"
    file.write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.last %}"
        "{% set thought = m.content.split('</think>')[0].split('<think>')[-1] if '</think>' in m.content else '' %}"
        "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + m.content.split('</think>')[-1].lstrip('\n') }}"
        "{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
        encoding="utf-8",
    )
    base = write_base("qwen3", tmp_path / "hub").model_copy(update={"chat_template": str(file)})
    student_template.check(base)
    checkpoint.prepare(base, tmp_path / "base")
    tokenizer = tokenizer_of(tmp_path / "base")
    thinks, answers = (
        chat_template.encode_pair(tokenizer, ask(row), say(row)) for row in (EXAMPLES[0], EXAMPLES[6])
    )
    assert tokenizer.decode(thinks.completion) == EXAMPLES[0].completion[0].content + "<|im_end|>"
    assert tokenizer.decode(answers.prompt).endswith("<think>\n\n</think>\n\n")
    assert tokenizer.decode(answers.completion) == "Good morning.<|im_end|>"
