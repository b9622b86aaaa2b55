"""The sandbox: whatever a program tries, it ends in its slot, gets at nothing, leaves nothing and breaks
nothing."""

import json
import logging
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from distill.recipe import dataset
from distill.sandbox import Boxes, InfraError, Job, Ran, SandboxError, boxes, check
from distill.sandbox.box import Box

LIMITS = dataset.Sandbox(timeout_seconds=0.6, memory_mb=256)
ROOMY = dataset.Sandbox(timeout_seconds=20)
HOSTILE = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "cases/hostile_system.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
CANARY = f"CANARY-{secrets.token_hex(8)}"
SLOT_SECONDS = 25 * LIMITS.timeout_seconds
ORDINARY_USER = 12345


@pytest.fixture(scope="module")
def one_box() -> Iterator[Boxes]:
    os.environ["DISTILL_CANARY"] = CANARY
    with Boxes(LIMITS, 1) as opened:
        yield opened
    del os.environ["DISTILL_CANARY"]


@contextmanager
def canaries(folder: Path) -> Iterator[dict[str, str]]:
    """A file of ours, a TCP port of ours and an abstract socket of ours, by the marks that stand for them in
    the programs."""
    file = folder / "canary"
    file.write_text(CANARY)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as abstract:
        port = listener.getsockname()[1]
        abstract.bind(f"\0distill-{port}")
        abstract.listen()
        yield {"@FILE@": str(file), "@PORT@": str(port)}
    assert file.read_text() == CANARY


def job(case: dict[str, str], marks: dict[str, str]) -> Job:
    source = case["source"]
    for mark, value in marks.items():
        source = source.replace(mark, value)
    return Job("stdio", {"source": source}, case.get("stdin", "").encode())


def attempt(opened: Boxes, case: dict[str, str], marks: dict[str, str]) -> Ran:
    return opened.run(job(case, marks))


def judge_harmless(case: dict[str, str], ran: Ran) -> None:
    assert ran.ending in case["expect"], (case["id"], ran)
    assert ran.ending != "timeout" or ran.seconds > LIMITS.timeout_seconds, (
        case["id"],
        ran,
    )  # and not the wall's twentyfold
    for stream in (ran.stdout, ran.stderr, ran.result):
        assert b"ESCAPED" not in stream and CANARY.encode() not in stream, stream[:2000]


def processes_below(parent: int) -> list[int]:
    """All living descendants of a process."""
    found = []
    with suppress(OSError):  # gone in the meantime
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                found += [child, *processes_below(child)]
    return found


def left_alone(box: Box, count: int) -> bool:
    """True once the box holds so many processes besides its first one outside."""
    deadline = time.monotonic() + 5
    while len(processes_below(box.process.pid)) > count and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(processes_below(box.process.pid)) == count


@pytest.mark.parametrize("case", HOSTILE, ids=[case["id"] for case in HOSTILE])
def test_a_hostile_program_harms_nothing_and_gets_at_nothing(
    case: dict[str, str], one_box: Boxes, tmp_path: Path
) -> None:
    started = time.monotonic()
    with canaries(tmp_path) as marks:
        judge_harmless(case, attempt(one_box, case, marks))
    assert time.monotonic() - started < SLOT_SECONDS
    (box,) = one_box.live
    assert left_alone(box, 2)  # its first process inside, and the fork server
    after = one_box.run(Job("stdio", {"source": "print(int(input()) + 1)"}, b"41\n"))
    assert (after.ending, after.code, after.stdout) == ("exit", 0, b"42\n")


def test_the_same_programs_get_at_things_where_nothing_stops_them(tmp_path: Path) -> None:
    box = Box(LIMITS, protected=False)
    try:
        with canaries(tmp_path) as marks:
            for case in [
                case
                for case in HOSTILE
                if case["id"] in ("canary-file", "tcp-loopback", "abstract-sockets", "own-port")
            ]:
                (ran,) = box.run(job(case, marks))
                with pytest.raises(AssertionError):
                    judge_harmless(case, ran)
    finally:
        box.close()


def test_an_exit_status_is_the_programs_own(one_box: Boxes) -> None:
    codes = {
        case["id"]: one_box.run(Job("stdio", {"source": case["source"]})).code
        for case in HOSTILE
        if case["group"] == "exits"
    }
    assert codes == {
        "exit-zero": 0,
        "exit-in-handler": 0,
        "raising-hook": 0,  # as in an interpreter outside
        "odd-exit-codes": 1,
        "breaks-the-harness": 1,
    }


HONEST = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "cases/honest_system.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize("case", HONEST, ids=[case["id"] for case in HONEST])
def test_an_honest_program_runs_as_it_would_outside(case: dict[str, str]) -> None:
    outside = subprocess.run(
        [sys.executable, "-c", case["source"]], input=case["stdin"].encode(), capture_output=True, check=True
    )
    ran = boxes(ROOMY, 1).run(Job("stdio", {"source": case["source"]}, case["stdin"].encode()))
    assert (ran.ending, ran.code, ran.stdout) == ("exit", 0, outside.stdout), ran
    assert ran.stdout.decode().startswith(case["prints"])


