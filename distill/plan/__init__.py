"""What a run needs in memory, time, tokens, money and disk, before anything is spent.

`plan` adds up; `table` and `as_json` show; `preflight` refuses what this machine cannot do. It samples and
trains nothing, and asks no network.
"""

from distill.plan.costs import Estimate, Range
from distill.plan.estimate import Plan, plan
from distill.plan.preflight import CannotRun, preflight, teacher_ready
from distill.plan.show import as_json, table

__all__ = [
    "CannotRun",
    "Estimate",
    "Plan",
    "Range",
    "as_json",
    "plan",
    "preflight",
    "serving",
    "table",
    "teacher_ready",
]
