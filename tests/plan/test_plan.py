"""Plans agree with published worked values and runs, and preflight refuses at once what cannot work here."""

import time
from pathlib import Path

import pytest

from distill import hardware, plan
from distill.hardware import Device, Gpu, devices, memory, shapes
from distill.plan import costs
from distill.recipe import load
from distill.recipe.dataset import DatasetRecipe, StudentRecipe
from distill.recipe.section import RecipeError

S32K = 32768
WORKED = [
    # model, parameters (B), KV KiB a token, KV @32k, bf16 weights, 16 B/param, checkpoints @32k, one layer,
    # fp32 logits, attention % of 6N
    ("Qwen/Qwen2.5-1.5B", 1.544, 28, 0.88, 2.9, 23, 2.6, 2.2, 18.5, 91),
    ("Qwen/Qwen2.5-7B", 7.615, 56, 1.75, 14.2, 114, 6.1, 4.8, 18.6, 43),
    ("Qwen/Qwen2.5-14B", 14.769, 192, 6.0, 27.5, 220, 15.0, 4.5, 18.6, 55),
    ("Qwen/Qwen2.5-32B", 32.763, 256, 8.0, 61.0, 488, 20.0, 7.1, 18.6, 33),
    ("meta-llama/Llama-3.1-8B", 8.030, 128, 4.0, 15.0, 120, 8.0, 4.3, 15.7, 53),
    ("meta-llama/Llama-3.3-70B-Instruct", 70.552, 320, 10.0, 131.4, 1051, 40.0, 8.4, 15.7, 30),
]
TRAINED = [
    # what, shape, rows, epochs, mean tokens of a row (partly assumed: not all are published), GPU, published
    # GPU-hours
    ("s1-32B", "qwen2.5-32b", 1000, 5, 5000, "h100", 7),
    ("s1-32B on all 59k", "qwen2.5-32b", 59_000, 5, 5000, "h100", 394),
    ("Sky-T1-32B", "qwen2.5-32b", 17_000, 3, 5000, "h100", 152),
    ("OpenThinker3-7B", "qwen2.5-7b", 1_200_000, 5, 10_000, "a100", 25_000),
    ("Light-R1-32B", "qwen2.5-32b", 79_000, 3, 6000, "h800", 576),
]
SLOWER = [
    # OpenThinker's first runs reached 4 to 6 % of the peak: outside of the band, and named as such in the
    # plan's docstring
    ("OpenThinker-7B", "qwen2.5-7b", 114_000, 3, 6000, "h100", 640),
    ("OpenThinker-32B", "qwen2.5-32b", 114_000, 3, 6000, "h100", 2880),
]


def student(name: str, *overrides: str) -> StudentRecipe:
    return load.load_student(name, overrides)


def dataset(name: str, *overrides: str) -> DatasetRecipe:
    return load.load_dataset(name, overrides)


@pytest.mark.parametrize("row", WORKED, ids=[row[0] for row in WORKED])
def test_formulae_give_the_worked_values(
    row: tuple[str, float, float, float, float, float, float, float, float, float],
) -> None:
    model, billions, kv_kib, kv_gib, weights, states, checkpoints, layer, logits, attention = row
    shape = shapes.of(model)
    assert shape is not None
    assert shape.parameters / 1e9 == pytest.approx(billions, abs=0.001)
    assert shape.kv_bytes() / 1024 == kv_kib
    assert shape.kv_bytes() * S32K / memory.GIB == pytest.approx(kv_gib, abs=0.01)
    assert shape.parameters * 2 / memory.GIB == pytest.approx(weights, abs=0.06)
    assert shape.parameters * shapes.TRAINED_BYTES / memory.GIB == pytest.approx(states, abs=0.6)
    assert shape.kept_activations(S32K) / memory.GIB == pytest.approx(checkpoints, abs=0.06)
    assert shape.recomputed_layer(S32K) / memory.GIB == pytest.approx(layer, abs=0.06)
    assert shape.logits(S32K) / memory.GIB == pytest.approx(logits, abs=0.06)
    assert 100 * shape.attention_flops(S32K) / (6 * shape.parameters) == pytest.approx(attention, abs=1)


