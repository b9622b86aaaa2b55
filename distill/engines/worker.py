"""The child process of a local engine: opens a model and completes the requests that come in on standard input.

    PYTHON .../distill/engines/worker.py        (or -m distill.engines.worker)

It may run in an environment without distill's own dependencies, so it takes the package's path from its own file and
skips `distill/engines/__init__.py`. Standard output carries messages only (see `wire`); what libraries print goes to
standard error. The worker ends, with all processes it started, when its parent is gone.
"""

import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path
from typing import IO, Any

GRACE_SECONDS = 10.0
"""What a worker without a parent may take to end by itself."""


def main() -> None:
    """Serves one parent until it closes the pipe; a model that cannot be opened is a message, not a trace."""
    without_imports("distill", Path(__file__).parents[1])
    without_imports("distill.engines", Path(__file__).parent)
    from distill.engines.wire import BackendError, Inbox, Settings, send

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    inbox = Inbox()
    threading.Thread(target=listen, args=(sys.stdin, inbox), daemon=True).start()
    threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()
    settings = Settings(**inbox.message()["settings"])
    try:
        backend = open_backend(settings)
        send(out, "ready", {"context_tokens": backend.context_tokens, "opens_thinking": backend.chat.opens_thinking()})
        while True:
            sampling = inbox.message()["sampling"]
            inbox.ended = False
            for completions in backend.complete(inbox, sampling):
                send(out, "completions", {"completions": completions})
            send(out, "done", {})
    except BackendError as error:
        send(out, "fatal", {"cause": str(error), "see_log": error.see_log})
    except ModuleNotFoundError as error:
        remedy = "name an environment that has it in DISTILL_VLLM_PYTHON" if settings.engine == "vllm" else "install it there"
        send(out, "fatal", {"cause": f"{error.name} is not installed for {sys.executable}: {remedy}", "see_log": False})


def open_backend(settings: Any) -> Any:
    """The backend of the settings' engine."""
    if settings.engine == "vllm":
        from distill.engines.vllm_backend import VllmBackend

        return VllmBackend(settings)
    from distill.engines.transformers_backend import TransformersBackend

    return TransformersBackend(settings)


def without_imports(name: str, folder: Path) -> None:
    """Makes the modules in a package's folder importable without running its `__init__`, which needs distill's dependencies."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def listen(stream: IO[str], inbox: Any) -> None:
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
