"""Contamination: which questions and traces are too close to a benchmark, and with which pair as proof.

It decides what is close and how close. What is dropped for it, the stages say.
"""

from distill.contamination import benchmarks
from distill.contamination.rules import (
    VERSION,
    Benchmarks,
    Match,
    drops,
    markdown,
    matches,
    of_problems,
    report,
)

__all__ = [
    "VERSION",
    "Benchmarks",
    "Match",
    "benchmarks",
    "drops",
    "markdown",
    "matches",
    "of_problems",
    "report",
]
