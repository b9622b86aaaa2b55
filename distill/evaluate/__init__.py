"""Evaluate: candidates of base, student and teacher on held-out problems become scores and a report.

It neither samples nor verifies: those stages made the candidates.
"""

from distill.evaluate.scores import (
    Measured,
    assemble,
    compare,
    critical_value,
    decide,
    measure,
    pass_rates,
    score,
    wilson,
)

__all__ = [
    "Measured",
    "assemble",
    "compare",
    "critical_value",
    "decide",
    "measure",
    "pass_rates",
    "score",
    "wilson",
]
