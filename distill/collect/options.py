"""The options of a multiple-choice row become lines of its question, `A) ...`, and its answer becomes the
letter of one.

An answer is read as, in this order: the label that the row gives an option, a letter, the text of exactly one
option, an index that counts from 0. What can be read in two ways is refused: `ValueError` says why. Options
that come in several columns have the right one in a fixed place, so they are put in an order that is drawn
from the problem's own text.
"""

import ast
import json
import random
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from distill.files import columns
from distill.verifiers import choice_options

PADDING = frozenset({"", "n/a"})
"""What fills up lists of options that are shorter than others (MMLU-Pro)."""
_LABEL_KEYS = ("label", "key", "letter", "id")
_TEXT_KEYS = ("text", "value", "content", "option")


class Listed(NamedTuple):
    """Labels and texts of options in their order; labels are empty where the row gives none."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]


def put_in(
    row: dict[str, Any], question: str, options: str | Sequence[str], answer: Any, answer_column: str | None
) -> tuple[str, str | None]:
    """The question with its options, and the letter of the answer (None where the row has none); raises
    ValueError."""
    if isinstance(options, str) or len(options) == 1:
        column = options if isinstance(options, str) else options[0]
        listed = _listed(columns.value(row, column), column)
        if len(listed.texts) < 2 or len(listed.texts) > choice_options.MOST_OPTIONS:
            raise ValueError(
                f"column {column!r} has {len(listed.texts)} options, not 2 to {choice_options.MOST_OPTIONS}"
            )
        place = None if answer is None else _place(answer, listed)
    else:
        listed, place = _drawn(row, question, options, answer, answer_column)
    if tuple(choice_options.options(question).values()) != listed.texts:
        lines = [
            f"{letter}) {text}" for letter, text in zip(choice_options.LETTERS, listed.texts, strict=False)
        ]
        question = question.rstrip() + "\n" + "\n".join(lines)
    return question, None if place is None else choice_options.LETTERS[place]


def _listed(value: Any, column: str) -> Listed:
    """The options of one column: a list of texts or of objects, ARC's lists of texts and labels, or texts by
    their labels."""
    if isinstance(value, str):
        value = _read(value, column)
    if isinstance(value, dict):
        texts, labels = value.get("text"), value.get("label")
        if not isinstance(texts, list):
            labels, texts = list(value), list(value.values())
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        texts = [_first(one, _TEXT_KEYS) for one in value]
        labels = [_first(one, _LABEL_KEYS) for one in value]
    else:
        texts, labels = value, None
    if not isinstance(texts, list) or not all(isinstance(text, (str, int, float, Decimal)) for text in texts):
        raise ValueError(f"column {column!r} is no list of options: a list of texts, or texts with labels")
    found = [str(text).strip() for text in texts]
    while found and found[-1].casefold() in PADDING:
        found.pop()
    named = (
        labels
        if isinstance(labels, list)
        and len(labels) >= len(found)
        and all(isinstance(one, str) for one in labels)
        else []
    )
    own = [
        re.match(rf"[(\[]?{letter}[)\].:]\s*(?=\S)", text)
        for letter, text in zip(choice_options.LETTERS, found, strict=False)
    ]
    if own and all(own) and len(own) == len(found):  # AQuA writes "A)21"
        found = [text[match.end() :] for text, match in zip(found, own, strict=True) if match]
    return Listed(tuple(str(one).strip() for one in named[: len(found)]), tuple(found))


def _read(text: str, column: str) -> Any:
    """A list or an object that comes as text, of JSON or of Python."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError(f"column {column!r} is a text, not a list of options")


def _first(one: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((one[key] for key in keys if key in one), None)


def _place(answer: Any, listed: Listed) -> int:
    """The place of the option that an answer names; raises ValueError."""
    said, texts = str(answer).strip(), listed.texts
    alike = [place for place, text in enumerate(texts) if text == said]
    bare = said.strip("().").upper()
    if said in listed.labels:
        place = listed.labels.index(said)
    elif len(bare) == 1 and bare in choice_options.LETTERS[: len(texts)]:
        place = choice_options.LETTERS.index(bare)
    elif (
        isinstance(answer, (int, Decimal))
        and not isinstance(answer, bool)
        and 0 <= answer < len(texts)
        and answer == int(answer)
    ):
        place = int(answer)
    elif len(alike) == 1:
        return alike[0]
    elif re.fullmatch(r"\d{1,2}", said) and int(said) < len(texts) and not listed.labels:
        place = int(said)
    else:
        raise ValueError(
            f"the answer {said[:80]!r} is none of the {len(texts)} options: no label, letter, text, or index "
            "from 0"
        )
    if any(other != place for other in alike):
        raise ValueError(f"the answer {said[:80]!r} is the name of one option and the text of another")
    return place


def _drawn(
    row: dict[str, Any], question: str, named: Sequence[str], answer: Any, answer_column: str | None
) -> tuple[Listed, int | None]:
    """The options of several columns in an order drawn from the problem, and the place of the answer."""
    held = {column: columns.value(row, column) for column in named}
    texts = {column: str(held[column]).strip() for column in named if held[column] is not None}
    texts = {column: text for column, text in texts.items() if text.casefold() not in PADDING}
    if len(texts) < 2 or len(set(texts.values())) < len(texts):
        raise ValueError(f"columns {', '.join(named)[:200]} hold no two options, or one twice")
    order = sorted(texts)
    random.Random(json.dumps([question, *(texts[column] for column in order)])).shuffle(order)
    listed = Listed((), tuple(texts[column] for column in order))
    if answer_column in texts:
        return listed, order.index(answer_column)
    if answer is None:
        return listed, None
    if str(answer).strip() in named:  # the answer is the name of a column
        return listed, order.index(str(answer).strip())
    letter = _place(answer, Listed((), tuple(texts[column] for column in named if column in texts)))
    return listed, order.index([column for column in named if column in texts][letter])