@pytest.mark.parametrize("name", [name for name in load.names("students") if not name.startswith("tiny")])
def test_a_recipe_says_how_many_parameters_its_shape_has(name: str) -> None:
    base = student(name).base
    shape = shapes.of(base.model)
    assert shape is not None
    assert shape.parameters == pytest.approx(base.parameters, rel=1e-3)


@pytest.mark.parametrize("parameters", [900_000, 135_000_000, 4_000_000_000, 123_000_000_000])
def test_an_unknown_model_gets_a_shape_of_its_size(parameters: int) -> None:
    assert shapes.nearest(parameters).parameters == pytest.approx(parameters, rel=0.25)


def published_hours(run: tuple[str, str, int, int, int, str, float]) -> tuple[costs.Range, float]:
    _, shape, rows, epochs, tokens, gpu, hours = run
    trained = rows * epochs * tokens
    return costs.training_hours(
        shapes.known()[shape], trained, tokens, devices()[gpu], 1, checkpointing=True
    ), hours


@pytest.mark.parametrize("run", TRAINED, ids=[run[0] for run in TRAINED])
def test_published_training_runs_lie_in_the_band(run: tuple[str, str, int, int, int, str, float]) -> None:
    band, hours = published_hours(run)
    assert band.low <= hours <= band.high


@pytest.mark.parametrize("run", SLOWER, ids=[run[0] for run in SLOWER])
def test_the_slowest_published_runs_are_within_three_times_the_band(
    run: tuple[str, str, int, int, int, str, float],
) -> None:
    band, hours = published_hours(run)
    assert band.high < hours < 3 * band.high


def test_published_sampling_speeds_lie_in_the_band() -> None:
    qwq = costs.decode_speed(shapes.known()["qwq-32b"], devices()["h100"], 200 + 10_000 / 2)
    assert (
        qwq.low <= 1_200_000 * 10_000 / 22_000 / 3600 <= qwq.high
    )  # OpenThoughts3: 22,000 H100-hours, about 10k tokens a trace
    small = costs.decode_speed(shapes.known()["qwen2.5-1.5b"], devices()["h200"], 300)
    assert small.low <= 67_000 <= small.high  # four engines on one H200


def test_published_long_context_runs_fit_or_do_not() -> None:
    assert memory.training_memory(student("openr1-distill-7b"), 8).high <= devices()["h100"].memory_gib
    shape, training = shapes.known()["qwen2.5-32b"], student("qwen2.5-32b").training

    def olympic_coder(tokens: int) -> float:
        """GiB a GPU on 128 GPUs with the whole sequence's logits, upper end."""
        states = memory.state_bytes(shape, shape.parameters, training) / 128
        held = memory.activation_bytes(shape, training, tokens, 2) + memory.logit_bytes(
            shape, training, tokens, on_gpu=False
        )
        return (states + held) * memory.FRAGMENTATION / memory.GIB + memory.OVERHEAD_GIB

    assert olympic_coder(20_000) < devices()["h100"].memory_gib < olympic_coder(S32K)


def test_full_fine_tuning_of_70b_needs_many_gpus_and_7b_few() -> None:
    assert memory.gpus_needed(student("llama-3.3-70b"), devices()["h100"]) in (32, 64)
    assert memory.gpus_needed(student("qwen2.5-math-7b"), devices()["h100"]) in (2, 4)
    assert memory.gpus_needed(student("tiny-qwen2"), devices()["t4"]) == 1


def test_lora_needs_less_memory_and_keeps_its_logits_whole() -> None:
    full, lora = student("qwen2.5-7b"), student("qwen2.5-7b", "training.lora_rank=16")
    assert memory.training_memory(lora, 1).states < memory.training_memory(full, 1).states / 5
    assert memory.training_memory(lora, 1).logits > 10 * memory.training_memory(full, 1).logits
    assert (
        memory.training_memory(
            student("qwen2.5-7b", "training.lora_rank=16", "training.liger=true"), 1
        ).logits
        < 2
    )


