"""Engines: prompts in, completions out, what they cost, and the store of completions that are paid for.

Here is no prompt made and no completion judged. `ENGINES` holds what others ask about an engine; the engines
themselves bring heavy libraries, and are imported when one is opened.
"""

from distill.engines.completions import LOOK_SECONDS, Completions
from distill.engines.protocol import (
    STOPPED,
    Completion,
    Engine,
    EngineError,
    Request,
    SharedUsage,
    Usage,
    cost_usd,
    usage_of,
)
from distill.engines.table import ENGINES, open_engine

__all__ = [
    "ENGINES",
    "LOOK_SECONDS",
    "STOPPED",
    "Completion",
    "Completions",
    "Engine",
    "EngineError",
    "Request",
    "SharedUsage",
    "Usage",
    "cost_usd",
    "open_engine",
    "usage_of",
    "vllm",
]
