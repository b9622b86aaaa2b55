"""Exact and near duplicates among traces, and questions that are alike, proven from hashes and pairs.

Paraphrases are not found.
"""

from distill.duplicates.pairs import Pair
from distill.duplicates.rules import VERSION, Copy, Index, Print, prints, problems

__all__ = [
    "VERSION",
    "Copy",
    "Index",
    "Pair",
    "Print",
    "pairs",
    "prints",
    "problems",
]
