"""Prefect's server as a child process: `python -m flows.server_process SOCKET`.

The parent keeps the listening socket, so no port is raced for, and a server that dies is started again while
requests wait in the socket's queue. The child ends when its parent does, however that ends. Its log lies in
`PREFECT_HOME`.
"""

import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill import workers
from distill.workers import Child

START_SECONDS = 180.0
STOP_SECONDS = 10.0
MOST_RESTARTS = 5
LOG_BYTES = 4 << 20
COME_BACK_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 20.0)


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
        command = [sys.executable, "-m", "flows.server_process", str(descriptor)]
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
