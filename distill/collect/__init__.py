"""Collect: rows of a source become problems that a teacher may be asked.

Whether a problem can be asked and judged is checked here, before it costs anything; whether its reference is
true is not.
"""

from distill.collect import inspection as inspection
from distill.collect.rows import ALIKE as ALIKE
from distill.collect.rows import MAX_QUESTION_CHARACTERS as MAX_QUESTION_CHARACTERS
from distill.collect.rows import VERSION as VERSION
from distill.collect.rows import Row as Row
from distill.collect.rows import apart as apart
from distill.collect.rows import collect as collect
from distill.collect.rows import marked as marked
from distill.collect.rows import question_key as question_key

__all__ = [
    "ALIKE",
    "MAX_QUESTION_CHARACTERS",
    "VERSION",
    "Row",
    "apart",
    "collect",
    "inspection",
    "marked",
    "question_key",
]
