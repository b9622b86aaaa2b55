"""A plan is short, shows what decides, and withstands wrong input."""

import json

import pytest

from distill import plan
from distill.recipe import load
from flows import cli


def made(gpus: int = 8) -> plan.Plan:
    return plan.plan(load.load_student("qwen2.5-7b", ()), load.load_dataset("openr1-math", ()), "h100", gpus)


def test_the_table_is_short_and_has_a_line_for_the_whole_run_and_the_verdict() -> None:
    shown = plan.table(made())
    lines = shown.splitlines()
    assert len(lines) < 45 and max(map(len, lines[:-2])) < 110
    assert lines[0] == "qwen2.5-7b on openr1-math, 8 x h100 (79.6 GiB each)"
    assert any(line.startswith("whole run") for line in lines)
    assert all(word in shown for word in ("sampling", "training", "evaluation", "starts", "int4", "disk"))
    assert shown.endswith("\n".join(made().verdict))


def test_json_has_every_number_with_its_unit() -> None:
    read = json.loads(plan.as_json(made()))
    assert (read["student"], read["gpu"], read["gpus"], read["fits"]) == ("qwen2.5-7b", "h100", 8, False)
    lines = {line["name"]: line for line in read["estimates"]}
    assert lines["training memory"]["unit"] == "GiB/GPU"
    assert lines["whole run hours"]["low"] < lines["whole run hours"]["likely"]
    assert [row["precision"] for row in read["serving"]] == ["bf16", "fp8", "int8", "int4"]
    assert read["serving"][0]["gib_at_tokens"]["32768"] == pytest.approx(15.94, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpus", "0"), "--gpus 0: give a number of GPUs from 1"),
        (("--gpus", "-3"), "--gpus -3"),
        (("--gpus", "999999999999"), "from 1 to 100,000"),
        (("--gpu", "h100x"), "did you mean h100"),
        (("--gpu", ""), "Known are"),
        (("--gpu", "cpu", "--gpus", "0"), "--gpus 0"),
        (("--gpu", "\x1b[31m" * 50), "no GPU"),
    ],
)
def test_wrong_gpus_exit_with_2_and_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "--student", "qwen2.5-7b", *arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.out == "" and told.err.count("\n") == 1 and "\x1b" not in told.err


def test_a_name_in_capitals_is_found_and_json_is_all_that_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["plan", "--student", "qwen2.5-7b", "--gpu", "H100", "--gpus", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"] == "h100"