@pytest.mark.parametrize("name", load.names("students"))
@pytest.mark.parametrize("gpu", ["h100", "rtx4090", "cpu"])
def test_every_student_has_a_plan_with_ordered_bands(name: str, gpu: str) -> None:
    chosen = student(name)
    made = plan.plan(chosen, dataset(chosen.dataset), gpu, 8)
    for estimate in made.estimates:
        assert 0 <= estimate.value.low <= estimate.value.likely <= estimate.value.high, estimate.name
        assert estimate.formula
    memory_band = made.of("training memory")
    assert made.fits == (memory_band.likely <= made.device.memory_gib)


def test_more_gpus_take_less_time_and_less_memory_each_but_not_less_money() -> None:
    chosen, problems = student("qwen2.5-32b"), dataset("r1-800k")
    few, many = plan.plan(chosen, problems, "h100", 16), plan.plan(chosen, problems, "h100", 64)
    assert few.of("training hours").likely == pytest.approx(4 * many.of("training hours").likely)
    assert few.of("training memory").likely > many.of("training memory").likely
    assert few.of("training money").likely == pytest.approx(many.of("training money").likely)


def test_a_plan_without_a_number_of_gpus_takes_the_fewest_that_fit() -> None:
    made = plan.plan(student("qwen2.5-14b"), dataset("r1-800k"), "h100")
    assert made.fits
    assert not plan.plan(student("qwen2.5-14b"), dataset("r1-800k"), "h100", made.gpus // 2).fits


def test_api_prices_replace_gpu_hours_and_replayed_traces_cost_nothing() -> None:
    chosen = student("qwen2.5-0.5b")
    priced = plan.plan(chosen, dataset("gsm8k", "teacher.completion_usd_per_million=2.0"), "h100", 1)
    assert priced.of("sampling money").likely == pytest.approx(priced.of("sampled tokens").likely * 2e-6)
    names = {estimate.name for estimate in plan.plan(chosen, dataset("replay-gsm8k"), "h100", 1).estimates}
    assert not names & {"sampling money", "sampling hours", "sampled tokens"}


def test_the_table_shows_every_estimate_with_its_formula() -> None:
    made = plan.plan(student("qwen2.5-math-7b"), dataset("r1-800k"), "h100", 8)
    shown = plan.table(made)
    assert all(estimate.name in shown and estimate.formula in shown for estimate in made.estimates)
    assert "8 x h100" in shown and shown.splitlines()[-1] == made.advice


def test_r1_itself_does_not_fit_on_eight_gpus_of_80_gb(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 79.6)] * 8)
    (tmp_path / "python").touch()
    monkeypatch.setenv("DISTILL_VLLM_PYTHON", str(tmp_path / "python"))
    local = dataset("openr1-math", "teacher.engine=vllm", "teacher.tensor_parallel=8")
    with pytest.raises(plan.CannotRun, match=r"DeepSeek-R1 needs 78\.\d GiB on each GPU"):
        plan.preflight(with_base(tmp_path, "qwen2.5-7b"), local)
    assert "9 x h100 or more" in plan.table(
        plan.plan(student("qwen2.5-7b"), dataset("openr1-math"), "h100", 8)
    )


def test_an_unknown_gpu_is_a_recipe_error_that_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="h100"):
        plan.plan(student("qwen2.5-7b"), dataset("gsm8k"), "h1000")


def test_the_tiny_student_passes_preflight_on_a_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "gpus", list)
    plan.preflight(with_base(tmp_path, "tiny-qwen2"), with_teacher(tmp_path))


