"""Child processes: what they are told and say, how their end is known, and that nothing of them is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill import workers
from distill.workers import Child, ChildError

ROOT = Path(__file__).parents[1]
ECHO = """
import json, os, subprocess, sys
from distill import workers
say = workers.begin()
other = subprocess.Popen(["sleep", "600"])
say("started", pid=os.getpid(), other=other.pid)
for line in sys.stdin:
    print("a library's chatter\\n" * 3, end="")
    say("echo", told=json.loads(line))
"""
PARENT = f"""
import os, subprocess, sys, time
from distill.workers import Child, environment
code, between = {ECHO!r}, sys.argv[1] == "launcher"
launcher = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"] if between else []
child = Child([*launcher, sys.executable, "-c", code], environment())
told = child.receive()
if os.fork() == 0:
    time.sleep(20)  # holds the pipe to the child open
    os._exit(0)
print(child.process.pid, told["pid"], told["other"], flush=True)
time.sleep(600)
"""


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(process: int, seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while alive(process) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(process)


def started(code: str, log: Path | None = None) -> Child:
    return Child([sys.executable, "-c", code], workers.environment(), log=log)


def test_messages_of_any_text_and_length_go_both_ways_and_chatter_goes_to_the_log(tmp_path: Path) -> None:
    child = started(ECHO, tmp_path / "log")
    first = child.receive(60)
    for text in ("", "\n\r\u2028é\0", "x" * 1_000_000):
        child.send("say", text=text)
        assert child.receive(60) == {"kind": "echo", "told": {"kind": "say", "text": text}}
    assert child.tail(2) == ["a library's chatter"] * 2
    assert os.getpgid(child.process.pid) == child.process.pid
    child.close(10)
    assert child.process.returncode == 0 and gone(first["other"])
    assert (tmp_path / "log").read_text().count("chatter") == 9


def test_an_end_is_an_error_with_its_code_and_silence_one_without() -> None:
    with pytest.raises(OSError, match="/nowhere"):
        Child(["/nowhere/python"], {})
    for code, ending, number in (
        ("exit(3)", "exit code 3", 3),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL", -signal.SIGKILL),
    ):
        child = started(f"print('{{\"half\":', end='', flush=True); {code}")
        with pytest.raises(ChildError, match=ending) as caught:
            child.receive()
        assert caught.value.code == number
        with pytest.raises(ChildError, match=ending):
            child.send("too late", much="x" * 1_000_000)
        child.kill()
    child = started("import time; time.sleep(600)")
    with pytest.raises(ChildError, match="no answer") as caught:
        child.receive(0.1)
    child.close(0.1)
    assert caught.value.code is None and child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("between", ["nothing", "launcher"])
def test_a_child_ends_with_its_killed_parent_though_its_pipe_stays_open(between: str) -> None:
    command = [sys.executable, "-c", PARENT, between]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        group, child, other = map(int, parent.stdout.readline().split())
        assert alive(child) and alive(other)
        parent.kill()
        parent.wait()
        assert gone(child)
        assert between == "launcher" or gone(other)
        for left in (group, parent.pid):
            if between == "launcher" or left == parent.pid:
                os.killpg(left, signal.SIGKILL)
