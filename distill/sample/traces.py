"""A completion as a trace: thinking and answer apart, tokens split between them, and its cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce

from distill.engines import ENGINES, Completion, Usage, cost_usd, usage_of
from distill.files import ready as packed
from distill.progress import say
from distill.recipe import Teacher
from distill.records import Problem, Trace
from distill.store import digest
from distill.text import endings, think_tags, thinking

READY = "ready:"
"""Before the source's name it is the teacher of a trace that came with its problem."""
REFUSED = "refused:"
"""Before a trace's problem id it makes the id of a problem that was not asked because of its prompt."""


def of_tries(problem: Problem, tries: Sequence[Completion], teacher: Teacher, seed: int, index: int) -> Trace:
    """The trace of a draw: its text is the last try's, its cost that of all tries."""
    last, spent = tries[-1], reduce(Usage.plus, map(usage_of, tries))
    parts = _parts(last, teacher)
    thinking_tokens, answer_tokens = token_split(last, parts)
    return Trace(
        problem=problem,
        id=last.key,
        sample_index=index,
        thinking=parts.thinking,
        answer=parts.answer,
        think_closed=parts.think_closed,
        finish_reason=last.finish_reason,
        prompt_tokens=last.prompt_tokens,
        cached_prompt_tokens=last.cached_prompt_tokens,
        thinking_tokens=thinking_tokens,
        answer_tokens=answer_tokens,
        spent_tokens=spent.completion_tokens or last.completion_tokens,
        teacher=thinking.well_formed(last.model),
        seed=seed,
        cost_usd=cost_usd(spent, teacher) if all(_counted(one, teacher) for one in tries) else None,
        failure=last.failure,
    )


def ready(problem: Problem, response: str) -> Iterator[Trace]:
    """The traces of a problem that came with its completions, which no trace holds a second time."""
    problem, ids = replace(problem, response=None), set[str]()
    for index, (text, word) in enumerate(packed.unpack(response)):
        parts = thinking.split_any(text)
        ending = endings.STOP if word is None else endings.ending(word) or endings.UNKNOWN
        identifier = digest(f"{READY}{problem.problem_id}/{digest(text)}")[:16]
        if identifier in ids:  # the same completion twice
            identifier = digest(f"{identifier}/{index}")[:16]
        ids.add(identifier)
        yield Trace(
            problem=problem,
            id=identifier,
            sample_index=index,
            thinking=parts.thinking,
            answer=parts.answer,
            think_closed=parts.think_closed,
            finish_reason=ending.reason,
            teacher=f"{READY}{problem.source}",
            failure=ending.failure,
        )


def refused(problem: Problem, teacher: Teacher, reason: str) -> Trace:
    """The row of a problem whose prompt is not worth its price; the teacher was not asked."""
    identifier = digest(f"{REFUSED}{problem.problem_id}/{reason}")[:16]
    model = thinking.well_formed(teacher.model)
    return Trace(problem, identifier, 0, None, "", False, "error", teacher=model, failure=reason)


def _parts(completion: Completion, teacher: Teacher) -> thinking.Parts:
    """Thinking and answer by the teacher's tags; tells once when it does not think in those of the recipe but
    in others.

    The texts of `replay` may be of any model: without `teacher.think_tags` each text's own are found.
    """
    if ENGINES[teacher.engine].stored and teacher.think_tags is None and not teacher.prefill:
        return thinking.split_any(completion.content, completion.reasoning)
    parts = thinking.split(completion.content, completion.reasoning, teacher.prefill, teacher.think_tags)
    if (
        parts.thinking is None
        and completion.failure is None
        and (name := think_tags.suspected(completion.content or ""))
    ):
        say(
            f"{teacher.model} thinks in tags that the recipe does not name: set teacher.think_tags = "
            f'"{name}" (completions that are there are read again, and none is asked again)',
            once=f"think_tags/{teacher.model}",
        )
    return parts


def token_split(completion: Completion, parts: thinking.Parts) -> tuple[int | None, int | None]:
    """(thinking, answer) tokens: as the server counted, else by characters; None without a total."""
    total = completion.completion_tokens
    if total is None:
        return None, None
    characters = len(parts.thinking or "")
    counted = completion.reasoning_tokens
    if not counted:  # servers that do not parse thinking report 0
        counted = round(total * characters / max(1, characters + len(parts.answer)))
    return min(counted, total), total - min(counted, total)


def _counted(completion: Completion, teacher: Teacher) -> bool:
    """Whether the server counted what has a price."""
    prompt, completed = teacher.prompt_usd_per_million, teacher.completion_usd_per_million
    return (prompt is None or completion.prompt_tokens is not None) and (
        completed is None or completion.completion_tokens is not None
    )