@pytest.mark.parametrize("name", ["qwen2.5-7b", "qwen2.5-math-7b", "llama-3.3-70b", "qwen2.5-0.5b"])
def test_a_real_student_is_refused_on_a_processor_within_a_second(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "gpus", list)
    monkeypatch.setattr(hardware, "this_cpu", lambda: Device("cpu", 24.0, 0.2, 20.0, 0.0))
    chosen = student(name)
    started = time.monotonic()
    with pytest.raises(
        plan.CannotRun,
        match=rf"no GPU.*h100.*distill plan --student {name} --gpu h100 --gpus \d+.*make distill",
    ):
        plan.preflight(chosen, dataset(chosen.dataset))
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("name", "gpu", "count", "refused"),
    [
        ("qwen2.5-7b", Gpu("NVIDIA GeForce RTX 4090", 24.0), 2, "24 GiB"),
        ("qwen2.5-7b", Gpu("NVIDIA H100 80GB HBM3", 79.6), 8, None),
        ("llama-3.3-70b", Gpu("NVIDIA H100 80GB HBM3", 79.6), 8, "8 x h100"),
        ("qwen2.5-1.5b", Gpu("NVIDIA A100-SXM4-80GB", 80.0), 1, None),
        ("qwen2.5-7b", Gpu("NVIDIA H100 80GB HBM3", 79.6), 6, "no multiple of 6 GPUs"),
        ("tiny-qwen2", Gpu("NVIDIA H100 80GB HBM3", 79.6), 2, "training.device_batch_size"),
    ],
)
def test_preflight_compares_with_the_gpus_that_are_there(
    name: str, gpu: Gpu, count: int, refused: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: [gpu] * count)
    chosen = with_base(tmp_path, name, "evaluation.engine=transformers")
    check = dataset("gsm8k")
    if refused is None:
        plan.preflight(chosen, check)
    else:
        with pytest.raises(plan.CannotRun, match=refused):
            plan.preflight(chosen, check)


@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        (("teacher.engine=transformers", "teacher.model=Qwen/QwQ-32B"), "weights and one sequence"),
        (("teacher.engine=transformers", "teacher.model=org/Some-Model-70B"), "weights and one sequence"),
        (("teacher.engine=transformers", "teacher.model=Qwen/Qwen2.5-1.5B"), "hours"),
        (("teacher.engine=transformers", "teacher.model=data/models/nobody"), "no folder data/models/nobody"),
        (("teacher.engine=replay", "teacher.model=nothing.jsonl"), "nothing.jsonl to replay"),
        (
            ("teacher.engine=server", "teacher.api_key_env=DISTILL_TEST_NO_SUCH_KEY"),
            "DISTILL_TEST_NO_SUCH_KEY",
        ),
        (("teacher.engine=vllm", "teacher.model=Qwen/Qwen2.5-0.5B"), "no vllm environment"),
    ],
)
def test_a_teacher_that_cannot_be_asked_is_refused(
    overrides: tuple[str, ...], cause: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "gpus", list)
    monkeypatch.setattr(hardware, "this_cpu", lambda: Device("cpu", 24.0, 0.2, 20.0, 0.0))
    monkeypatch.setenv("DISTILL_VLLM_PYTHON", str(tmp_path / "no-python"))
    with pytest.raises(plan.CannotRun, match=cause):
        plan.preflight(with_base(tmp_path, "tiny-qwen2"), dataset("gsm8k", *overrides))


def test_a_missing_base_folder_and_a_missing_serving_environment_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "gpus", list)
    monkeypatch.setenv("DISTILL_VLLM_PYTHON", str(tmp_path / "no-python"))
    with pytest.raises(plan.CannotRun, match="data/models/nobody"):
        plan.preflight(student("tiny-qwen2", "base.model=data/models/nobody"), dataset("tiny"))
    with pytest.raises(plan.CannotRun, match=r"evaluation\.engine is vllm.*DISTILL_VLLM_PYTHON"):
        plan.preflight(with_base(tmp_path, "tiny-qwen2", "evaluation.engine=vllm"), dataset("gsm8k"))


def test_preflight_looks_at_the_chat_template(tmp_path: Path) -> None:
    chosen = student("tiny-qwen2", f"base.chat_template={tmp_path}/none.jinja")
    with pytest.raises(RecipeError, match=r"none\.jinja cannot be read"):
        plan.preflight(chosen, dataset("tiny"))


