"""The table of engines: how each is opened, and all that other modules ask about one."""

import pkgutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType

from distill.engines.protocol import Engine
from distill.recipe import Teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """What holds for every teacher of an engine."""

    opens: str
    """Its class, which is imported when a teacher is opened: it may bring heavy libraries."""
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


ENGINES: Mapping[str, EngineKind] = MappingProxyType(
    {
        "server": EngineKind(opens="distill.engines.server:ServerEngine", served=True, overlaps=True),
        "vllm": EngineKind(
            opens="distill.engines.vllm.engine:VllmEngine",
            served=True,
            local_weights=True,
            starts_servers=True,
            overlaps=True,
        ),
        "transformers": EngineKind(opens="distill.engines.transformers:LocalEngine", local_weights=True),
        "replay": EngineKind(opens="distill.engines.replay:ReplayEngine", draws=False, stored=True),
        "scripted": EngineKind(opens="distill.engines.scripted:ScriptedEngine", draws=False),
    }
)
"""By `teacher.engine`."""


def open_engine(teacher: Teacher) -> AbstractContextManager[Engine]:
    """The engine of a teacher, closed (and its process ended) when the block is left."""
    opened: AbstractContextManager[Engine] = pkgutil.resolve_name(ENGINES[teacher.engine].opens)(teacher)
    return opened
