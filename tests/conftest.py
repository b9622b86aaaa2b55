"""What all tests share: a store of their own, and one Prefect server for those that run flows."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["DISTILL_STORE"] = tempfile.mkdtemp(prefix="distill-tests-")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
SLOW = ("train", "flows", "engines")
"""Folders whose files take longest: they begin first, so that no process has a long file left at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow folders first; the order within a file stays."""
    items.sort(key=lambda item: SLOW.index(name) if (name := item.path.parent.name) in SLOW else len(SLOW))


@pytest.fixture(scope="session", autouse=True)
def own_store() -> Iterator[str]:
    """The folder that tests use as the store, removed at the end."""
    yield os.environ["DISTILL_STORE"]
    shutil.rmtree(os.environ["DISTILL_STORE"], ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_server(own_store: str) -> Iterator[str]:
    """The address of a Prefect server; it takes ten seconds to start, so there is one."""
    from flows import server

    with server.running() as url:
        yield url


@pytest.fixture(scope="session")
def judge_url() -> Iterator[str]:
    """The address of a server that plays a judge; `/log` beside `/v1` tells what it was asked."""
    server = [sys.executable, str(Path(__file__).parent.joinpath("servers", "judge_server.py"))]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.kill()
