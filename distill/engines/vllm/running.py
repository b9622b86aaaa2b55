"""The vLLM servers of this process that are up, shared by engines with the same settings."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.engines.protocol import EngineError
from distill.engines.transformers import model_name
from distill.engines.vllm.processes import ENDED, Servers
from distill.recipe import Teacher

SERVED = {"model", "revision", "dtype", "trust_remote_code", "concurrency", "context_tokens"}
SERVED |= {"tensor_parallel", "replicas", "engines_per_gpu", "reasoning_parser", "serve_options"}
"""The settings of a teacher that its servers are started with."""


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


RUNNING = RunningServers()
kept = RUNNING.kept


def served(teacher: Teacher) -> str:
    """What decides whether engines can share servers: their settings, and the weights on disk."""
    files = sorted(Path(model_name(teacher)).glob("*.safetensors"))
    weights = [(path.name, path.stat().st_mtime_ns) for path in files]
    return f"{teacher.model_dump_json(include=SERVED)} {weights}"
