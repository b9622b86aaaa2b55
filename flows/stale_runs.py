"""Flow runs whose process is dead but which Prefect still calls running.

A process that is killed cannot say so. Runs that were started from the command line carry the name of their
process, and the next command marks those whose process is gone as crashed. Runs of `distill serve` send
heartbeats, and an automation of the server does the same when they stop. Neither touches data: what a dead
run has finished is reused, and its locks went with it.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from prefect import get_client, tags
from prefect.automations import Automation
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.runtime import flow_run
from prefect.states import Crashed

HEARTBEAT_SECONDS = 30
SILENCE = timedelta(seconds=5 * HEARTBEAT_SECONDS)
AUTOMATION = "distill: mark runs without heartbeat as crashed"
ALIVE = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
LOOKED_AT = 200


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
