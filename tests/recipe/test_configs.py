"""Every shipped recipe loads, cites its sources, names files that exist, and keeps the published numbers."""

import re
from pathlib import Path

import pytest

from distill.files import readers
from distill.recipe import DatasetRecipe, ProblemSource, RecipeError, Sampling, load
from distill.recipe.dataset import CONFIGS
from flows import cli

DATASETS, STUDENTS, TEACHERS = (load.names(family) for family in ("datasets", "students", "teachers"))
SHIPPED_DATASETS = [name for name in DATASETS if name != "dry-run"]
CITED = re.compile(r"paper|arXiv|Open-R1|README")
MINE = """
description = "Mine."
{teacher}
[[problems]]
name = "mine"
path = "mine.jsonl"
[sampling]
{sampling}
"""
TABLE_6 = {
    "qwen2.5-math-1.5b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4, "Apache-2.0"),
    "qwen2.5-math-7b": ("Qwen/Qwen2.5-Math-7B", 8e-5, "Apache-2.0"),
    "qwen2.5-14b": ("Qwen/Qwen2.5-14B", 7e-5, "Apache-2.0"),
    "qwen2.5-32b": ("Qwen/Qwen2.5-32B", 6e-5, "Apache-2.0"),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", 5e-5, "Llama 3.1 Community License"),
    "llama-3.3-70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5, "Llama 3.3 Community License"),
}
FAMILIES = {
    "Qwen/Qwen2.5": ("qwen2-think", "<|im_end|>", "<|endoftext|>"),
    "Qwen/Qwen3": ("qwen3-think", "<|im_end|>", "<|endoftext|>"),
    "meta-llama/": ("llama3-think", "<|eot_id|>", "<|finetune_right_pad_id|>"),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen": ("r1-think", "<｜end▁of▁sentence｜>", "<|fim_pad|>"),
    "deepseek-ai/DeepSeek-R1-Distill-Llama": (
        "r1-think",
        "<｜end▁of▁sentence｜>",
        "<|finetune_right_pad_id|>",
    ),
    "HuggingFaceTB/SmolLM2": ("qwen2-think", "<|im_end|>", "<|endoftext|>"),
    "HuggingFaceTB/SmolLM3": ("qwen3-think", "<|im_end|>", "<|finetune_right_pad_id|>"),
    "data/models/tiny-qwen2": ("qwen2-think", "<|im_end|>", "<|endoftext|>"),
    "data/models/tiny-llama": ("llama3-think", "<|eot_id|>", "<|finetune_right_pad_id|>"),
}
"""Template, end of turn and padding, by the start of a base's name."""


def all_sources() -> list[tuple[str, ProblemSource]]:
    """Every problem source of every recipe, with the recipe's name."""
    found = []
    for name in DATASETS:
        loaded = load.load_dataset(name)
        found += [(name, source) for source in (*loaded.problems, *loaded.curation.benchmarks)]
    return found + [
        (name, source)
        for name in STUDENTS
        for suite in load.load_student(name).evaluation.suites
        for source in suite.problems
    ]


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_loads_and_says_what_it_is(name: str) -> None:
    loaded = load.load_dataset(name)
    assert loaded.name == name
    assert len(loaded.description) > 80 or name == "dry-run"


@pytest.mark.parametrize("name", SHIPPED_DATASETS)
def test_every_dataset_cites_where_its_numbers_are_from(name: str) -> None:
    assert CITED.search(load.load_dataset(name).description)


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_loads_cites_its_sources_and_names_a_dataset(name: str) -> None:
    loaded = load.load_student(name)
    assert loaded.name == name
    assert CITED.search(loaded.description)
    assert loaded.dataset in DATASETS


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_has_its_familys_template_end_of_turn_and_padding(name: str) -> None:
    base = load.load_student(name).base
    (family,) = (made for start, made in FAMILIES.items() if base.model.startswith(start))
    assert (base.chat_template, base.end_of_turn, base.pad_token) == family
    assert base.end_of_turn != base.pad_token
    assert base.end_of_turn in (CONFIGS / "chat" / f"{base.chat_template}.jinja").read_text(encoding="utf-8")
    assert base.licence != "unknown"


@pytest.mark.parametrize("name", TABLE_6)
def test_the_six_r1_students_have_the_papers_numbers(name: str) -> None:
    loaded = load.load_student(name)
    model, learning_rate, licence = TABLE_6[name]
    training = loaded.training
    assert (loaded.base.model, training.learning_rate, loaded.base.licence) == (model, learning_rate, licence)
    assert (training.batch_size, training.max_length, training.final_learning_rate_share) == (64, 32768, 0.1)
    assert 2 <= training.epochs <= 3
    assert (loaded.evaluation.temperature, loaded.evaluation.top_p, loaded.evaluation.max_tokens) == (
        0.6,
        0.95,
        32768,
    )


