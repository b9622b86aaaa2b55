"""The Prefect server that flows report to: one that runs already, or a temporary one for this process.

A server is looked for in `PREFECT_API_URL`, then in the file that `distill serve` leaves in `PREFECT_HOME`;
otherwise one is started on a free loopback port and ends with this process. (Prefect's own temporary server
prints some 150 lines at exit and outlives a killed process.)
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.server_process import ServerError, healthy, started

FLUSH_SECONDS = 5.0
TEMPORARY = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    # nobody looks at its events, and it halves the time of a flow
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
}


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

    from flows import stale_runs

    if wait is not None:
        wait()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).propagate = False  # they keep their own handler, which sends to the server
    try:
        with (
            temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
            tags(stale_runs.tag()),
        ):
            stale_runs.bury()
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
