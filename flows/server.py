"""The Prefect server that flows report to: one that runs already, or a temporary one for this process.

- A server is looked for in `PREFECT_API_URL`, then in the file that `distill serve` leaves in `PREFECT_HOME`.
  Otherwise a child process is started, `python -m flows.server SOCKET`, which ends when its parent does.
  (Prefect's own temporary server prints some 150 lines at exit and outlives a killed process.)
- The parent keeps the listening socket, so no port is raced for. A server that dies is started again, while
  requests wait in the socket's queue. Its log lies in `PREFECT_HOME`.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill import workers
from distill.workers import Child

FLUSH_SECONDS = 5.0
START_SECONDS = 180.0
STOP_SECONDS = 10.0
MOST_RESTARTS = 5
LOG_BYTES = 4 << 20
COME_BACK_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 20.0)
TEMPORARY = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    # nobody looks at its events, and it halves the time of a flow
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
}


class ServerError(RuntimeError):
    """Prefect's server cannot be reached or started; the message says what to look at."""


def healthy(url: str, timeout_seconds: float = 5.0) -> bool:
    """True when a Prefect server answers at an API address."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout_seconds) as reply:  # noqa: S310 (the user's own)
            return bool(reply.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


@contextmanager
def running() -> Iterator[str]:
    """The API address of a server for this process, in `PREFECT_API_URL` while the block lasts."""
    given = os.environ.get("PREFECT_API_URL")
    if given and not healthy(given):
        raise ServerError(
            f"no Prefect server answers at {given}; start it, or unset PREFECT_API_URL to run without one"
        )
    if url := given or served():
        with address(url):
            yield url
        return
    with started("127.0.0.1", 0, TEMPORARY) as server, address(server.url, server.wait):
        yield server.url


def served() -> str | None:
    """The address that `distill serve` has left in `PREFECT_HOME`, if its server answers."""
    file = address_file()
    url = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return url if url and healthy(url) else None


def address_file() -> Path:
    """Where `distill serve` leaves its server's address."""
    return Path(os.environ["PREFECT_HOME"]) / "served.url"


@contextmanager
def address(url: str, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Points Prefect in this process and its children at a server, and keeps its run logs off the terminal.

    Prefect is imported here, while a server that has just been started gets ready; `wait` returns when it is.
    """
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    import httpx
    from prefect import tags
    from prefect.exceptions import TerminationSignal
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows import runners

    if wait is not None:
        wait()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).propagate = False  # they keep their own handler, which sends to the server
    try:
        with (
            temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
            tags(runners.tag()),
        ):
            runners.bury()
            yield
    except TerminationSignal:
        sys.exit(
            128 + signal.SIGTERM
        )  # Prefect's own handler turns the signal into this exception inside a flow
    except httpx.HTTPStatusError as error:
        remedy = (
            "set PREFECT_API_AUTH_STRING=user:password"
            if error.response.status_code == 401
            else "see its log"
        )
        raise ServerError(
            f"Prefect's server at {url} refused a request ({error.response.status_code}): {remedy}"
        ) from error
    except httpx.TransportError as error:
        cause = f"Prefect's server at {url} does not answer ({error})"
        raise ServerError(f"{cause}; everything finished is kept: run the same command again") from error
    finally:
        flush()
        if before is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = before


def flush() -> None:
    """Sends what Prefect still holds back: with its server gone, it would try at exit for minutes."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=FLUSH_SECONDS)
    APILogWorker.drain_all(timeout=FLUSH_SECONDS)


@contextmanager
def started(host: str, port: int, environment: dict[str, str]) -> Iterator["Supervised"]:
    """A server that starts, and lasts as long as the block; port 0 takes a free one."""
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        server = Supervised(listener, f"http://{name}:{listener.getsockname()[1]}/api", environment)
        try:
            yield server
        finally:
            server.stop()


class Supervised:
    """A server process that is started again when it dies."""

    def __init__(self, listener: socket.socket, url: str, environment: dict[str, str]) -> None:
        self.url = url
        """The address of its API."""
        self._listener = listener
        self._environment = {"PREFECT_UI_API_URL": url, **environment}
        self._stopping = threading.Event()
        self.log = Path(os.environ["PREFECT_HOME"]) / "server.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.unlink()
        self._child = self._spawned()
        self._watcher = threading.Thread(target=self._watch, name="distill-prefect-server", daemon=True)
        self._watcher.start()

    def wait(self) -> None:
        """Waits for the first answer; raises ServerError when it does not come."""
        deadline = time.monotonic() + START_SECONDS
        while not healthy(self.url, 2.0):
            if not self._watcher.is_alive() or time.monotonic() > deadline:
                raise ServerError(f"Prefect's server did not start; see {self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server and its watcher."""
        self._stopping.set()
        while self._watcher.is_alive():  # it may be starting a server anew
            child = self._child
            child.process.terminate()
            child.close(STOP_SECONDS)
            self._watcher.join(1.0)

    def _watch(self) -> None:
        for _ in range(1 + MOST_RESTARTS):
            self._child.process.wait()
            self._child.kill()
            if self._stopping.is_set():
                return
            self._child = self._spawned()

    def _spawned(self) -> Child:
        descriptor = self._listener.fileno()
        command = [sys.executable, "-m", "flows.server", str(descriptor)]
        told = {**workers.environment(), **self._environment}
        return Child(command, told, log=self.log, speaks=False, descriptors=[descriptor])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port"
        ) from error


class Impatient:
    """Tells clients to come back soon after a 503, which is a race between two writers of SQLite: they would
    wait for 2 s."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._refusals = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes a request on; a 503 gets a `Retry-After` that grows with their number since the last write
        that went well."""

        async def hastened(message: Any) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 503:
                    wait = COME_BACK_SECONDS[min(self._refusals, len(COME_BACK_SECONDS) - 1)]
                    message["headers"] = [*message.get("headers", ()), (b"retry-after", str(wait).encode())]
                    self._refusals += 1
                elif message["status"] == 201:
                    self._refusals = 0
            await send(message)

        await self._app(scope, receive, hastened if scope["type"] == "http" else send)


def main() -> None:
    """Serves Prefect's API on an inherited socket until the parent is gone."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    workers.end_with_parent(STOP_SECONDS)
    import uvicorn
    from prefect.server.api.server import create_app

    app = Impatient(create_app())
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listener])


if __name__ == "__main__":
    main()
