"""Every shipped recipe loads, cites its sources, names files that exist, and keeps the published numbers."""

import re

import pytest

from distill import recipe_files, sources
from distill.recipe import CONFIGS, ProblemSource

DATASETS, STUDENTS = recipe_files.names("datasets"), recipe_files.names("students")
SHIPPED_DATASETS = [name for name in DATASETS if name != "dry-run"]
CITED = re.compile(r"paper|arXiv|Open-R1|README")
TABLE_6 = {
    "qwen2.5-math-1.5b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4, "Apache-2.0"),
    "qwen2.5-math-7b": ("Qwen/Qwen2.5-Math-7B", 8e-5, "Apache-2.0"),
    "qwen2.5-14b": ("Qwen/Qwen2.5-14B", 7e-5, "Apache-2.0"),
    "qwen2.5-32b": ("Qwen/Qwen2.5-32B", 6e-5, "Apache-2.0"),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B", 5e-5, "Llama 3.1 Community License"),
    "llama-3.3-70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5, "Llama 3.3 Community License"),
}
FAMILIES = {"qwen2-think": ("<|im_end|>", "<|endoftext|>"), "llama3-think": ("<|eot_id|>", "<|finetune_right_pad_id|>")}


def all_sources() -> list[tuple[str, ProblemSource]]:
    """Every problem source of every recipe, with the recipe's name."""
    found = []
    for name in DATASETS:
        loaded = recipe_files.load_dataset(name)
        found += [(name, source) for source in (*loaded.problems, *loaded.curation.benchmarks)]
    return found + [(name, source) for name in STUDENTS for source in recipe_files.load_student(name).evaluation.problems]


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_loads_and_says_what_it_is(name: str) -> None:
    loaded = recipe_files.load_dataset(name)
    assert loaded.name == name
    assert len(loaded.description) > 80 or name == "dry-run"


@pytest.mark.parametrize("name", SHIPPED_DATASETS)
def test_every_dataset_cites_where_its_numbers_are_from(name: str) -> None:
    assert CITED.search(recipe_files.load_dataset(name).description)


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_loads_cites_its_sources_and_names_a_dataset(name: str) -> None:
    loaded = recipe_files.load_student(name)
    assert loaded.name == name
    assert CITED.search(loaded.description)
    assert loaded.dataset in DATASETS


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_has_its_familys_template_end_of_turn_and_padding(name: str) -> None:
    base = recipe_files.load_student(name).base
    assert (CONFIGS / "chat" / f"{base.chat_template}.jinja").is_file()
    assert base.end_of_turn != base.pad_token
    assert (base.end_of_turn, base.pad_token) == FAMILIES[base.chat_template]
    assert base.end_of_turn in (CONFIGS / "chat" / f"{base.chat_template}.jinja").read_text(encoding="utf-8")
    assert ("llama" in base.model.lower()) == (base.chat_template == "llama3-think")
    assert base.licence != "unknown"


@pytest.mark.parametrize("name", TABLE_6)
def test_the_six_r1_students_have_the_papers_numbers(name: str) -> None:
    loaded = recipe_files.load_student(name)
    model, learning_rate, licence = TABLE_6[name]
    training = loaded.training
    assert (loaded.base.model, training.learning_rate, loaded.base.licence) == (model, learning_rate, licence)
    assert (training.batch_size, training.max_length, training.final_learning_rate_share) == (64, 32768, 0.1)
    assert 2 <= training.epochs <= 3
    assert (loaded.evaluation.temperature, loaded.evaluation.top_p, loaded.evaluation.max_tokens) == (0.6, 0.95, 32768)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_math_base_of_4k_gets_its_context_raised(name: str) -> None:
    base = recipe_files.load_student(name).base
    raised = (base.rope_theta, base.max_position_embeddings) == (300_000, 32_768)
    assert raised == ("Qwen2.5-Math" in base.model)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_batch_is_made_of_whole_device_batches_and_no_row_is_longer_than_the_context(name: str) -> None:
    loaded = recipe_files.load_student(name)
    assert loaded.training.batch_size % loaded.training.device_batch_size == 0
    assert loaded.training.max_length <= (loaded.base.max_position_embeddings or 32_768)


@pytest.mark.parametrize("name", DATASETS)
def test_shares_of_a_mixture_add_up_to_one(name: str) -> None:
    shares = [source.share for source in recipe_files.load_dataset(name).problems if source.share is not None]
    assert not shares or sum(shares) == pytest.approx(1.0)


def test_every_local_problem_file_is_there_and_every_source_has_a_licence_or_says_that_it_is_unknown() -> None:
    for name, source in all_sources():
        place = sources.locate(source)
        assert place is None or source.path.startswith("data/"), name
        assert source.licence != "unknown" or source.name == "verifiable-coding", (name, source.name)


def test_what_a_student_is_scored_on_is_screened_out_of_its_dataset() -> None:
    for name in STUDENTS:
        loaded = recipe_files.load_student(name)
        screened = {(source.path, source.split) for source in recipe_files.load_dataset(loaded.dataset).curation.benchmarks}
        scored = {(source.path, source.split) for source in loaded.evaluation.problems}
        assert scored <= screened, name


def test_no_recipe_runs_a_models_own_code_or_holds_a_secret() -> None:
    assert not any(recipe_files.load_student(name).base.trust_remote_code for name in STUDENTS)
    assert not any(recipe_files.load_dataset(name).teacher.trust_remote_code for name in DATASETS)


def test_gsm8k_references_are_what_follows_the_marks() -> None:
    pattern = next(source.reference_pattern for _, source in all_sources() if source.path == "openai/gsm8k")
    assert pattern is not None
    found = re.search(pattern, "She has 2 + 3 = <<2+3=5>>5 apples.\n#### 1,005")
    assert found is not None and found.group(1) == "1,005"


def test_an_empty_reference_column_is_none() -> None:
    assert ProblemSource(name="n", path="p", reference="").reference is None
