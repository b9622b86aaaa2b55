import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from flows import server
from flows.server import healthy

PROJECT = Path(__file__).parents[2]
PARENT = """
import time
from flows import server

with server.started("127.0.0.1", 0, {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"}) as own:
    own.wait()
    print(own.url, own._child.process.pid, flush=True)
    own._child.process.kill()
    own._child.process.wait()
    time.sleep(0.5)
    print(own._child.process.pid, flush=True)
    time.sleep(600)
"""


def becomes(state: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not state() and time.monotonic() < deadline:
        time.sleep(0.1)
    return state()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2]
        if Path("/proc").is_dir()
        else True
    )


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_dies_is_started_again_and_ends_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        url, first = parent.stdout.readline().split()
        second = int(parent.stdout.readline())
        assert second != int(first)
        assert becomes(lambda: healthy(url), 60)
        parent.send_signal(signal.SIGKILL)
    assert becomes(lambda: not alive(second), 15)


def test_a_served_address_that_does_not_answer_is_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert server.served() is None
    server.address_file().write_text("http://127.0.0.1:9/api", encoding="utf-8")
    assert server.served() is None


def test_the_versions_that_prefect_works_with_are_installed() -> None:
    """Newer ones install, and pass `pip check`: Prefect 3.8.8 dies with fastapi 0.151, and never schedules
    with sqlalchemy 2.1."""
    versions = {
        name: tuple(int(part) for part in metadata.version(name).split(".")[:2])
        for name in ("fastapi", "sqlalchemy")
    }
    assert versions["fastapi"] < (0, 151)
    assert versions["sqlalchemy"] < (2, 1)
