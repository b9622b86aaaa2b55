"""Training rows out of candidates, column by column: no record is built, so a dataset is cut as fast as
Parquet is written.

The columns are those of `records.Example`. Nothing is chosen here: every row of the table that comes in
becomes an example.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from distill.curate import filters
from distill.records import Example, Message, Problem
from distill.store import schema
from distill.text import prompts as templates
from distill.text import thinking as think

SCHEMA = schema.schema(Example)
TEXT = pa.large_string()
ROLES = ("system", "user", "assistant")

Rows = NDArray[np.int64]


def examples(candidates: pa.Table, template: str, system: str | None = None) -> pa.Table:
    """An example for each candidate of a table, asked as the teacher was asked."""
    completions = completion(candidates)
    prompts, prompt_of = _prompts(candidates, template, system)
    questions = pa.array([turn.content for prompt in prompts for turn in prompt], TEXT)
    roles = [turn.role for turn in prompts[0]] if prompts else []
    asked = prompt_of[:, None] * len(roles) + np.arange(len(roles))
    answered = len(questions) + np.arange(len(prompt_of))[:, None]
    texts = pa.concat_arrays([questions, completions])
    made = {
        "prompt": _conversations(texts, asked, roles),
        "completion": _conversations(texts, answered, ["assistant"]),
        "messages": _conversations(texts, np.hstack([asked, answered]), [*roles, "assistant"]),
        "completion_tokens": completion_tokens(candidates, reported_only=True),
    }
    return pa.table(
        [made[name] if name in made else candidates[name] for name in SCHEMA.names], schema=SCHEMA
    )


def completion(candidates: pa.Table) -> pa.LargeStringArray:
    """The completion of each row in its normal form, as `normalise.join` writes one."""
    thinking, answer = (candidates[name].combine_chunks() for name in ("thinking", "answer"))
    parts = (f"{think.OPEN}\n", thinking, f"\n{think.CLOSE}\n\n", answer, "")
    joined = pc.binary_join_element_wise(
        *(pa.scalar(part, TEXT) if isinstance(part, str) else part for part in parts)
    )
    return pc.coalesce(joined, answer)


def completion_tokens(candidates: pa.Table, reported_only: bool = False) -> pa.Int64Array:
    """Tokens of thinking and answer as reported; where nothing was, null or an estimate from the
    characters."""
    thinking, answer = (candidates[name].combine_chunks() for name in ("thinking_tokens", "answer_tokens"))
    reported = pc.or_(pc.is_valid(thinking), pc.is_valid(answer))
    total = pc.add(pc.fill_null(thinking, 0), pc.fill_null(answer, 0))
    if reported_only:
        return pc.if_else(reported, total, None)
    lengths = [
        pc.fill_null(candidates[name].combine_chunks(), 0)
        for name in ("thinking_characters", "answer_characters")
    ]
    estimated = pc.cast(
        pc.round(pc.divide(pc.cast(pc.add(*lengths), pa.float64()), filters.CHARACTERS_PER_TOKEN)), pa.int64()
    )
    return pc.if_else(reported, total, estimated)


def _prompts(
    candidates: pa.Table, template: str, system: str | None
) -> tuple[list[tuple[Message, ...]], Rows]:
    """The distinct prompts of a table, and for each row the number of its own; siblings share one."""
    prompts: list[tuple[Message, ...]] = []
    prompt_of = np.zeros(candidates.num_rows, dtype=np.int64)
    before: tuple[str, ...] = ()
    columns = (
        candidates[name].to_pylist() for name in ("problem_id", "source", "kind", "question", "language")
    )
    for row, (problem, source, kind, question, language) in enumerate(zip(*columns, strict=True)):
        if (problem, question) != before:
            prompts.append(
                templates.render(
                    Problem(problem, source, kind, question, None, language=language), template, system
                )
            )
            before = (problem, question)
        prompt_of[row] = len(prompts) - 1
    return prompts, prompt_of


def _conversations(texts: pa.LargeStringArray, turns: Rows, roles: Sequence[str]) -> Any:
    """A list of messages for each row of `turns`, which holds positions in `texts`, one column for each
    role."""
    rows = len(turns)
    role_of = np.tile(np.array([ROLES.index(role) for role in roles], dtype=np.int64), rows)
    messages = pa.StructArray.from_arrays(
        [pc.take(pa.array(ROLES, TEXT), pa.array(role_of)), pc.take(texts, pa.array(turns.reshape(-1)))],
        fields=list(_message()),
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * len(roles), pa.int32()), messages).cast(
        SCHEMA.field("messages").type
    )


def _message() -> pa.StructType:
    return SCHEMA.field("messages").type.value_type
