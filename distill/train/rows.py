"""Examples as token ids and labels: what a student is trained on.

Each row is rendered with the student's template. A row that is too long, or that the template cannot render,
is left out and counted, never cut. The loss is on the completion only, and every row's labels end with the
EOS token.
"""

import sys
from typing import Any

from distill.recipe.dataset import Training
from distill.records import Example
from distill.store import shards
from distill.text import chat_template as chat

MOST_UNRENDERABLE = 0.05
"""A larger share of rows (and more than one) that cannot be rendered ends the training: the template is wrong
then, not the rows."""
SHOWN_FAILURES = 5


def encode_rows(
    tokenizer: Any, examples: list[str], training: Training
) -> tuple[list[dict[str, list[int]]], dict[str, Any]]:
    """Token ids and labels of the examples that fit, and what was left out, as the columns of a Checkpoint.

    Raises ValueError when no example is left, or when more than MOST_UNRENDERABLE of them cannot be rendered.
    """
    rows: list[dict[str, list[int]]] = []
    too_long, failures = 0, list[str]()
    chosen = _chosen(examples, training)
    for example in chosen:
        prompt, completion = (
            [{"role": m.role, "content": m.content} for m in part]
            for part in (example.prompt, example.completion)
        )
        try:
            encoded = chat.encode_pair(tokenizer, prompt, completion)
        except Exception as error:  # a template may raise anything; one row never ends a training
            failures.append(f"{example.id}: {chat.cause(error)}")
            continue
        if len(encoded.prompt) + len(encoded.completion) > training.max_length:
            too_long += 1
            continue
        rows.append(
            {
                "input_ids": encoded.prompt + encoded.completion,
                "labels": [-100] * len(encoded.prompt) + encoded.completion,
            }
        )
    first = failures[:SHOWN_FAILURES]
    if failures:
        print(
            f"{len(failures)} of {len(chosen)} rows cannot be rendered: {'; '.join(first)}", file=sys.stderr
        )
    if len(failures) > max(1, MOST_UNRENDERABLE * len(chosen)):
        raise ValueError(
            f"{len(failures)} of {len(chosen)} rows cannot be rendered with base.chat_template: "
            f"{'; '.join(first)}"
        )
    if not rows:
        causes = [
            f"{too_long} examples are longer than training.max_length={training.max_length} tokens",
            *first,
        ]
        raise ValueError(f"no row to train on: {'; '.join(causes)}")
    return rows, {
        "rows_trained": len(rows),
        "rows_too_long": too_long,
        "rows_unrenderable": len(failures),
        "unrenderable": first,
    }


def _chosen(examples: list[str], training: Training) -> list[Example]:
    """All examples, or a seeded choice of `max_rows` in their order."""
    import random

    found = [example for path in examples for example in shards.read(Example, path)]
    if training.max_rows is None or training.max_rows >= len(found):
        return found
    kept = sorted(random.Random(training.seed).sample(range(len(found)), training.max_rows))
    return [found[index] for index in kept]