@pytest.mark.parametrize("name", STUDENTS)
def test_a_math_base_of_4k_gets_its_context_raised(name: str) -> None:
    base = load.load_student(name).base
    raised = (base.rope_theta, base.max_position_embeddings) == (300_000, 32_768)
    assert raised == ("Qwen2.5-Math" in base.model)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_batch_is_made_of_whole_device_batches_and_no_row_is_longer_than_the_context(name: str) -> None:
    loaded = load.load_student(name)
    assert loaded.training.batch_size % loaded.training.device_batch_size == 0
    assert loaded.training.max_length <= (loaded.base.max_position_embeddings or 32_768)


@pytest.mark.parametrize("name", DATASETS)
def test_shares_of_a_mixture_add_up_to_one(name: str) -> None:
    shares = [source.share for source in load.load_dataset(name).problems if source.share is not None]
    assert not shares or sum(shares) == pytest.approx(1.0)


def test_every_local_problem_file_is_there_and_every_source_has_a_licence_or_says_that_it_is_unknown() -> (
    None
):
    for name, source in all_sources():
        place = readers.locate(source)
        assert place is None or source.path.startswith("data/"), name
        assert source.licence != "unknown" or source.name == "verifiable-coding", (name, source.name)


def test_what_a_student_is_scored_on_is_screened_out_of_its_dataset() -> None:
    for name in STUDENTS:
        loaded = load.load_student(name)
        screened = {
            (source.path, source.split) for source in load.load_dataset(loaded.dataset).curation.benchmarks
        }
        targets = loaded.evaluation.targets
        scored = {(source.path, source.split) for suite in targets for source in suite.problems}
        assert scored <= screened, name


def test_no_recipe_runs_a_models_own_code_or_holds_a_secret() -> None:
    assert not any(load.load_student(name).base.trust_remote_code for name in STUDENTS)
    assert not any(load.load_dataset(name).teacher.trust_remote_code for name in DATASETS)
    assert not any(load.load_teacher(name).teacher.trust_remote_code for name in TEACHERS)


def test_gsm8k_references_are_what_follows_the_marks() -> None:
    found_in = (
        source for _, source in all_sources() if source.path == "openai/gsm8k" and source.kind == "math"
    )
    pattern = next(source.reference_pattern for source in found_in)
    assert pattern is not None
    found = re.search(pattern, "She has 2 + 3 = <<2+3=5>>5 apples.\n#### 1,005")
    assert found is not None and found.group(1) == "1,005"


def test_an_empty_reference_column_is_none() -> None:
    assert ProblemSource(name="n", path="p", reference="").reference is None


def mine(folder: Path, teacher: str, *overrides: str, sampling: str = "") -> DatasetRecipe:
    """A dataset recipe with a teacher written in some way, loaded with overrides."""
    path = folder / "mine.toml"
    path.write_text(MINE.format(teacher=teacher, sampling=sampling), encoding="utf-8")
    return load.load_dataset(str(path), overrides)


@pytest.mark.parametrize("name", TEACHERS)
def test_every_teacher_loads_cites_its_sources_and_says_what_it_takes(name: str) -> None:
    loaded = load.load_teacher(name)
    teacher, sampling = loaded.teacher, loaded.sampling
    assert loaded.name == name
    assert re.search(r"card|docs|README", loaded.description)
    assert sampling.system is None and sampling.prompt == Sampling.model_fields["prompt"].default
    if teacher.engine == "vllm":
        assert "emory" in loaded.description and teacher.licence in ("MIT", "Apache-2.0")
        assert teacher.context_tokens == sampling.max_tokens + 8192 or teacher.context_tokens == 81_920 + 8192
        assert (sampling.temperature, sampling.top_p, teacher.reasoning_parser) == (0.6, 0.95, "deepseek_r1")
    else:
        assert (
            teacher.api_key_env
            and teacher.completion_usd_per_million
            and re.search(r"20\d\d", loaded.description)
        )
        assert teacher.licence == "unknown" and "terms" in loaded.description


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("dataset", ["gsm8k", "openr1-math", "r1-800k", "tiny"])
def test_every_dataset_can_be_made_with_every_teacher(dataset: str, name: str) -> None:
    loaded, alone = load.load_dataset(dataset, (f"teacher={name}",)), load.load_teacher(name)
    assert loaded.teacher == alone.teacher
    own = load.load_dataset(dataset)
    assert (loaded.sampling.n, loaded.sampling.max_tokens) == (own.sampling.n, own.sampling.max_tokens)
    assert loaded.sampling.top_k == alone.sampling.top_k


def test_a_teacher_is_named_spelt_out_or_both(tmp_path: Path) -> None:
    qwq = load.load_teacher("qwq-32b")
    assert mine(tmp_path, 'teacher = "qwq-32b"').teacher == qwq.teacher
    changed = mine(tmp_path, 'teacher = {like = "qwq-32b", concurrency = 7}').teacher
    assert changed == qwq.teacher.model_copy(update={"concurrency": 7})
    assert "like" not in changed.model_dump()
    assert mine(tmp_path, 'teacher = {model = "m"}').teacher.model == "m"


def test_a_datasets_sampling_goes_before_its_teachers(tmp_path: Path) -> None:
    made = mine(
        tmp_path, 'teacher = "qwq-32b"', "sampling.seed=5", sampling="top_k = 7\nmax_tokens = 99"
    ).sampling
    assert (made.top_k, made.max_tokens, made.temperature, made.seed) == (7, 99, 0.6, 5)


