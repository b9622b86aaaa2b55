"""The Prefect server that flows report to: one that runs already, or a temporary one for this process.

A server is looked for in `PREFECT_API_URL`, then in the file that `distill serve` leaves in `PREFECT_HOME`. Otherwise
a temporary server is started on a free loopback port; its log lies in `PREFECT_HOME`, and it ends with this process,
however that ends. (Prefect's own temporary server prints some 150 lines at exit and outlives a killed process.)
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import flows

START_SECONDS = 180.0
STOP_SECONDS = 10.0
FLUSH_SECONDS = 5.0
LOG_BYTES = 4 << 20
TEMPORARY = {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class ServerError(RuntimeError):
    """Prefect's server cannot be reached or started; the message says what to look at."""


@contextmanager
def running() -> Iterator[str]:
    """The API address of a server for this process, in `PREFECT_API_URL` while the block lasts."""
    given = os.environ.get("PREFECT_API_URL")
    url = given or served()
    if given and not healthy(given):
        raise ServerError(f"no Prefect server answers at {given}; start it, or unset PREFECT_API_URL to run without one")
    if url:
        with address(url):
            yield url
        return
    with started("127.0.0.1", 0, TEMPORARY) as url, address(url):
        yield url


def served() -> str | None:
    """The address that `distill serve` has left in `PREFECT_HOME`, if its server answers."""
    file = address_file()
    url = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return url if url and healthy(url) else None


def address_file() -> Path:
    """Where `distill serve` leaves its server's address."""
    return Path(os.environ["PREFECT_HOME"]) / "served.url"


def healthy(url: str, timeout_seconds: float = 5.0) -> bool:
    """True when a Prefect server answers at an API address."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout_seconds) as reply:  # noqa: S310 (the user's own)
            return bool(reply.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


@contextmanager
def address(url: str) -> Iterator[None]:
    """Points Prefect in this process and its children at a server, and keeps its run logs off the terminal."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url
    from prefect import tags
    from prefect.exceptions import TerminationSignal
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows import zombies

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).propagate = False  # they keep their own handler, which sends to the server
    try:
        with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), tags(zombies.tag()):
            zombies.bury()
            yield
    except TerminationSignal:
        sys.exit(128 + signal.SIGTERM)  # Prefect's own handler turns the signal into this exception inside a flow
    finally:
        flush()
        if before is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = before


def flush() -> None:
    """Sends what Prefect still holds back: at exit, with the server gone, it would try for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=FLUSH_SECONDS)
    APILogWorker.drain_all(timeout=FLUSH_SECONDS)


@contextmanager
def started(host: str, port: int, environment: dict[str, str]) -> Iterator[str]:
    """Starts a server in a child process that inherits a listening socket: no port is raced for, and port 0 takes a free one."""
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    mode = "wb" if log.exists() and log.stat().st_size > LOG_BYTES else "ab"
    with _listening(host, port) as listener, log.open(mode) as output:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}/api"
        descriptor = listener.fileno()
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(descriptor), str(os.getpid())],
            env={**os.environ, "PREFECT_UI_API_URL": url, **environment, "PYTHONPATH": _python_path()},
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(child, url, log)
        yield url
    finally:
        stop(child)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServerError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error


def _wait(child: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Waits for the first answer of a server that starts."""
    deadline = time.monotonic() + START_SECONDS
    while not healthy(url, 2.0):
        if child.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"Prefect's temporary server did not start; see {log}")
        time.sleep(0.05)


def stop(child: "subprocess.Popen[bytes]") -> None:
    """Ends a server process that this one has started."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _python_path() -> str:
    parts = (str(Path(flows.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    return os.pathsep.join(part for part in parts if part)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone, also when that was killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """The child process: serves Prefect's API on an inherited socket until its parent is gone."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")).run(sockets=[listener])


if __name__ == "__main__":
    main()