def test_much_input_and_much_output_go_through() -> None:
    ran = boxes(ROOMY, 1).run(
        Job("stdio", {"source": "import sys\nprint(sys.stdin.read() * 2, end='')"}, b"1234 6789\n" * 300_000)
    )
    assert (ran.ending, ran.stdout) == ("exit", b"1234 6789\n" * 600_000)


def test_another_interpreter_brings_its_packages_and_nothing_of_ours() -> None:
    with Boxes(ROOMY.model_copy(update={"python": sys.executable}), 1) as opened:
        ran = opened.run(
            Job("stdio", {"source": "import numpy\nprint(numpy.arange(3).sum())\nimport distill"})
        )
    assert (ran.stdout, ran.code) == (b"3\n", 1) and b"No module named 'distill'" in ran.stderr


def test_an_interpreter_below_the_folder_for_temporary_files_is_not_hidden_by_the_boxes_own(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (package,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (package / "here.py").write_text("WORD = 'found'\n")
    program = "import here, tempfile\nwith tempfile.TemporaryFile() as file:\n    file.write(b'x')\nprint(here.WORD, tempfile.gettempdir())"
    with Boxes(ROOMY.model_copy(update={"python": str(tmp_path / "venv/bin/python")}), 1) as opened:
        ran = opened.run(Job("stdio", {"source": program}))
    expected = "/var/tmp" if tmp_path.is_relative_to("/tmp") else "/tmp"
    assert (ran.stdout.decode().split(), ran.stderr) == (["found", expected], b"")


def test_a_failed_program_shows_its_own_traceback_only(one_box: Boxes) -> None:
    ran = one_box.run(Job("stdio", {"source": "def f():\n    return 1 / 0\nf()\n"}))
    lines = ran.stderr.decode().splitlines()
    assert (ran.ending, ran.code) == ("exit", 1)
    assert lines[0].startswith("Traceback") and lines[-1] == "ZeroDivisionError: division by zero"
    assert [line for line in lines if "File" in line] == [
        '  File "/tmp/main.py", line 3, in <module>',
        '  File "/tmp/main.py", line 2, in f',
    ]


def test_a_parent_with_many_open_files_reads_all_the_same(one_box: Boxes) -> None:
    with ExitStack() as stack, open(os.devnull) as nothing:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, limit[1]), limit[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        for _ in range(1024):  # past what select() can tell
            stack.callback(os.close, os.dup(nothing.fileno()))
        assert one_box.run(Job("stdio", {"source": "print(1)"})).stdout == b"1\n"


RELAY = "import os\nfor _ in range(100):\n    os.write(5, os.read(4, 100))\nprint('relayed')"
ASK = "import os\nfor n in range(100):\n    os.write(5, b'%d' % n)\n    assert os.read(4, 100) == b'%d' % n\nprint('asked')"


def pair(opened: Boxes, first: str, second: str) -> tuple[Ran, Ran]:
    return opened.run_pair(
        *(Job("stdio", {"source": source}, waits_for_peer=True) for source in (first, second))
    )


def test_the_programs_of_a_pair_talk_to_each_other(one_box: Boxes) -> None:
    relayed, asked = pair(one_box, RELAY, ASK)
    assert (relayed.stdout, asked.stdout) == (b"relayed\n", b"asked\n"), (relayed, asked)


def test_waiting_for_a_busy_peer_costs_nothing_and_waiting_for_a_sleeping_one_ends(one_box: Boxes) -> None:
    busy, waiting = pair(
        one_box, "import time\nwhile time.process_time() < 0.4:\n    pass", "import os\nos.read(4, 1)"
    )
    assert (busy.ending, waiting.ending) == ("exit", "exit") and busy.seconds > 0.35 and waiting.seconds < 0.2
    asleep, also = pair(one_box, "import os\nos.read(4, 1)", "import os\nos.read(4, 1)")
    assert "timeout" in (asleep.ending, also.ending)


def test_a_machine_with_too_few_cores_makes_no_timeouts() -> None:
    spin = "import time\nwhile time.process_time() < 0.3:\n    pass\nprint('done')"
    with Boxes(LIMITS, 6) as many:
        rans = [
            future.result()
            for future in [many.submit(many.run, Job("stdio", {"source": spin})) for _ in range(6)]
        ]
    assert [ran.ending for ran in rans] == ["exit"] * 6


def kill_fork_server(box: Box) -> None:
    os.kill(processes_below(box.process.pid)[1], signal.SIGKILL)


def kill_supervisor(box: Box) -> None:
    os.kill(processes_below(box.process.pid)[2], signal.SIGKILL)


def kill_first(box: Box) -> None:
    os.kill(processes_below(box.process.pid)[3], signal.SIGKILL)


def kill_program(box: Box) -> None:
    os.kill(processes_below(box.process.pid)[4], signal.SIGKILL)


def kill_bwrap(box: Box) -> None:
    os.kill(box.process.pid, signal.SIGKILL)


def when_running(opened: Boxes, act: Callable[[Box], None], known: set[Box]) -> set[Box]:
    """Does something to a box that was not known before, once a program runs in it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for box in opened.live - known:
            if (
                len(processes_below(box.process.pid)) >= 5
            ):  # bwrap's first, fork server, supervisor, process 1, program
                act(box)
                return known | {box}
        time.sleep(0.005)
    raise AssertionError("no program was started")


SLOW = Job("stdio", {"source": "import time\ntime.sleep(0.3)\nprint('done')"})


@pytest.mark.parametrize("act", [kill_program, kill_first, kill_supervisor, kill_bwrap])
def test_a_run_that_is_killed_is_tried_once_more(act: Callable[[Box], None]) -> None:
    with Boxes(LIMITS, 1) as opened:
        future = opened.submit(opened.run, SLOW)
        when_running(opened, act, set())
        assert future.result().stdout == b"done\n"


def test_a_run_whose_box_dies_three_times_says_nothing_about_the_program() -> None:
    with Boxes(LIMITS, 1) as opened:
        future = opened.submit(opened.run, SLOW)
        when_running(
            opened, kill_bwrap, when_running(opened, kill_bwrap, when_running(opened, kill_bwrap, set()))
        )
        with pytest.raises(InfraError, match="3 times"):
            future.result()
        assert opened.run(SLOW).stdout == b"done\n"


def test_a_dead_fork_server_is_replaced() -> None:
    with Boxes(LIMITS, 1) as opened:
        opened.run(SLOW)
        (box,) = opened.live
        kill_fork_server(box)
        assert opened.run(SLOW).stdout == b"done\n" and opened.live.isdisjoint({box})


def test_nothing_outlives_a_parent_that_is_killed() -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            with Boxes(LIMITS, 1) as opened:
                threading.Thread(target=opened.run, args=(SLOW,), daemon=True).start()
                when_running(
                    opened,
                    lambda box: os.write(writer, json.dumps(processes_below(os.getpid())).encode()) and None,
                    set(),
                )
                time.sleep(100)
        finally:
            os._exit(1)
    started = json.loads(os.read(reader, 4000))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    os.close(reader)
    os.close(writer)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{one}").exists() for one in started) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(started) >= 5 and not [one for one in started if Path(f"/proc/{one}").exists()]


def test_without_bubblewrap_nothing_runs_and_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    limits = dataset.Sandbox(timeout_seconds=3.25)
    with pytest.raises(SandboxError, match="install bubblewrap"):
        check(limits)
    with Boxes(limits, 1) as opened, pytest.raises(SandboxError):
        opened.run(SLOW)


def test_a_sandbox_that_does_not_hold_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.sandbox.pool.Box", lambda limits: Box(limits, protected=False))
    with pytest.raises(SandboxError, match="does not hold"):
        check(dataset.Sandbox(timeout_seconds=3.5))


def test_unprotected_runs_are_asked_for_and_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    daemon = next(case["source"] for case in HOSTILE if case["id"] == "double-fork-daemon")
    with (
        caplog.at_level(logging.WARNING),
        Boxes(LIMITS.model_copy(update={"unsafe_local": True}), 1) as opened,
    ):
        rans = [
            opened.run(Job("stdio", {"source": source}))
            for source in (daemon, "while True:\n    pass", "print(input())")
        ]
        (box,) = opened.live
        assert left_alone(box, 0)
    assert [(ran.ending, ran.stdout) for ran in rans[:2]] == [("exit", b"left\n"), ("timeout", b"")]
    assert b"EOFError" in rans[2].stderr
    assert ["UNPROTECTED" in record.message for record in caplog.records] == [True]


def ordinary_user_finds_it_the_same(folder: Path) -> None:
    """Becomes an ordinary user where this is root; `/usr/bin/python3` stands in for an interpreter that it
    may not read."""
    limits = LIMITS
    if os.geteuid() == 0:
        limits = LIMITS.model_copy(update={"python": "/usr/bin/python3"})
        os.chown(folder, ORDINARY_USER, ORDINARY_USER)
        os.setgroups([])
        os.setgid(ORDINARY_USER)
        os.setuid(ORDINARY_USER)
    os.chdir("/")
    with Boxes(limits, 2) as opened, canaries(folder) as marks:
        for case, ran in [(case, opened.submit(attempt, opened, case, marks)) for case in HOSTILE]:
            judge_harmless(case, ran.result())
        assert opened.run(Job("stdio", {"source": "print(int(input()) + 1)"}, b"41\n")).stdout == b"42\n"


def test_as_an_ordinary_user_it_is_the_same() -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                ordinary_user_finds_it_the_same(Path(folder))
                code = 0
            except BaseException:
                said.write(traceback.format_exc().encode())
                said.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        assert status == 0, said.read().decode()
