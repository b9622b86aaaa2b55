"""What an evaluation opens and asks: suites are had before anything is paid for, the base is asked with two
templates, and the student that was promoted before is found again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill.engines.vllm.processes import served
from distill.recipe import RecipeError, StudentRecipe, Teacher, load, load_dataset, load_student
from distill.store import Folder, NotMade, folders
from distill.train import student_template
from flows import evaluate
from flows.identity import Folders, Model, prepared_base

MODELS = Path(__file__).parents[2] / "data/models"
TEACHER = Model(Teacher(engine="scripted", model="t"), "t")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    monkeypatch.setattr(folders, "ROOT", str(tmp_path))
    return tmp_path


def put(root: Path, name: str, verdict: str | None, parameters: int = 882_000) -> Path:
    """An evaluated student in a store."""
    folder = root / "students" / name
    folder.mkdir(parents=True)
    report = {"promotion": {"verdict": verdict}} if verdict else {}
    base = load_student("tiny-qwen2").base.model_copy(update={"parameters": parameters})
    for file, values in (
        ("report.json", report),
        ("checkpoint.json", {"student": name.rpartition("-")[0], "fingerprint": name.rpartition("-")[2]}),
        ("recipe.json", {"base": base.model_dump()}),
    ):
        (folder / file).write_text(json.dumps(values), encoding="utf-8")
    return folder


def previous(*overrides: str) -> Model | None:
    recipe = load_student("tiny-qwen2", overrides)
    return evaluate.previous_student(Folder("students", "tiny-qwen2", {"now": 1}), recipe)


def test_the_student_that_was_promoted_last_is_scored_again_from_what_was_sampled(root: Path) -> None:
    assert previous() is None
    put(root, "tiny-qwen2-aaa", "promote")
    put(root, "tiny-qwen2-bbb", "hold")
    put(root, "tiny-qwen2-ccc", None)
    put(root, "other-ddd", "promote")
    found = previous()
    assert found is not None and (found.name, found.weights) == ("tiny-qwen2", {"student": "aaa"})
    assert found.teacher.model == str(root / "students/tiny-qwen2-aaa/model")
    named = previous("evaluation.previous=other")
    assert named is not None and (named.name, named.weights) == ("other", {"student": "ddd"})
    folder = previous("evaluation.previous=tiny-qwen2-bbb")
    assert folder is not None and folder.weights == {"student": "bbb"}
    assert previous('evaluation.previous=""') is None
    with pytest.raises(NotMade, match="no student of the name nobody was promoted"):
        previous("evaluation.previous=nobody")


def test_the_present_student_is_not_its_own_predecessor(root: Path) -> None:
    now = Folder("students", "tiny-qwen2", {"now": 1})
    put(root, now.path.rsplit("/", 1)[1], "promote")
    assert previous() is None


def test_vllm_asks_the_base_with_both_templates_from_one_start(root: Path) -> None:
    recipe = load_student("qwen2.5-0.5b")
    base = Model(Teacher(engine="vllm", model=str(root)), "base", {"base": "abc"})
    scored = evaluate.both_templates(base, recipe, prepared_base(recipe.base), "{{ messages }}")
    (first, plain), (second, chat) = scored
    assert (first, second) == ("base", "base-chat")
    assert served(plain.teacher) == served(chat.teacher), "the same servers"
    assert chat.teacher.extra_body == {"chat_template": "{{ messages }}"}
    assert plain.teacher.identity() == base.teacher.identity(), "what was sampled is found again"
    assert plain.teacher.identity() != chat.teacher.identity()


def test_a_local_engine_gets_a_folder_for_each_template_of_the_base(
    root: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: str
) -> None:
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(MODELS / "tiny-qwen2", base, dirs_exist_ok=True)
    own = "{% for message in messages %}{{ message['content'] }}{% endfor %}Answer:"
    (base / "chat_template.jinja").write_text(own, encoding="utf-8")
    recipe = load_student("tiny-qwen2", (f"base.model={base}",))
    scored = evaluate.models(Folder("students", "tiny-qwen2", {"now": 1}), recipe, TEACHER)
    assert [one.role for one in scored] == ["base", "base-chat", "student", "teacher"]
    plain, chat = (Path(one.model.teacher.model) for one in scored[:2])
    assert (chat / "chat_template.jinja").read_text(encoding="utf-8") == own
    assert "<|im_start|>" in (plain / "chat_template.jinja").read_text(encoding="utf-8")
    assert (plain / "model.safetensors").resolve() == (chat / "model.safetensors").resolve(), "linked"
    alone = load_student("tiny-qwen2", (f"base.model={base}", "evaluation.base_chat=false"))
    found = evaluate.models(Folder("students", "tiny-qwen2", {"now": 1}), alone, TEACHER)
    assert [one.role for one in found] == ["base", "student", "teacher"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config.json": {"chat_template": "own"}}, "own"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "own"}]}}, "own"),
        ({"tokenizer_config.json": {}}, None),
        ({"tokenizer_config.json": {"chat_template": "old"}, "chat_template.jinja": "own"}, "own"),
        ({}, None),
    ],
)
def test_a_bases_own_template_is_found_where_it_lies(
    tmp_path: Path, files: dict[str, Any], expected: str | None
) -> None:
    for name, value in files.items():
        (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    base = load_student("tiny-qwen2").base.model_copy(update={"model": str(tmp_path)})
    assert student_template.own(base) == expected


def test_a_suite_that_cannot_be_had_is_named_before_anything_is_made(
    root: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = str(root / "missing.jsonl")
    recipe = load_student(
        "tiny-qwen2",
        (f'evaluation.targets=[{{like = "aime24", path = "{missing}"}}]', "evaluation.problems=[]"),
    )
    with pytest.raises(
        RecipeError, match=r"evaluation: the suite aime24 cannot be had: .*evaluation\.targets"
    ):
        evaluate.collect_suites(recipe.evaluation, TEACHER)
    assert not list(root.rglob("*.parquet"))


def scored_on(recipe: StudentRecipe) -> list[str]:
    return [suite.name for suite in recipe.evaluation.suites]


def test_suites_are_chosen_on_the_command_line() -> None:
    recipe = load_student("qwen2.5-0.5b")
    assert scored_on(recipe) == ["gsm8k", "math-500", "arc-challenge"]
    some = load.only_suites(recipe, ["gsm8k", "arc-challenge", "aime24"])
    assert scored_on(some) == ["gsm8k", "aime24", "arc-challenge"]
    assert [one.name for one in some.evaluation.regressions] == ["arc-challenge"]
    assert some.evaluation.targets[0] == recipe.evaluation.targets[0]
    assert scored_on(load.only_suites(load_student("tiny-qwen2"), ["heldout"])) == ["heldout"]
    with pytest.raises(RecipeError, match="--suites: no benchmark 'nothing'"):
        load.only_suites(recipe, ["nothing"])


def test_a_suite_that_the_dataset_did_not_keep_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    evaluate.tell_not_screened(load_student("qwen2.5-0.5b").evaluation, Folders.of(load_dataset("gsm8k")))
    assert "not kept out of gsm8k: arc-challenge (" in caplog.text
    caplog.clear()
    evaluate.tell_not_screened(load_student("tiny-qwen2").evaluation, Folders.of(load_dataset("tiny")))
    assert caplog.text == ""


def test_a_model_that_runs_already_is_asked_where_it_is() -> None:
    said = 'evaluation.servers.student={urls = ["http://127.0.0.1:9/v1"], model = "mine"}'
    recipe = load_student("qwen2.5-0.5b", (said,))
    there, here = (evaluate.opened(role, "/folder", recipe) for role in ("student", "base"))
    assert (there.engine, there.model, there.urls) == ("server", "mine", ("http://127.0.0.1:9/v1",))
    assert (here.engine, here.model) == ("vllm", "/folder")
