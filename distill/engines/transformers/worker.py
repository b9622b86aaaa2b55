"""The child process of the `transformers` engine: opens a model and completes the requests that come in on standard input.

    python -m distill.engines.transformers.worker

Standard output carries messages only (see `wire`); what libraries print goes to standard error. The worker ends, with all
processes it started, when its parent is gone.
"""

import json
import os
import signal
import sys
import threading
import time
from typing import IO

from distill.engines.transformers.wire import BackendError, Inbox, Settings, send

GRACE_SECONDS = 10.0
"""What a worker without a parent may take to end by itself."""


def main() -> None:
    """Serves one parent until it closes the pipe; a model that cannot be opened is a message, not a trace."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    inbox = Inbox()
    threading.Thread(target=listen, args=(sys.stdin, inbox), daemon=True).start()
    threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()
    settings = Settings(**inbox.message()["settings"])
    try:
        from distill.engines.transformers.backend import TransformersBackend

        backend = TransformersBackend(settings)
        send(out, "ready", {"opens_thinking": backend.chat.opens_thinking()})
        while True:
            sampling = inbox.message()["sampling"]
            inbox.ended = False
            for completions in backend.complete(inbox, sampling):
                send(out, "completions", {"completions": completions})
            send(out, "done", {})
    except BackendError as error:
        send(out, "fatal", {"cause": str(error), "see_log": error.see_log})
    except ModuleNotFoundError as error:
        send(out, "fatal", {"cause": f"{error.name} is not installed for {sys.executable}: install it there", "see_log": False})


def listen(stream: IO[str], inbox: Inbox) -> None:
    """Puts the parent's messages into the inbox; ends this process when the pipe is closed."""
    for line in stream:
        inbox.lines.put(json.loads(line))
    inbox.lines.put(None)
    end_group()


def watch_parent(parent: int) -> None:
    """Ends this process when the parent is gone: a process that the parent forked may hold the pipe open.

    The signal that Linux sends on a parent's death (PR_SET_PDEATHSIG) would come when the *thread* that started us ends.
    """
    while os.getppid() == parent:
        time.sleep(1)
    end_group()


def end_group() -> None:
    """Kills this process after a grace period, with its children where it leads its own process group (`local` starts it so)."""
    time.sleep(GRACE_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
