"""Whether a trace came to its end: the one rule that every verdict, of whatever kind, begins with."""

from distill.records import Trace


def incomplete(trace: Trace) -> str | None:
    """Why a trace holds no answer that may be accepted, or None."""
    if trace.failure:
        return f"no completion: {trace.failure}"
    if trace.thinking is not None and not trace.think_closed:
        return "the think block is never closed"
    if trace.finish_reason == "length":
        return "cut at the token limit"
    return None
