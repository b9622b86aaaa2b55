"""What all flows and tasks have in common, and where tasks that keep one core busy each are run: processes or
threads of this machine, or a Ray or Dask cluster.

`DISTILL_RUNNER` is `processes` (default), `threads`, `ray` or `dask`. The cluster's address comes from Ray's
or Dask's own variable; without one, a cluster on this machine lives as long as the flow. A cluster elsewhere
needs this package and its settings on every machine, a store that all of them see (a shared folder or
`s3://`, with credentials of their own: keys are not handed over), and a Prefect server that they reach
(`PREFECT_API_URL`). How many tasks run at once there is the cluster's affair.
"""

import importlib.util
import os
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

import flows
from distill.store import StoreError, folders, slug

TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
FLOW: dict[str, Any] = {"persist_result": False}
VARIABLE = "DISTILL_RUNNER"
RAY_ADDRESS = "RAY_ADDRESS"
DASK_ADDRESS = "DASK_SCHEDULER_ADDRESS"
KILLED = ("BrokenProcessPool", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "KilledWorker")
"""What a pool of processes, Ray and Dask raise when a worker has died in the middle of a task, Ray and Dask
after three more tries."""


class CannotRun(StoreError):
    """The runner that was asked for cannot be had; the message says what to do."""


def runner(workers: int | None = None) -> Any:
    """A new task runner for at most so many tasks at once (default: one a core); raises CannotRun with the
    remedy."""
    wanted = os.environ.get(VARIABLE, "processes")
    match wanted:
        case "processes":
            return ProcessPoolTaskRunner(max_workers=workers)
        case "threads":
            return ThreadPoolTaskRunner(max_workers=workers or os.cpu_count() or 1)
        case "ray":
            return _ray(workers)
        case "dask":
            return _dask(workers)
    raise CannotRun(f"{VARIABLE}={wanted} is not known; set it to processes, threads, ray or dask")


def result(future: Any) -> Any:
    """What a submitted task returns; raises CannotRun when its worker was killed."""
    try:
        return future.result()
    except Exception as error:  # told by name: Ray and Dask may not be there to import
        if type(error).__name__ not in KILLED:
            raise
        raise CannotRun(
            "a worker was killed in the middle of a shard, most often because memory ran out: "
            "run the same command again, which goes on from the shards that are there, with "
            f"{VARIABLE}=threads if memory is short"
        ) from error


def artifact(key: str, markdown: str, description: str) -> None:
    """Puts a Markdown table on the page of the flow run."""
    from prefect.artifacts import create_markdown_artifact

    named = slug(key).lower().replace(".", "-").replace("_", "-")
    create_markdown_artifact(key=named, markdown=markdown, description=description)


def _ray(workers: int | None) -> Any:
    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # before the import: Ray reports to its makers otherwise
    _require("ray", "prefect_ray")
    from prefect_ray import RayTaskRunner

    settings = {
        "runtime_env": {"env_vars": _environment()},
        "log_to_driver": False,
        "logging_level": "warning",
    }
    address = os.environ.get(RAY_ADDRESS)
    if address is not None:
        return RayTaskRunner(address=address, init_kwargs=settings)
    os.environ.setdefault(
        "RAY_AUTH_MODE", "token"
    )  # its default, of which it warns when nobody has asked for it
    here = settings | {"num_cpus": workers, "include_dashboard": False}
    return RayTaskRunner(
        address="local", init_kwargs=here
    )  # without it Ray joins whatever cluster was last started here


def _dask(workers: int | None) -> Any:
    _require("dask", "prefect_dask")
    from prefect_dask import DaskTaskRunner

    address = os.environ.get(DASK_ADDRESS)
    if address is not None:
        return DaskTaskRunner(address=address)
    here = {
        "n_workers": workers or os.cpu_count(),
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "env": _environment(),
    }
    return DaskTaskRunner(cluster_kwargs=here)


def _environment() -> dict[str, str]:
    """What a worker's environment has to say before Prefect is imported there: no secrets, because clusters
    show it."""
    values = {name: os.environ.get(name) for name in (*flows.ENVIRONMENT, "PREFECT_API_URL")}
    return {name: value for name, value in values.items() if value is not None} | {
        "DISTILL_STORE": folders.ROOT
    }


def _require(extra: str, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise CannotRun(
            f"{VARIABLE}={extra} needs packages that are not installed: run `.venv/bin/pip install -e "
            f"'.[{extra}]'`"
        )
