"""What all flows and tasks have in common: paid completions, where tasks run, and which runs are dead.

- `DISTILL_RUNNER` is `processes` (default), `threads`, `ray` or `dask`. The cluster's address comes from
  Ray's or Dask's own variable; without one, a cluster on this machine lives as long as the flow. A cluster
  elsewhere needs this package and its settings on every machine, a store that all of them see (a shared
  folder or `s3://`, with credentials of their own: keys are not handed over), and a Prefect server that they
  reach (`PREFECT_API_URL`). How many tasks run at once there is the cluster's affair.
- A process that is killed cannot say so. Runs that were started from the command line carry the name of their
  process, and the next command marks those whose process is gone as crashed. Runs of `distill serve` send
  heartbeats, and an automation of the server does the same when they stop. Neither touches data: what a dead
  run has finished is reused, and its locks went with it.
"""

import importlib.util
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import get_client, tags
from prefect.automations import Automation
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.runtime import flow_run
from prefect.states import Crashed
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

import flows
from distill.engines import Completions
from distill.store import Folder, StoreError, folders, paths, slug

TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
FLOW: dict[str, Any] = {"persist_result": False}
VARIABLE = "DISTILL_RUNNER"
RAY_ADDRESS = "RAY_ADDRESS"
DASK_ADDRESS = "DASK_SCHEDULER_ADDRESS"
KILLED = ("BrokenProcessPool", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "KilledWorker")
"""What a pool of processes, Ray and Dask raise when a worker has died in the middle of a task, Ray and Dask
after three more tries."""
HEARTBEAT_SECONDS = 30
SILENCE = timedelta(seconds=5 * HEARTBEAT_SECONDS)
AUTOMATION = "distill: mark runs without heartbeat as crashed"
ALIVE = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
LOOKED_AT = 200


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


@contextmanager
def completions_of(folder: Folder) -> Iterator[Completions]:
    """The completions of a folder, on this machine even when the store is elsewhere, shared with other runs.

    Journals in which an older version kept completions of the same settings are taken over, and stay.
    """
    root = folders.LOCAL if paths.is_elsewhere(folder.path) else Path(folders.ROOT)
    path = root / folder.stage / folder.path.rsplit("/", 1)[1]
    folder.keep_key(str(path))
    with Completions(path / "completions.sqlite") as found:
        for key in sorted((root / folder.stage.replace("completions", "journals")).glob("*/key.json")):
            former = _read(key) or {}
            if {name: former[name] for name in former if name not in ("problems", "order")} == folder.key:
                found.budgets(_read(key.with_name("budgets.json")) or ())
                for journal in sorted(key.parent.glob("*.journal")):
                    found.adopt(journal)
        yield found


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


def tag() -> str:
    """The tag of flow runs of this process."""
    return f"process:{socket.gethostname()}:{os.getpid()}"


@contextmanager
def marked() -> Iterator[None]:
    """Gives the current flow run, and those that it starts, the name of this process: a scheduled run does
    not have it yet."""
    if tag() not in flow_run.tags:
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, tags=[*flow_run.tags, tag()])
    with tags(tag()):
        yield


def bury() -> int:
    """Marks the running flow runs of dead processes of this machine as crashed, and returns how many there
    were."""
    running = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    )
    buried = 0
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=running, limit=LOOKED_AT):
            if any(_dead(name) for name in run.tags):
                client.set_flow_run_state(run.id, Crashed(message="its process is gone"), force=True)
                buried += 1
    return buried


def watch() -> None:
    """Creates the automation that marks served runs without a heartbeat as crashed, unless the server has
    it."""
    if not _has_automation():
        _automation().create()


def _dead(name: str) -> bool:
    """True for a process tag of this machine whose process does not exist."""
    kind, _, rest = name.partition(":")
    host, _, pid = rest.rpartition(":")
    if kind != "process" or host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _has_automation() -> bool:
    try:
        found: Any = Automation.read(name=AUTOMATION)
    except ValueError:
        return False
    return found is not None


def _automation() -> Automation:
    return Automation(
        name=AUTOMATION,
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            after={ALIVE},
            expect={ALIVE, *(f"prefect.flow-run.{end}" for end in ENDS)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: its process is gone")],
    )


def _read(path: Path) -> Any:
    """What a JSON file holds; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
