"""The viewer finds rows by every filter, shows siblings, and nothing of a text does anything."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from distill.evaluate.viewer import KEPT, Rows, application
from distill.records import Candidate, Measures, Span
from distill.store import NotMade, catalogue, shards
from tests.evaluate.test_evaluate import candidate
from tests.evaluate.test_page import EVIL, Parts


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Two shards: six problems with two rows each, one of them hostile."""
    rows = []
    for problem in range(6):
        for sample, outcome in enumerate(("correct", "wrong")):
            row = candidate(problem, outcome, source="a" if problem < 4 else "b", tokens=10 * problem)
            trace = replace(
                row.trace, id=f"{problem}-{sample}", answer=EVIL if problem == 5 else f"Answer {problem}"
            )
            span = Span("thinking", 0, 5, "zh", 2.0, "First")
            measures = Measures(pass_rate=0.5, language_spans=[span] if problem == 1 else None)
            rows.append(
                replace(row, trace=trace, measures=measures, dropped=None if sample == 0 else outcome)
            )
    for number, part in enumerate((rows[:6], rows[6:])):
        shards.write(Candidate, part, f"{tmp_path}/candidates/{number:05}.parquet")
    return [f"{tmp_path}/candidates/{number:05}.parquet" for number in (0, 1)]


@pytest.fixture
def client(paths: list[str]) -> TestClient:
    return TestClient(application("rows <b>", Rows(paths)), base_url="http://127.0.0.1:8265")


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 12),
        ({"outcome": "wrong"}, 6),
        ({"source": "b"}, 4),
        ({"dropped": KEPT}, 6),
        ({"dropped": "wrong", "source": "a"}, 4),
        ({"thinking_tokens_from": "20", "thinking_tokens_to": "30"}, 4),
        ({"pass_rate_to": "0.4"}, 0),
        ({"text": "ANSWER 3"}, 2),
        ({"text": "ANSWER 3", "case": "on"}, 0),
        ({"text": "owned", "outcome": "correct"}, 1),
        ({"outcome": "no such"}, 0),
        ({"unknown": "x"}, 12),
    ],
)
def test_each_filter_finds_its_rows(
    client: TestClient, paths: list[str], asked: dict[str, str], count: int
) -> None:
    rows = Rows(paths)
    assert rows.count(rows.matching(asked)) == count
    page = client.get("/", params=asked)
    assert page.status_code == 200 and page.text.count('<td class="question">') == count


def test_pages_go_on_where_the_last_one_ended(paths: list[str]) -> None:
    rows = Rows(paths)
    found = [row["id"] for start in (0, 5, 10) for row in rows.page(None, start, 5)]
    assert found == [f"{problem}-{sample}" for problem in range(6) for sample in (0, 1)]


def test_a_problem_shows_its_siblings_with_their_marks(client: TestClient) -> None:
    page = client.get(f"/problem/{1:016x}")
    assert page.text.count("<article>") == 2 and '<mark title="zh">First</mark>' in page.text
    assert client.get("/problem/none").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/problem/{5:016x}",
        "/?text=%3Cscript%3Ealert(1)%3C/script%3E",
        "/?source=%22%3E%3Cimg%20src=x%3E",
    ],
)
def test_no_text_becomes_a_part_of_the_page(client: TestClient, path: str) -> None:
    page = client.get(path)
    found = Parts(page.text).found
    assert not {"script", "img", "iframe", "b"} & {tag for tag, _ in found}
    assert not [
        name for _, attributes in found for name in attributes if name.startswith("on") or name == "style"
    ]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_wrong_bound_and_a_foreign_host_are_refused(client: TestClient) -> None:
    assert "is no number" in client.get("/?pass_rate_from=much").text
    assert client.get("/", headers={"host": "rebound.example"}).status_code == 400
    assert client.post("/").status_code == 405


def test_rows_are_found_by_file_and_folder_and_nothing_is_told(paths: list[str]) -> None:
    assert catalogue.rows_of(paths[0]) == paths[:1]
    assert catalogue.rows_of(str(Path(paths[0]).parent)) == paths
    assert catalogue.rows_of(str(Path(paths[0]).parents[1])) == paths
    with pytest.raises(NotMade, match="no rows in 'nothing'"):
        catalogue.rows_of("nothing")


def test_the_command_serves_a_folder_to_a_browser(paths: list[str], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "distill", "view", str(Path(paths[0]).parents[1]), "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[0]
        for _ in range(200):
            try:
                with urllib.request.urlopen(address, timeout=5) as reply:
                    text = reply.read().decode()
                break
            except OSError:
                time.sleep(0.1)
        assert "12 rows" in text
        if shutil.which("chromium"):
            chromium = [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path}/profile",
            ]
            shown = subprocess.run(
                [*chromium, "--dump-dom", f"{address}problem/{5:016x}"],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            ).stdout
            assert shown.count("<article") == 2 and "<title>owned" not in shown
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        assert process.wait(30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
