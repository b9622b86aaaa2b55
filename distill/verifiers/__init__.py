"""Verifiers: an answer in, a verdict out, by rules. One module or package a kind; `KINDS` is their table.

No other opinion (judge model, majority) is asked here, and nothing is kept or dropped.
"""

from distill.verifiers import choice_options, row_errors
from distill.verifiers.kinds import KINDS, Rules, rules
from distill.verifiers.rows import begin, by_majority, by_rules, incomplete, judge, judge_reference, judges

__all__ = [
    "KINDS",
    "Rules",
    "begin",
    "by_majority",
    "by_rules",
    "choice_options",
    "incomplete",
    "judge",
    "judge_reference",
    "judges",
    "row_errors",
    "rules",
]
