r"""The verifiers as reward functions for TRL's `GRPOTrainer`: accuracy, format and language consistency
(DeepSeek-R1).

    GRPOTrainer(model, reward_funcs=[accuracy_reward, format_reward, language_consistency_reward],
    train_dataset=rows, ...)

A row of the dataset has a `prompt` and, as far as its kind needs them, `kind` (default math), `reference` (or
`solution`, or `answer`), `tests`, `question` and `language` (default en); `grpo_rows` makes such rows of a
dataset's candidates. Where a chat template opens the think block (R1, QwQ, this project's students), the
model does not write `<think>`: a plain prompt that ends with it is seen, for conversations say it, in a
column `prefill` or with `functools.partial(format_reward, prefill="<think>")`.

What counts is what stands after one closed think block and is shown to a reader. An answer with boxes that
differ has no final answer: peers take the last box, here listing guesses earns nothing. Whether an argument
is sound is not judged, and a completion that was cut after its box is not recognised as cut: TRL gives no
finish reason, its `mask_truncated_completions` is for that.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from distill.recipe import Verification
from distill.records import Candidate, Problem, Trace
from distill.text import boxed, form, language, thinking
from distill.text import prompts as templates
from distill.verifiers import by_rules, row_errors, rules

UNJUDGED = frozenset({"error", "unparsed_reference", "unverified"})
"""Outcomes that say nothing about the completion: neither a reward nor a punishment."""
REFERENCES = ("reference", "solution", "answer")
"""Columns that may hold the reference, the first that a row fills counts: ours, that of TRL and open-r1, that
of others."""
VERIFICATION = Verification()

_HIDDEN = re.compile(
    r"<!--|\\[hv]?phantom\b|<\|[^|<>\s]{1,40}\|>|<\uff5c[^\uff5c\n]{1,40}\uff5c>|[\U000e0000-\U000e007f]"
)
"""What a reader does not see: comments, phantoms, what stands behind an end-of-text token that is spelled
out, tag characters."""
_COVERS = re.compile(r"[`$]+|\\[()\[\]]|://")
_TAGGED = re.compile(r"<answer>([^<]*)</answer>")


@dataclass(frozen=True, slots=True)
class _Turn:
    """What the model said: as one text with tags, and taken apart."""

    text: str
    parts: thinking.Parts


Completion = str | Sequence[dict[str, Any]]
Rewards = list[float | None]


def accuracy_reward(
    prompts: Sequence[Any],
    completions: Sequence[Completion],
    prefill: str | Sequence[str] = "",
    needs_thinking: bool = True,
    verification: Verification = VERIFICATION,
    log_extra: Callable[[str, list[Any]], None] | None = None,
    **columns: Any,
) -> Rewards:
    """1.0 for a correct final answer, 0.0 for any other or none or a timeout, None where nothing could be
    judged.

    Without a closed think block nothing is correct: thinking that a template opened and that never ended
    looks like an answer. For models that do not think, `needs_thinking` is False. Raises ValueError when the
    dataset has no column to judge against. Outcomes and extracted answers go to TRL's table of completions.
    May be called from several threads or processes at once.
    """
    if not any(columns.get(name) is not None for name in (*REFERENCES, "tests")):
        raise ValueError(
            f"the dataset has none of the columns {', '.join(REFERENCES)} and tests: there is nothing to "
            "judge against"
        )
    if verification.judge or verification.majority:
        raise ValueError("a reward is given by rules: take judge and majority out of `verification`")
    turns = _turns(prompts, completions, prefill)
    traces = [_trace(_problem(columns, prompts[row], row), turn.parts) for row, turn in enumerate(turns)]
    verdicts = [verdict for _, verdict in by_rules(traces, verification)]
    if log_extra is not None:
        log_extra("outcome", [verdict.outcome for verdict in verdicts])
        log_extra("extracted", [verdict.extracted for verdict in verdicts])

    def reward(row: int) -> float | None:
        trace, outcome = traces[row], verdicts[row].outcome
        if outcome in UNJUDGED:
            return None
        return float(
            outcome == "correct" and _fair(trace) and (trace.thinking is not None or not needs_thinking)
        )

    return _each(reward, len(traces))


def format_reward(
    prompts: Sequence[Any],
    completions: Sequence[Completion],
    prefill: str | Sequence[str] = "",
    **columns: Any,
) -> Rewards:
    """1.0 for one closed think block with nothing before it and one final answer after it, else 0.0
    (DeepSeek-R1, format reward)."""
    turns = _turns(prompts, completions, prefill)
    problems = [_problem(columns, prompts[row], row) for row in range(len(turns))]
    return _each(lambda row: float(_well_formed(turns[row], problems[row])), len(turns))


def language_consistency_reward(
    prompts: Sequence[Any],
    completions: Sequence[Completion],
    prefill: str | Sequence[str] = "",
    **columns: Any,
) -> Rewards:
    """The share of the thinking's words that are in the row's `language`, 0 to 1; None without words
    (DeepSeek-R1, equation 7).

    Without thinking the answer is measured. In a language with Latin letters, words in code, links and
    formulas count too, so that nothing is hidden there; in others they do not, for code is Latin by nature.
    What a word is, `distill.text.language` says.
    """
    turns = _turns(prompts, completions, prefill)
    problems = [_problem(columns, prompts[row], row) for row in range(len(turns))]
    return _each(lambda row: _consistency(turns[row].parts, problems[row]), len(turns))


def grpo_rows(
    candidates: Iterable[Candidate], template: str, system: str | None = None
) -> Iterator[dict[str, Any]]:
    """One row for each problem among the candidates, asked with a template of `distill.text.prompts`, for
    `Dataset.from_generator`."""
    seen: set[str] = set()
    for candidate in candidates:
        problem = candidate.trace.problem
        if problem.problem_id not in seen:
            seen.add(problem.problem_id)
            yield {
                "prompt": [
                    {"role": message.role, "content": message.content}
                    for message in templates.render(problem, template, system)
                ],
                "kind": problem.kind,
                "reference": problem.reference,
                "tests": problem.tests,
                "question": problem.question,
                "language": problem.language,
            }


def _each(reward: Callable[[int], float | None], rows: int) -> Rewards:
    """The reward of each row; None for one that raised: the boundary of a row."""
    found: Rewards = []
    for row in range(rows):
        try:
            found.append(reward(row))
        except Exception as error:
            row_errors.told(error, str(row))
            found.append(None)
    return found


def _turns(
    prompts: Sequence[Any], completions: Sequence[Completion], prefill: str | Sequence[str]
) -> list[_Turn]:
    """The turn of each completion, behind what its prompt or `prefill` opened it with."""
    opened = [prefill] * len(prompts) if isinstance(prefill, str) else prefill
    rows = zip(prompts, completions, opened, strict=True)
    return [_turn(completion, given or _opened_by(prompt)) for prompt, completion, given in rows]


def _turn(completion: Completion, prefill: str) -> _Turn:
    """The last assistant message of a completion."""
    if isinstance(completion, str):
        return _Turn(prefill + completion, thinking.split(completion, prefill=prefill))
    said = [message for message in completion if message.get("role") == "assistant"][-1:]
    content = "".join(_text(message.get("content")) for message in said)
    reasoning = "".join(
        _text(message.get("reasoning_content") or message.get("thinking")) for message in said
    )
    if reasoning:
        return _Turn(thinking.join(reasoning, content), thinking.split(content, reasoning))
    return _Turn(prefill + content, thinking.split(content, prefill=prefill))


def _text(content: Any) -> str:
    """A message's content, a text or a list of blocks, as one text."""
    return "".join(block.get("text", "") for block in content) if isinstance(content, list) else content or ""


