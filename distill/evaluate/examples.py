"""Which traces a report shows: problems that the student won or lost against its base, and its extremes.

Problems are chosen from pass rates alone, so that only the chosen traces are read as text.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from distill.records import Candidate, Outcome

EACH = 6
"""Problems of each group."""
LONGEST_TEXT = 20_000
"""Characters of a trace that are shown: of a longer one both ends."""


class Shown(NamedTuple):
    """One trace as a reader sees it."""

    who: str
    """`base`, `student` or another role."""
    outcome: Outcome
    detail: str
    extracted: str | None
    finish_reason: str
    tokens: int | None
    thinking: str | None
    answer: str


class Example(NamedTuple):
    """A problem, and what models made of it."""

    problem_id: str
    source: str
    question: str
    reference: str
    traces: tuple[Shown, ...]


class Group(NamedTuple):
    """Examples that show one thing."""

    title: str
    examples: tuple[Example, ...]


class Choice(NamedTuple):
    """Problem ids by what they show, the most telling first."""

    lost: tuple[str, ...]
    won: tuple[str, ...]
    solved: tuple[str, ...]
    """Solved by the student, the rarest success first."""
    failed: tuple[str, ...]
    """Never solved by the student though its base or many draws might have."""


def choose(base: Mapping[str, float], student: Mapping[str, float], each: int = EACH) -> Choice:
    """Problems to show, from the pass rates of base and student; ties by problem id."""
    change = {one: student[one] - base[one] for one in sorted(student) if one in base}
    lost = sorted((one for one in change if change[one] < 0), key=lambda one: change[one])[:each]
    won = sorted((one for one in change if change[one] > 0), key=lambda one: -change[one])[:each]
    others = [one for one in sorted(student) if one not in lost and one not in won]
    solved = sorted((one for one in others if student[one] > 0), key=lambda one: student[one])[:each]
    failed = [one for one in others if student[one] == 0][:each]
    return Choice(tuple(lost), tuple(won), tuple(solved), tuple(failed))


def groups(choice: Choice, candidates: Mapping[str, Iterable[Candidate]]) -> list[Group]:
    """The chosen problems with one trace of each role: where a problem was lost, a wrong one of the student
    and a right one of the base; where it was won, the other way round. Empty groups are left out."""
    wanted = {one for group in choice for one in group}
    picked: dict[tuple[str, str, bool], Candidate] = {}
    problems: dict[str, Candidate] = {}
    for role, rows in candidates.items():
        for row in rows:
            problem = row.trace.problem.problem_id
            if problem in wanted:
                problems.setdefault(problem, row)
                picked.setdefault((problem, role, row.verdict.outcome == "correct"), row)
    plan = (
        ("Right with the base, wrong with the student", choice.lost, {"base": True, "student": False}),
        ("Wrong with the base, right with the student", choice.won, {"base": False, "student": True}),
        ("Solved by the student, the hardest first", choice.solved, {"student": True}),
        ("Not solved by the student", choice.failed, {"student": False}),
    )
    made = []
    for title, ids, right in plan:
        examples = tuple(
            _example(
                problems[one], [(role, picked.get((one, role, is_right))) for role, is_right in right.items()]
            )
            for one in ids
            if one in problems
        )
        if examples:
            made.append(Group(title, examples))
    return made


def _example(row: Candidate, traces: Iterable[tuple[str, Candidate | None]]) -> Example:
    problem = row.trace.problem
    return Example(
        problem.problem_id,
        problem.source,
        shortened(problem.question),
        shortened(problem.reference or ""),
        tuple(_shown(role, one) for role, one in traces if one is not None),
    )


def _shown(role: str, row: Candidate) -> Shown:
    trace, verdict = row.trace, row.verdict
    counts = [count for count in (trace.thinking_tokens, trace.answer_tokens) if count is not None]
    return Shown(
        role,
        verdict.outcome,
        verdict.detail,
        verdict.extracted,
        trace.finish_reason,
        sum(counts) if counts else None,
        None if trace.thinking is None else shortened(trace.thinking),
        shortened(trace.answer),
    )


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    """A text of at most `most` characters: of a longer one both ends, and how much is left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"
