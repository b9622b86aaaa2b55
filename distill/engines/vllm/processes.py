"""The `vllm serve` processes of this process: those of one model are started under a supervisor, waited for
with progress said, and ended together. Engines with the same settings share them.

vLLM runs in the Python of its own environment, because vllm and prefect cannot share one. Each server writes
a log in the folder `DISTILL_LOGS` (else the platform's temporary folder), which is removed at a clean end.
The servers' key goes to them through their environment and is written nowhere.
"""

import http.client
import itertools
import json
import os
import random
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from distill import workers
from distill.engines.protocol import EngineError
from distill.engines.transformers import model_name
from distill.engines.transformers.worker import unloadable
from distill.engines.vllm.arguments import DEFAULTS, Plan, places, plans, visible_gpus, vllm_python
from distill.progress import say
from distill.recipe import Teacher
from distill.workers import Child, ChildError

KEY = "DISTILL_VLLM_KEY"
"""Variable of this process's environment that holds the key of its servers, made at the first start."""
PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral ports: a client of a server that is down could be given that very port."""
SAY_SECONDS = 15.0
LOOK_SECONDS = 0.5
ENDED = "vllm was not started, because the run is to end; run the same command again"
SILENT_SECONDS = 600.0
"""A start that writes nothing to its logs for so long has failed; a large model goes on writing."""
STOP_SECONDS = 40.0
LOG_LINES = 25
CAUSE = re.compile(r"\b(?:\w*Error|\w*Exception|error): (.+)")
CONSEQUENCE = re.compile(
    r"Engine core initialization failed|Failed core proc|WorkerProc initialization failed|See root cause"
)
"""What vLLM's outer processes say when an inner one has failed for a cause of its own."""

SERVED = {"model", "revision", "dtype", "trust_remote_code", "concurrency", "context_tokens"}
SERVED |= {"tensor_parallel", "replicas", "engines_per_gpu", "reasoning_parser", "serve_options"}
"""The settings of a teacher that its servers are started with."""

_numbers = itertools.count()


