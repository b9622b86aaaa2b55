"""The table of engines: how each is opened, and all that other modules ask about one."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType

from distill.engines.protocol import Engine
from distill.recipe import Teacher

Opened = AbstractContextManager[Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """What holds for every teacher of an engine."""

    open: Callable[[Teacher], Opened]
    draws: bool = True
    """Completions depend on the settings; else they are a file's (`replay`) or a fake's (`scripted`)."""
    stored: bool = False
    """The completions exist already: a prompt costs nothing, and there are no more of them."""
    served: bool = False
    """A server reads the prompt, and takes control tokens that a question spells out for its own."""
    local_weights: bool = False
    """`teacher.model` may be a folder of weights, and this machine's memory must hold them."""
    starts_servers: bool = False
    """It starts servers of its own, which other teachers may share or be in the way of."""
    overlaps: bool = False
    """It takes the requests of several shards at a time."""


def _server(teacher: Teacher) -> Opened:
    from distill.engines.server import ServerEngine

    return ServerEngine(teacher)


def _vllm(teacher: Teacher) -> Opened:
    from distill.engines.vllm.engine import VllmEngine

    return VllmEngine(teacher)


def _transformers(teacher: Teacher) -> Opened:
    from distill.engines.transformers import LocalEngine

    return LocalEngine(teacher)


def _replay(teacher: Teacher) -> Opened:
    from distill.engines.replay import ReplayEngine

    return ReplayEngine(teacher)


def _scripted(teacher: Teacher) -> Opened:
    from distill.engines.scripted import ScriptedEngine

    return ScriptedEngine(teacher)


ENGINES: Mapping[str, EngineKind] = MappingProxyType(
    {
        "server": EngineKind(open=_server, served=True, overlaps=True),
        "vllm": EngineKind(open=_vllm, served=True, local_weights=True, starts_servers=True, overlaps=True),
        "transformers": EngineKind(open=_transformers, local_weights=True),
        "replay": EngineKind(open=_replay, draws=False, stored=True),
        "scripted": EngineKind(open=_scripted, draws=False),
    }
)
"""By `teacher.engine`."""


def open_engine(teacher: Teacher) -> Opened:
    """The engine of a teacher, closed (and its process ended) when the block is left."""
    return ENGINES[teacher.engine].open(teacher)