def test_a_teacher_on_the_command_line_replaces_the_recipes_and_can_be_changed_itself(tmp_path: Path) -> None:
    spelt_out = '[teacher]\nmodel = "m"\nengine = "server"\nconcurrency = 9'
    urls = 'teacher.urls=["http://a/v1"]'
    replaced = mine(tmp_path, spelt_out, urls, "teacher=qwq-32b", "sampling.top_k=3")
    wanted = load.load_teacher("qwq-32b").teacher.model_copy(update={"urls": ("http://a/v1",)})
    assert (replaced.teacher, replaced.sampling.top_k) == (wanted, 3), (
        "whatever comes first on the command line"
    )
    assert mine(tmp_path, spelt_out, "teacher.like=qwq-32b").teacher.model == "m", (
        "what is spelt out goes before what it is like"
    )
    assert mine(tmp_path, spelt_out, 'teacher={like="qwq-32b", dtype="float32"}').teacher.dtype == "float32"


def test_the_option_is_a_setting_like_others() -> None:
    options = cli.parser().parse_args(
        ["run", "--set", "sampling.n=2", "--teacher", "qwq-32b", "--dataset", "gsm8k"]
    )
    assert options.set == ["sampling.n=2", "teacher=qwq-32b"]
    _, loaded = load.load_both("tiny-qwen2", options.dataset, tuple(options.set))
    assert (loaded.teacher.model, loaded.sampling.n) == ("Qwen/QwQ-32B", 2)
    assert cli.parser().parse_args(["dataset", "gsm8k"]).set == []


def test_a_teachers_file_may_lie_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.toml").write_text('description = "d"\nteacher = {model = "own"}', encoding="utf-8")
    for name in ("own.toml", str(tmp_path / "own.toml")):
        assert mine(tmp_path, f'teacher = "{name}"').teacher.model == "own"
    monkeypatch.chdir(tmp_path)
    assert load.load_dataset("gsm8k", ("teacher=own.toml",)).teacher.model == "own"


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ('teacher = "nobody"', "teacher: no teacher 'nobody'; there are: deepseek-api, "),
        ("teacher = {like = 3}", "teacher.like"),
        ("teacher = 3", "teacher: "),
        ("", "teacher: Field required"),
        ('teacher = {like = "qwq-32b", speed = 3}', "teacher.speed"),
        ('teacher = "wrong.toml"', "wrong.toml: teacher.model: Field required; teacher.modell: "),
    ],
)
def test_a_wrong_teacher_is_told_by_its_key(tmp_path: Path, teacher: str, said: str) -> None:
    (tmp_path / "wrong.toml").write_text('description = "d"\nteacher = {modell = "own"}', encoding="utf-8")
    with pytest.raises(RecipeError) as told:
        mine(tmp_path, teacher)
    assert said in str(told.value)


def test_a_wrong_name_on_the_command_line_is_not_laid_to_the_dataset() -> None:
    with pytest.raises(RecipeError, match=r"^no teacher 'nobody'; there are: deepseek-api, "):
        load.load_dataset("gsm8k", ("teacher=nobody",))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampling.adaptive={enough=5,most=4}", "sampling.adaptive: `most` is 4, below `enough`, 5"),
        ("sampling.n=17", "sampling: `adaptive.most` is 16, below `n`, 17"),
        (
            "sampling.adaptive.budgets=[9000,8192]",
            "sampling: `adaptive.budgets` are [9000, 8192]: each must be above `max_tokens`, 8192",
        ),
        ("sampling.adaptive.budgets=9000", "sampling.adaptive.budgets: should be a list"),
        ("sampling.adaptive=true", "sampling.adaptive: should be a section"),
        ("teacher.extra_body=3", "teacher.extra_body: should be a section"),
    ],
)
def test_a_setting_that_cannot_be_is_told_in_words_of_the_file(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        load.load_dataset("gsm8k", (override,))
    assert said in str(told.value)


def test_teachers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["teachers"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in TEACHERS)


@pytest.mark.parametrize(
    ("name", "expected"), [("gsm8k", (4, 4, 16)), ("openr1-math", (2, 2, 8)), ("r1-800k", (4, 4, 8))]
)
def test_problems_with_a_rule_are_asked_until_they_have_enough(
    name: str, expected: tuple[int, int, int]
) -> None:
    sampling = load.load_dataset(name).sampling
    assert sampling.adaptive is not None
    assert (sampling.n, sampling.adaptive.enough, sampling.adaptive.most) == expected


@pytest.mark.parametrize("name", ["openr1-math", "r1-800k", "gsm8k"])
def test_no_completion_is_paid_for_that_is_too_long_to_be_kept(name: str) -> None:
    loaded = load.load_dataset(name)
    kept, adaptive = loaded.curation.screens.max_completion_tokens, loaded.sampling.adaptive
    assert kept is not None and adaptive is not None
    assert max((loaded.sampling.max_tokens, *adaptive.budgets)) <= kept + 1024, (
        "a little more, so that the longest that is kept is whole"
    )
