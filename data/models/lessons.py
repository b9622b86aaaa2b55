"""Text that the embedded models learn from: reasoning traces for the teacher, plain text for the student
bases.

The traces are bilingual on purpose: now and then one changes language in the middle of its thinking, checks
itself, or writes more than it must. A model that learns from them makes the mistakes that the pipeline's
filters are for. The plain text has the words, the digits and the sums of the same domain, and no reasoning:
nothing in it solves a problem.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "seed"))

from generate import (
    EVENTS_EN,
    EVENTS_ZH,
    LARGEST,
    NAMES_EN,
    NAMES_ZH,
    OBJECTS_EN,
    OBJECTS_ZH,
    SeedProblem,
    Step,
    apply,
    step_range,
    stream,
)

SWITCH_SHARE = 0.2  # of the multi-step traces change language in the middle
CHECK_SHARE = 0.1  # of the traces check one step again
SENTENCES = {
    "en": {
        "+": ("Adding {n} makes {s}.", "{n} more: {s}."),
        "-": ("Taking away {n} leaves {s}.", "{n} fewer: {s}."),
        "*": ("{n} times as many: {s}.", "Multiplying by {n} gives {s}."),
    },
    "zh": {
        "+": ("增加{n},{s}。", "加上{n}:{s}。"),
        "-": ("减少{n},{s}。", "减去{n}:{s}。"),
        "*": ("变成{n}倍,{s}。", "乘以{n}:{s}。"),
    },
}
OPENINGS = {
    "en": ("We start with {n}.", "At first there are {n}.", "The first number is {n}."),
    "zh": ("开始有{n}。", "最初是{n}。"),
}
JOTTED = {
    "en": {
        "+": ("Adding {n}", "{n} more"),
        "-": ("Taking away {n}", "{n} fewer"),
        "*": ("{n} times as many", "Multiplying by {n}"),
    },
    "zh": {"+": ("增加{n}", "加上{n}"), "-": ("减少{n}", "减去{n}"), "*": ("变成{n}倍", "乘以{n}")},
}
CHECKS = {"en": ("Wait, let me check: {s}. Right.", "Check: {s}, yes."), "zh": ("检查一下:{s}。对。",)}
CLOSINGS = {
    "en": ("So the result is {a}.", "That is {a}.", "So we get {a}."),
    "zh": ("所以结果是{a}。", "一共{a}。"),
}
ANSWERS = {
    "en": ("The answer is \\boxed{{{a}}}.", "The final answer is \\boxed{{{a}}}."),
    "zh": ("答案是\\boxed{{{a}}}。",),
}


def thinking(rng: random.Random, problem: SeedProblem) -> str:
    """A chain of thought that solves the problem, with the habits described above."""
    language, other = problem.language, {"en": "zh", "zh": "en"}[problem.language]
    switch = rng.randrange(1, len(problem.steps)) if rng.random() < SWITCH_SHARE else len(problem.steps)
    parts = [rng.choice(OPENINGS[language]).format(n=problem.steps[0].left)]
    for number, step in enumerate(problem.steps):
        spoken = language if number < switch else other
        parts.append(rng.choice(SENTENCES[spoken][step.operator]).format(n=step.right, s=step))
        if rng.random() < CHECK_SHARE / len(problem.steps):
            parts.append(rng.choice(CHECKS[spoken]).format(s=step))
    parts.append(rng.choice(CLOSINGS[language]).format(a=problem.answer))
    return " ".join(parts) if language == "en" else "".join(parts)


def traces(seed: int) -> Iterator[tuple[SeedProblem, str, str]]:
    """Endless (problem, thinking, answer) with no held-out problem among them."""
    rng = random.Random(seed)
    for problem in stream(seed, held_out=False):
        yield problem, thinking(rng, problem), rng.choice(ANSWERS[problem.language]).format(a=problem.answer)


def draw_fact(rng: random.Random) -> Step:
    """One true sum, difference or product within the seed problems' range."""
    while True:
        operator = rng.choice("++--*")
        left = rng.randint(0, LARGEST if operator != "*" else 99)
        right = rng.randint(0, 60 if operator != "*" else 5)
        result = apply(left, operator, right)
        if 0 <= result <= LARGEST:
            return Step(left, operator, right, result)


def running_total(rng: random.Random, language: str) -> str:
    """The lines of a till roll: each begins with the total of the line before, some with a word for the
    operation."""
    total, lines = rng.randint(2, 60), list[str]()
    while len(lines) < 8:
        operator = rng.choice("+-+-*")
        low, high = step_range(operator, total)
        if high < low:
            total = rng.randint(2, 60)
            continue
        right = rng.randint(low, high)
        step = Step(total, operator, right, apply(total, operator, right))
        spoken = rng.choice(SENTENCES[language][operator]).format(n=right, s=step)
        lines.append(spoken if rng.random() < 0.5 else str(step))
        total = step.result
    return "\n".join(lines)


def sentence(rng: random.Random, language: str) -> str:
    """A sentence of the domain that claims nothing about how to solve anything."""
    n = rng.randint(0, LARGEST)
    if language == "zh":
        event = rng.choice(EVENTS_ZH[rng.choice("+-*")]).format(n=n)
        return rng.choice(
            (
                f"{rng.choice(NAMES_ZH)}有{n}个{rng.choice(OBJECTS_ZH)}。",
                event,
                f"这里有{n}个。",
                f"数字是{n}。",
            )
        )
    name = rng.choice(NAMES_EN)
    event = rng.choice(EVENTS_EN[rng.choice("+-*")]).format(name=name, n=n)
    return rng.choice(
        (f"{name} has {n} {rng.choice(OBJECTS_EN)}.", event, f"There are {n} here.", f"The number is {n}.")
    )


def plain_documents(seed: int) -> Iterator[str]:
    """Endless documents: lists of facts, stories, stories told twice, questions in a row."""
    rng = random.Random(seed)
    questions = stream(seed, held_out=False)
    while True:
        language = "zh" if rng.random() < 0.3 else "en"
        kind = rng.choice(("facts", "running", "running", "story", "twice", "notes", "notes"))
        if kind == "facts":
            yield "\n".join(str(draw_fact(rng)) for _ in range(8))
        elif kind == "running":
            yield running_total(rng, language)
        elif kind == "story":
            yield " ".join(sentence(rng, language) for _ in range(5))
        elif kind == "twice":
            story = " ".join(sentence(rng, language) for _ in range(3))
            yield f"{story}\n{story}"
        else:
            yield "\n".join(note(rng, next(questions)) for _ in range(2))


def note(rng: random.Random, problem: SeedProblem) -> str:
    """A question with what a bookkeeper would jot beside it: which numbers come and go; nothing is worked
    out."""
    words = JOTTED[problem.language]
    start = rng.choice(OPENINGS[problem.language]).format(n=problem.steps[0].left)
    jotted = [rng.choice(words[step.operator]).format(n=step.right) for step in problem.steps]
    return f"{problem.question}\n{start} {'. '.join(jotted)}."