def test_a_missing_problem_file_is_a_recipe_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hardware, "gpus", list)
    file = tmp_path / "nothing.toml"
    file.write_text(
        'description = "d"\nproblems = [{name = "p", path = "no/such.jsonl"}]\nteacher = {model = "m"}\n',
        encoding="utf-8",
    )
    with pytest.raises(RecipeError, match=r"no/such\.jsonl"):
        plan.preflight(with_base(tmp_path, "tiny-qwen2"), dataset(str(file)))


def test_gpus_are_read_from_the_listing_and_their_visibility() -> None:
    listing = "0, GPU-aa11, NVIDIA H100 80GB HBM3, 81559\n1, GPU-bb22, NVIDIA H100 80GB HBM3, 81559\n"
    assert [gpu.name for gpu in hardware.read_listing(listing, None)] == ["NVIDIA H100 80GB HBM3"] * 2
    assert len(hardware.read_listing(listing, "1")) == len(hardware.read_listing(listing, "GPU-bb")) == 1
    assert hardware.read_listing(listing, "") == hardware.read_listing("No devices were found\n", None) == []
    assert hardware.device_of(hardware.read_listing(listing, "0")[0]).tflops == devices()["h100"].tflops
    assert hardware.device_of(Gpu("NVIDIA A100-SXM4-40GB", 40.0)).memory_gib == 40.0
    assert hardware.device_of(Gpu("NVIDIA GeForce RTX 4090", 24.0)).name == "rtx4090"
    assert hardware.device_of(Gpu("Some Card", 12.0)).memory_gib == 12.0


def test_this_machine_has_memory_and_cores() -> None:
    assert hardware.ram_gib() > 0.5 and hardware.cores() >= 1


def with_base(folder: Path, name: str, *overrides: str) -> StudentRecipe:
    """A student whose base is a folder that exists, when its recipe names a folder."""
    chosen = student(name, *overrides)
    if not shapes.is_path(chosen.base.model):
        return chosen
    (folder / "base").mkdir(exist_ok=True)
    return student(name, *overrides, f'base.model="{folder / "base"}"')


def with_teacher(folder: Path) -> DatasetRecipe:
    """The tiny dataset with a teacher folder that exists."""
    (folder / "teacher").mkdir(exist_ok=True)
    return dataset("tiny", f'teacher.model="{folder / "teacher"}"')


def test_ready_responses_are_traces_that_no_teacher_writes(tmp_path: Path) -> None:
    rows = tmp_path / "essays.jsonl"
    rows.write_text('{"prompt": "Greet me.", "said": "Hello."}\n' * 100, encoding="utf-8")
    chosen, asked = student("qwen2.5-0.5b"), dataset("gsm8k")
    essays = asked.problems[0].model_copy(
        update={"name": "essays", "path": str(rows), "kind": "open", "response": "said", "limit": None}
    )
    both = asked.model_copy(update={"problems": (*asked.problems, essays)})
    before, after = plan.plan(chosen, asked, "h100", 1), plan.plan(chosen, both, "h100", 1)
    assert after.of("sampled tokens") == before.of("sampled tokens")
    assert after.of("traces").likely == before.of("traces").likely + 100
    assert after.of("examples") == before.of("examples"), (
        "open problems are not kept unless the recipe says so"
    )
    selection = both.curation.selection.model_copy(update={"keep_unverified": ("open",)})
    trusting = both.model_copy(update={"curation": both.curation.model_copy(update={"selection": selection})})
    assert plan.plan(chosen, trusting, "h100", 1).of("examples").likely == pytest.approx(
        before.of("examples").likely + 95
    )
    alone = plan.plan(chosen, both.model_copy(update={"problems": (essays,)}), "h100", 1)
    assert not {"sampled tokens", "sampling hours", "sampling money"} & {
        estimate.name for estimate in alone.estimates
    }
