"""The sampling stage in a process of its own, while that process is killed and while its clock is set."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sampling_run import ADAPTIVE, Run, count, events, paid_twice, plan, rows, serving

PROJECT = Path(__file__).parents[2]
TELLS_DATES = ("wire_format.py",)
"""Where a wall clock is read: a `Retry-After` may be a date."""
LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
    *Path("/usr/lib/faketime").glob("libfaketime.so.1"),
]


@pytest.mark.parametrize(("sampling", "kills"), [("fixed", 2), ("adaptive", 3)])
def test_a_run_that_is_killed_at_random_moments_loses_and_pays_for_what_was_in_flight_only(sampling, kills):
    options = [
        f"--kills={kills}",
        "--problems=32",
        "--latency-ms=40",
        "--concurrency=8",
        f"--sampling={sampling}",
        "--seed=1",
    ]
    done = subprocess.run(
        [sys.executable, "benchmarks/kill_sampling.py", *options],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == kills
    assert found["paid_twice"] <= found["in_flight_at_kills"] <= kills * 8


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime (Debian's faketime) is not installed")
def test_a_clock_that_is_set_back_and_forward_changes_nothing(tmp_path):
    plan(
        tmp_path / "server",
        "clock",
        {"fault": "busydate-2", "first": 30, "last": 30},
        {"fault": "status-503", "first": 60, "last": 70},
    )
    plan(tmp_path / "server", "sound")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
    }
    faked |= {
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }  # its fix for old libraries makes waits on locks endless
    with serving(tmp_path / "server") as base:
        Run((f"{base}/sound/v1",), ADAPTIVE).go(tmp_path / "sound")
        began = time.monotonic()
        process = Run((f"{base}/clock/v1",), ADAPTIVE).start(tmp_path / "clock", **faked)
        for requests, moved in ((10, "-3600"), (50, "+3600"), (90, "-7200")):
            while (
                count(events(tmp_path / "server", "clock"), "received").total() < requests
                and process.poll() is None
            ):
                time.sleep(0.01)
            offset.write_text(moved)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert time.monotonic() - began < 20
    assert rows(tmp_path / "clock") == rows(tmp_path / "sound")
    assert not paid_twice(events(tmp_path / "server", "clock"))


def test_no_wait_of_the_sampling_stage_looks_at_the_wall_clock():
    files = [
        *(PROJECT / "distill" / "engines").rglob("*.py"),
        *(PROJECT / "distill" / "sample").glob("*.py"),
    ]
    found = {
        path.name
        for path in files
        if re.search(r"\btime\.time\(|datetime\.(now|utcnow|today)\(", path.read_text())
    }
    assert found <= set(TELLS_DATES)
    assert len(files) > 10
