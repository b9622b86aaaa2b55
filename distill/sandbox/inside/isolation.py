"""The kernel's part of the box, for one process: namespaces, mounts, limits, capabilities and forbidden
system calls.

Every function changes the process that calls it, for good. Nothing here is a choice: what fails raises
OSError.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from typing import Any

NEWNS, NEWIPC, NEWUSER, NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
NOSUID, NODEV, NOEXEC, BIND = 2, 4, 8, 4096
SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
STACK_BYTES = 100 << 20
"""Room for deep recursion; more than 128 MB would run into the mappings below the stack of a process that
started with 8."""
OPEN_FILES = 64
"""Each can be a socket or a pipe that holds 200 kB of kernel memory, in every process."""
SCRATCH_FILES = 4096
SHARED = "/dev/shm"  # noqa: S108 - that of the box

libc = ctypes.CDLL(None, use_errno=True)


def checked(status: int, what: str) -> int:
    """The result of a call of the C library; raises OSError."""
    if status < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return status


def prctl(option: int, value: int) -> None:
    """Sets an attribute of this process."""
    checked(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mounts in the mount namespace of this process."""
    words = (word.encode() for word in (source, target, kind))
    checked(libc.mount(*words, flags, options.encode()), f"mount {target}")


def new_namespaces() -> None:
    """Own users, mounts and IPC for this process, and an own process space for its children."""
    user, group = os.getuid(), os.getgid()
    checked(libc.unshare(NEWUSER | NEWPID | NEWNS | NEWIPC), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def new_mounts(scratch: str, scratch_mb: int) -> None:
    """Own `/proc` and scratch space; called by process 1 of the new process space."""
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    options = f"size={scratch_mb}m,nr_inodes={SCRATCH_FILES},mode=0700"
    mount("scratch", scratch, "tmpfs", NOSUID | NODEV, options)
    mount(scratch, SHARED, "", BIND)  # one quota for both
    _write("/proc/sys/user/max_user_namespaces", "0")


def limit(limits: dict[str, Any], in_namespaces: bool) -> None:
    """Resource limits for a program; where the user's other processes would count, the number of processes is
    left alone."""
    timeout, scratch = int(limits["timeout_seconds"]), limits["scratch_mb"] << 20
    with open("/proc/self/statm", "rb") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    wanted = {
        resource.RLIMIT_AS: own + (limits["memory_mb"] << 20),
        resource.RLIMIT_CPU: 2 * timeout + 10,  # where no supervisor watches; the supervisor is stricter
        resource.RLIMIT_FSIZE: scratch,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_STACK: STACK_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if in_namespaces:
        wanted[resource.RLIMIT_NPROC] = limits["processes"] + 2  # supervisor and process 1
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # many programs ask for more stack
        resource.setrlimit(kind, (value, hard if kind == resource.RLIMIT_STACK else value))


def give_up_rights() -> None:
    """No capabilities, no way to gain any, and none of the system calls that reach beyond files, pipes,
    processes and threads."""
    checked(libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)), "capset")
    prctl(SET_NO_NEW_PRIVS, 1)
    forbid_calls()


# fmt: off
FORBIDDEN = {  # numbers from the kernel's tables, line for line the same calls
    "x86_64": (
        # System V and POSIX shared memory, semaphores, queues: unbounded memory
        29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 240, 241,
        319, 447,  # memfd_create, memfd_secret: memory that no quota counts
        101, 310, 311, 312, 438,  # ptrace, process_vm_*, kcmp, pidfd_getfd
        425, 426, 427, 321, 298, 323,  # io_uring_*, bpf, perf_event_open, userfaultfd
        248, 249, 250,  # keys
        155, 161, 165, 166, 167, 168, 428, 429, 430, 431, 432, 433, 442,  # mounts, roots, swap
        272, 308, 304, 303, 300, 301,  # unshare, setns, open_by_handle_at, name_to_handle_at, fanotify
        # modules, kexec, reboot, syslog, acct, ports, quota
        175, 176, 313, 246, 320, 169, 103, 163, 172, 173, 179,
    ),
    "aarch64": (
        180, 181, 190, 191, 192, 193, 186, 187, 188, 189, 194, 195, 196,
        279, 447,
        117, 270, 271, 272, 438,
        425, 426, 427, 280, 241, 282,
        217, 218, 219,
        41, 51, 39, 40, 224, 225, 428, 429, 430, 431, 432, 433, 442,
        97, 268, 265, 264, 262, 263,
        105, 106, 273, 104, 294, 142, 116, 89, 60,
    ),
}
# fmt: on
ARCHITECTURE = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Audit name of the architecture and its number of `socket`."""
LOAD, EQUAL, ABOVE, RETURN = 0x20, 0x15, 0x25, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000
FAMILIES = (1,)
"""Unix sockets. Those of the internet could reach nothing, but hold gigabytes that no limit counts, and ports
beyond their run."""
X32 = 0x3FFFFFFF


def forbid_calls() -> None:
    """A filter that answers EPERM to the calls above; where their numbers are not known, nothing is
    forbidden."""
    machine = platform.machine()
    if machine not in ARCHITECTURE:
        return
    audit, socket_call = ARCHITECTURE[machine]
    body = [(EQUAL, 0, len(FAMILIES) + 3, socket_call), (LOAD, 0, 0, 16)]
    body += [(EQUAL, len(FAMILIES) - place, 0, family) for place, family in enumerate(FAMILIES)]
    body += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    for number in FORBIDDEN[machine]:
        body += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    head = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL)]
    head += [(LOAD, 0, 0, 0), (ABOVE, 0, 1, X32), (RETURN, 0, 0, KILL)]
    lines = b"".join(struct.pack("HBBI", *line) for line in [*head, *body, (RETURN, 0, 0, ALLOW)])
    buffer = ctypes.create_string_buffer(lines, len(lines))
    program = struct.pack("HxxxxxxP", len(lines) // 8, ctypes.addressof(buffer))
    checked(libc.prctl(SET_SECCOMP, 2, program, 0, 0), "seccomp")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
