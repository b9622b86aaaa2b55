"""Processes that take Ctrl-C, for tests that send it: a shell's background jobs ignore SIGINT, and so do the
children that inherit that."""

import subprocess
import sys
from typing import Any

HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def python(*arguments: str, **options: Any) -> "subprocess.Popen[Any]":
    """Starts this Python with arguments; a program in its place then begins as one that a terminal has
    started."""
    return subprocess.Popen([sys.executable, "-c", HEED, *arguments], **options)