class Servers:
    """The servers of a teacher; a start that fails is an EngineError with its cause."""

    def __init__(self, teacher: Teacher, ending: threading.Event) -> None:
        """Starts them and waits until they answer, or until `ending` is set."""
        self.model = model_name(teacher)
        where = places(teacher, visible_gpus())
        self.plans = plans(teacher, free_ports(len(where)), where)
        self.urls = tuple(f"http://127.0.0.1:{plan.port}/v1" for plan in self.plans)
        """Base URLs for a client."""
        folder = Path(os.environ.get("DISTILL_LOGS") or tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = [folder / f"distill-vllm-{os.getpid()}-{next(_numbers)}.log" for _ in self.plans]
        self.said: list[str] = []
        """What the supervisor has said."""
        self.on_end: list[Callable[[], None]] = []
        """Called, in a thread of its own, when the last server is down for good."""
        self.failed = False
        """An error has named the logs: they are kept."""
        os.environ.setdefault(KEY, secrets.token_urlsafe(24))
        python = vllm_python()
        command = [python, str(Path(__file__).with_name("supervisor.py"))]
        try:
            self.supervisor = Child(command, {**os.environ, "PYTHONSAFEPATH": "1"})
        except OSError as error:
            raise EngineError(
                f"vllm: cannot start {python}: {error.strerror}; check DISTILL_VLLM_PYTHON"
            ) from error
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        try:
            servers = [self._server(*one) for one in zip(self.plans, self.logs, strict=True)]
            self._tell(json.dumps({"servers": servers}))
            self._wait(ending)
            self._tell("up")
        except BaseException:
            self.failed = not ending.is_set()
            self.stop()
            raise

    def usable(self) -> bool:
        """Whether the supervisor still looks after the servers and has given none of them up."""
        return self.supervisor.process.poll() is None and not any("stays down" in line for line in self.said)

    def stop(self) -> None:
        """Ends all servers and waits until they are gone; the logs are removed unless an error named them."""
        self.on_end.clear()
        # servers of a supervisor that is killed get the signal of a parent's death
        self.supervisor.end_input(STOP_SECONDS)
        self._reader.join()
        self.supervisor.kill()
        if not self.failed:
            for log in self.logs:
                log.unlink(missing_ok=True)

    def tell_tail(self) -> str:
        """What the supervisor has said and the ends of the logs, for an error; the logs stay from now on."""
        self.failed = True
        there = [log for log in self.logs if log.exists()]
        parts = [f"{log}:\n" + "\n".join(_end(log).splitlines()[-LOG_LINES:]) for log in there]
        return "\n".join([*self.said, *parts])

    def _server(self, plan: Plan, log: Path) -> dict[str, object]:
        environment = {name: os.environ.get(name, value) for name, value in DEFAULTS.items()}
        environment |= {"VLLM_API_KEY": os.environ[KEY], **plan.environment}
        return {"model": self.model, "options": plan.options, "environment": environment, "log": str(log)}

    def _wait(self, ending: threading.Event) -> None:
        """Waits until every server answers."""
        began = spoke = moved = time.monotonic()
        size, missing = -1, list(self.plans)
        count = f" ({len(self.plans)} servers)" if len(self.plans) > 1 else ""
        say(f"starting vllm{count} for {self.model}, log in {', '.join(map(str, self.logs))}")
        while missing := [plan for plan in missing if not _answers(plan.port)]:
            if self.supervisor.process.poll() is not None:
                raise self._failure()
            now, written = time.monotonic(), sum(log.stat().st_size for log in self.logs if log.exists())
            if written != size:
                size, moved = written, now
            elif now - moved > SILENT_SECONDS:
                raise EngineError(
                    f"vllm has not started, and wrote nothing for {SILENT_SECONDS:.0f} s:\n{self.tell_tail()}"
                )
            if now - spoke >= SAY_SECONDS:
                spoke, of = now, f"{len(missing)} of {len(self.plans)}"
                say(f"vllm has been starting for {now - began:.0f} s, {of} not up yet")
            if ending.wait(LOOK_SECONDS):
                raise EngineError(ENDED)
        say(f"vllm is up after {time.monotonic() - began:.0f} s")

    def _failure(self) -> EngineError:
        """Why the start failed, with a remedy where the cause is known."""
        self._reader.join()
        text = "\n".join(map(_end, filter(Path.exists, self.logs)))
        found = (line[1] for line in map(CAUSE.search, text.splitlines()) if line)
        causes = [cause for cause in found if not CONSEQUENCE.search(cause)]
        if not causes:
            said = " ".join(self.said or self.supervisor.tail(LOG_LINES)) or "its supervisor ended"
            return EngineError(f"vllm cannot start: {said}\n{self.tell_tail()}")
        cause = unloadable(self.model, RuntimeError(causes[-1]))
        logs = f"\n{self.tell_tail()}" if cause.see_log else f"; logs: {', '.join(map(str, self.logs))}"
        return EngineError(f"vllm: {cause}{logs}")

    def _tell(self, line: str) -> None:
        try:
            self.supervisor.write(line)
        except ChildError:
            raise self._failure() from None

    def _listen(self) -> None:
        """Passes on what the supervisor says until it ends."""
        while line := self.supervisor.line().decode().strip():
            self.said.append(line)
            say(line)
        for told in self.on_end:
            told()


class RunningServers:
    """Servers by what they were started with, and how many engines use each; safe to use from any thread."""

    def __init__(self) -> None:
        self.by_settings: dict[str, Servers] = {}
        self._users: dict[str, int] = {}
        self._keeping = 0
        """Blocks of `kept()` that are entered."""
        self._lock = threading.Lock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the block lasts, idle servers stay up for the next engine with the same settings."""
        with self._lock:
            self._keeping += 1
        try:
            yield
        finally:
            with self._lock:
                self._keeping -= 1
                self._end_idle()

    def take(self, teacher: Teacher, ending: threading.Event) -> str:
        """The settings of servers that are up for one more engine: as they were, or started in place of idle
        ones, whose memory they may need."""
        settings = served(teacher)
        with self._lock:
            servers = self.by_settings.get(settings)
            if not self._users.get(settings) and (servers is None or not servers.usable()):
                if ending.is_set():
                    raise EngineError(ENDED)
                self._end_idle(all_of_them=True)
                self.by_settings[settings] = Servers(teacher, ending)
            self._users[settings] = self._users.get(settings, 0) + 1
        return settings

    def give_back(self, settings: str) -> None:
        """One engine less uses some servers; unless they are kept, idle ones end."""
        with self._lock:
            self._users[settings] -= 1
            self._end_idle()

    def _end_idle(self, all_of_them: bool = False) -> None:
        """Ends the servers that no engine uses, kept ones only where `all_of_them` says so."""
        if self._keeping and not all_of_them:
            return
        for settings in [settings for settings, users in self._users.items() if not users]:
            del self._users[settings]
            self.by_settings.pop(settings).stop()


def served(teacher: Teacher) -> str:
    """What decides whether engines can share servers: their settings, and the weights on disk."""
    files = sorted(Path(model_name(teacher)).glob("*.safetensors"))
    weights = [(path.name, path.stat().st_mtime_ns) for path in files]
    return f"{teacher.model_dump_json(include=SERVED)} {weights}"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address without a listener."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise EngineError("vllm: there is no free port on 127.0.0.1")


def _answers(port: int) -> bool:
    """Whether a server says that it is well."""
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)) as connection,
    ):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def _end(log: Path) -> str:
    with log.open("rb") as stream:
        return workers.read_end(stream)


RUNNING = RunningServers()
kept = RUNNING.kept
