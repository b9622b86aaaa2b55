"""Curate: candidates are measured, then it is decided which of them become examples, and these are written.

Measuring looks at texts, deciding at stored columns only. Nothing here says whether an answer is right.
"""

from distill.curate.decisions import (
    DECIDES,
    KEPT,
    MEASURES,
    NO_MATCHES,
    NO_SHARES,
    Decision,
    decide,
    measure,
    measuring,
    pass_rate,
)

__all__ = [
    "DECIDES",
    "KEPT",
    "MEASURES",
    "NO_MATCHES",
    "NO_SHARES",
    "Decision",
    "decide",
    "dropped",
    "filters",
    "funnel",
    "hub",
    "measure",
    "measuring",
    "pass_rate",
    "preferences",
    "steps",
    "write",
]
