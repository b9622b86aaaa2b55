"""The second stage: asks the teacher about problems, within a budget; one trace for each draw.

Nothing here judges (`verifiers`), stores completions (`engines`) or knows shards and flows. `shard` has the
stage, `prompt_checks` what is not asked, `traces` how a completion becomes a trace.
"""

from distill.sample.adaptive import DrawPlan
from distill.sample.budget import Budget, require_prices
from distill.sample.cancellation import Cancellation, RunStopped, StoppedByHand
from distill.sample.keys import SamplingKeys
from distill.sample.shard import VERSION, Asked, Watch, sample

__all__ = [
    "VERSION",
    "Asked",
    "Budget",
    "Cancellation",
    "DrawPlan",
    "RunStopped",
    "SamplingKeys",
    "StoppedByHand",
    "Watch",
    "keys",
    "prompt_checks",
    "require_prices",
    "sample",
    "traces",
]
