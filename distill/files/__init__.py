"""Rows of any file or data set, read as problems and traces.

It judges nothing, and writes no shard. `readers` opens files, `columns` and `guess` find what a row means.
"""

__all__ = [
    "columns",
    "grouping",
    "guess",
    "readers",
    "ready",
    "traces",
]
