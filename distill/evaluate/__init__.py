"""Evaluate: candidates of base, student and teacher on held-out problems become scores and a report.

It neither samples nor verifies: those stages made the candidates.
"""

from distill.evaluate.decision import Planned, power, promote
from distill.evaluate.scores import Measured, assemble, compare, decide, measure, pass_rates, score

__all__ = [
    "Measured",
    "Planned",
    "assemble",
    "compare",
    "decide",
    "examples",
    "measure",
    "page",
    "pass_rates",
    "power",
    "promote",
    "report",
    "runs",
    "score",
    "sections",
    "viewer",
]
