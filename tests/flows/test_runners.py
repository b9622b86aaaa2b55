"""Every runner runs the same tasks to the same bytes; Ray and Dask are tried where they are installed."""

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import flows  # noqa: F401  it sets what Prefect reads when it is imported

# isort: split

import pytest
from prefect import flow, task

from distill.records import Problem
from distill.store import checked, folders, list_shards, shards
from flows import runners

KINDS = [
    "threads",
    "processes",
    *(
        pytest.param(
            kind,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(module) is None, reason=f"{module} is not installed"
            ),
        )
        for kind, module in (("ray", "prefect_ray"), ("dask", "prefect_dask"))
    ),
]
SHARDS = 12

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)


@task(name="copy-shard", **runners.TASK)
def copy_shard(source: str, target: str) -> dict[str, Any]:
    """Copies a shard and says where it was done."""
    rows = shards.write(Problem, checked.read(Problem, source), target)
    return {
        "rows": rows,
        "process": os.getpid(),
        "store": os.environ.get("DISTILL_STORE"),
        "home": os.environ.get("PREFECT_HOME"),
    }


@task(name="die-once", **runners.TASK)
def die_once(mark: str, target: str) -> int:
    """Is killed the first time, and writes a shard the next."""
    if not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return shards.write(Problem, [], target)


@flow(name="copies", **runners.FLOW)
def copies(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """One task a shard."""
    return [runners.result(future) for future in [copy_shard.submit(*pair) for pair in pairs]]


@flow(name="deaths", **runners.FLOW)
def deaths(mark: str, target: str) -> int:
    """One task that dies."""
    return int(runners.result(die_once.submit(mark, target)))


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_the_same_bytes_wherever_they_are_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    monkeypatch.setenv(runners.VARIABLE, kind)
    for number in range(SHARDS):
        shards.write(
            Problem,
            [Problem(f"{number}-{row}", "s", "math", "q", None) for row in range(50)],
            f"{tmp_path}/{number:05}.parquet",
        )
    pairs = [(path, path.replace(".parquet", ".copy")) for path in list_shards(str(tmp_path))]
    done = copies.with_options(task_runner=runners.runner(2))(pairs)
    assert all(Path(source).read_bytes() == Path(target).read_bytes() for source, target in pairs)
    assert {report["store"] for report in done} == {folders.ROOT}
    assert {report["home"] for report in done} == {os.environ["PREFECT_HOME"]}
    assert ({report["process"] for report in done} == {os.getpid()}) == (kind == "threads")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_killed_worker_costs_at_most_one_more_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    monkeypatch.setenv(runners.VARIABLE, kind)
    mark, target = str(tmp_path / "mark"), str(tmp_path / "0.parquet")
    run = deaths.with_options(task_runner=runners.runner(1))
    if kind == "processes":  # clusters try again by themselves
        with pytest.raises(runners.CannotRun, match="was killed"):
            run(mark, target)
    assert run(mark, target) == 0
    assert shards.count(target) == 0


def test_a_runner_that_is_not_known_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runners.VARIABLE, "spark")
    with pytest.raises(
        runners.CannotRun, match="spark is not known; set it to processes, threads, ray or dask"
    ):
        runners.runner()


@pytest.mark.parametrize(("kind", "module"), [("ray", "prefect_ray"), ("dask", "prefect_dask")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    monkeypatch.setenv(runners.VARIABLE, kind)
    with pytest.raises(runners.CannotRun, match=rf"pip install -e '.\[{kind}\]'"):
        runners.runner()


def test_no_secret_is_handed_to_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "canary")
    assert "canary" not in str(runners._environment())