def _opened_by(prompt: Any) -> str:
    """The tag when the prompt ends with it, as a plain text or in the assistant's turn that the model goes on
    with."""
    opened = (
        prompt
        if isinstance(prompt, str)
        else _text(prompt[-1]["content"])
        if prompt[-1]["role"] == "assistant"
        else ""
    )
    return thinking.OPEN if opened.rstrip().endswith(thinking.OPEN) else ""


def _problem(columns: dict[str, Any], prompt: Any, row: int) -> Problem:
    """The problem of one row; the prompt stands in for a question that is no column."""
    values = {
        name: column[row]
        for name, column in columns.items()
        if isinstance(column, list) and len(column) > row
    }
    reference = next((values[name] for name in REFERENCES if values.get(name) is not None), None)
    asked = prompt if isinstance(prompt, str) else _text(prompt[-1]["content"])
    return Problem(
        problem_id="",
        source="",
        kind=values.get("kind") or "math",
        question=values.get("question") or asked,
        reference=_written(reference),
        tests=_written(values.get("tests")),
        language=values.get("language") or "en",
    )


def _written(value: Any) -> str | None:
    """A column's value as the text that verifiers read: JSON for numbers and structures."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _trace(problem: Problem, parts: thinking.Parts) -> Trace:
    return Trace(problem, "", 0, parts.thinking, parts.answer, parts.think_closed, "stop")


def _well_formed(turn: _Turn, problem: Problem) -> bool:
    """One think block at the start, and one final answer behind it that a reader can see."""
    one_block = (
        turn.text.lstrip().startswith(thinking.OPEN)
        and turn.text.count(thinking.OPEN) == turn.text.count(thinking.CLOSE) == 1
    )
    if not one_block or not (turn.parts.thinking or "").strip() or not turn.parts.answer.strip():
        return False
    if form.fault(_trace(problem, turn.parts)):
        return False
    return not rules(problem.kind).final_box or (
        _HIDDEN.search(turn.parts.answer) is None and len(_boxed(turn.parts.answer)) == 1
    )


def _fair(trace: Trace) -> bool:
    """One final answer, in a box, in tags or as a statement, that a reader can see."""
    if not rules(trace.problem.kind).final_box:
        return True
    answers = _boxed(trace.answer) or set(_TAGGED.findall(trace.answer))
    return len(answers) <= 1 and _HIDDEN.search(trace.answer) is None


def _boxed(answer: str) -> set[str]:
    """The distinct contents of an answer's boxes; boxes that are joined to one list are one, an empty one is
    none."""
    starts = [opening.start() for opening in boxed.OPENING.finditer(answer)]
    found = [boxed.any_boxed(answer[start:end]) for start, end in pairwise([*starts, len(answer)])]
    contents = [content for content in found if content]
    if len(contents) > 1 and boxed.any_boxed(answer) == ", ".join(contents):
        return {", ".join(contents)}
    return set(contents)


def _consistency(parts: thinking.Parts, problem: Problem) -> float | None:
    text = parts.thinking or parts.answer
    shown = text if problem.language in language.HOME else _COVERS.sub(" ", text)
    return language.share(
        shown, problem.language, problem.question, everything=problem.language not in language.HOME
    )
