"""Ready completions of a problem as one text: one alone is its own text, several or a cut one are JSON."""

import json
from collections.abc import Sequence

MARK = '{"distill:completions": '
"""Begins the JSON text of several completions, each with the word for its ending or null."""


def pack(completions: Sequence[tuple[str, str | None]]) -> str:
    """The text that holds completions, each with the word for its ending."""
    if len(completions) == 1 and completions[0][1] is None and not completions[0][0].startswith(MARK):
        return completions[0][0]
    return f"{MARK}{json.dumps([list(one) for one in completions], ensure_ascii=False)}}}"


def unpack(text: str) -> list[tuple[str, str | None]]:
    """The completions that a text holds, each with the word for its ending."""
    if not text.startswith(MARK):
        return [(text, None)]
    return [
        (str(said), None if word is None else str(word)) for said, word in json.loads(text[len(MARK) : -1])
    ]
