"""Makes the seed problem sets: multi-step arithmetic and word problems, in English and Chinese.

    python data/seed/generate.py            # rewrites train.jsonl and heldout.jsonl beside this file

A *shape* is the order of a problem's operations ("+-", "*-+", ...) in one wording family; a *problem* is a
shape with numbers, a name and an object. Every shape in `HELD_OUT_SHAPES` and every number tuple whose hash
falls in the held-out tenth is kept out of training, so a held-out problem shares neither its
shape-with-numbers nor, for half of them, even its shape with anything that a teacher or a student was trained
on. It promises nothing about difficulty beyond what one can do with whole numbers from 0 to 199.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LICENCE = "Apache-2.0"
LARGEST = 199  # no intermediate result leaves 0..199: a small transformer can know these sums by heart
HELD_OUT_SHAPES = {"en-": ("-+", "+--"), "zh-": ("+-", "-++"), "sum": ("a-b+c", "a+b-c-d")}
NAMES_EN = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Jack", "Emma")
NAMES_ZH = ("小明", "小红", "小刚", "小丽")
OBJECTS_EN = ("apples", "books", "coins", "cards", "pens", "stamps")
OBJECTS_ZH = ("苹果", "橘子", "鸡蛋", "杯子")
EVENTS_EN = {
    "+": ("{name} buys {n} more.", "{name} finds {n} more.", "A friend gives {name} {n} more."),
    "-": ("{name} gives away {n}.", "{name} loses {n}.", "{name} sells {n}."),
    "*": ("Then {name} has {n} times as many.", "{name} works hard and now has {n} times as many."),
}
EVENTS_ZH = {
    "+": ("又买了{n}个。", "又得到{n}个。"),
    "-": ("送出{n}个。", "卖掉{n}个。"),
    "*": ("后来变成原来的{n}倍。",),
}
SHAPES = (
    "+-",
    "-+",
    "++",
    "--",
    "*-",
    "*+",
    "+*",
    "-*",
    "++-",
    "+-+",
    "+--",
    "-++",
    "-+-",
    "--+",
    "+++",
    "*+-",
    "*-+",
    "+-*",
    "-+*",
)
SUMS = ("a+b-c", "a-b+c", "a+b+c", "a-b-c", "(a+b)*c", "(a-b)*c", "a*b+c", "a*b-c", "a+b*c")
SUMS += ("a-b+c-d", "a+b-c+d", "a+b-c-d", "a+b+c-d", "a-b-c+d", "a*b+c-d", "a*b-c+d")


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: `left operator right = result`."""

    left: int
    operator: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}"


@dataclass(frozen=True, slots=True)
class SeedProblem:
    """A question with the operations that solve it, in order."""

    language: str
    shape: str
    question: str
    steps: tuple[Step, ...]
    name: str
    thing: str

    @property
    def answer(self) -> int:
        return self.steps[-1].result

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.steps[0].left, *(step.right for step in self.steps))

    @property
    def held_out(self) -> bool:
        """True when the shape or the numbers belong to the held-out part."""
        if self.shape[3:] in HELD_OUT_SHAPES[self.shape[:3]]:
            return True
        return hashlib.sha256(repr((self.shape, self.numbers)).encode()).digest()[0] < 26


def apply(left: int, operator: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def step_range(operator: str, left: int) -> tuple[int, int]:
    """The smallest and largest right-hand number that keep `left operator right` within 0..LARGEST."""
    return {
        "+": (2, min(60, LARGEST - left)),
        "-": (2, min(60, left - 1)),
        "*": (2, min(5, LARGEST // max(left, 1))),
    }[operator]


def draw_step(rng: random.Random, left: int, operator: str) -> Step | None:
    """One operation on `left` that stays within 0..LARGEST, or None when there is no room for it."""
    low, high = step_range(operator, left)
    if high < low:
        return None
    right = rng.randint(low, high)
    return Step(left, operator, right, apply(left, operator, right))


def draw_steps(rng: random.Random, operators: str) -> tuple[Step, ...]:
    """Operations in order, each on the result of the one before."""
    while True:
        value = rng.randint(3, 30 if "*" in operators else 60)
        steps: list[Step] = []
        for operator in operators:
            step = draw_step(rng, value, operator)
            if step is None:
                break
            steps.append(step)
            value = step.result
        if len(steps) == len(operators):
            return tuple(steps)


def english(rng: random.Random) -> SeedProblem:
    shape = rng.choice(SHAPES)
    steps = draw_steps(rng, shape)
    name, thing = rng.choice(NAMES_EN), rng.choice(OBJECTS_EN)
    events = " ".join(rng.choice(EVENTS_EN[s.operator]).format(name=name, n=s.right) for s in steps)
    question = f"{name} has {steps[0].left} {thing}. {events} How many {thing} does {name} have now?"
    return SeedProblem("en", "en-" + shape, question, steps, name, thing)


def chinese(rng: random.Random) -> SeedProblem:
    shape = rng.choice(SHAPES)
    steps = draw_steps(rng, shape)
    name, thing = rng.choice(NAMES_ZH), rng.choice(OBJECTS_ZH)
    events = "".join(rng.choice(EVENTS_ZH[s.operator]).format(n=s.right) for s in steps)
    question = f"{name}有{steps[0].left}个{thing}。{events}{name}现在有多少个{thing}?"
    return SeedProblem("zh", "zh-" + shape, question, steps, name, thing)


def arithmetic(rng: random.Random) -> SeedProblem:
    shape = rng.choice(SUMS)
    while True:
        steps = sum_steps(rng, shape)
        if steps is not None:
            break
    values = dict(zip("abcd", sum_numbers(shape, steps), strict=False))
    expression = "".join(f" {c} " if c in "+-*" else str(values.get(c, c)) for c in shape)
    question = rng.choice(("Compute {}.", "What is {}?", "Find the value of {}.")).format(expression)
    return SeedProblem("en", "sum" + shape, question, steps, "", "")


def sum_steps(rng: random.Random, shape: str) -> tuple[Step, ...] | None:
    """The operations of an expression in order of precedence, or None when the numbers drawn leave the
    range."""
    if shape == "a+b*c":
        product = draw_step(rng, rng.randint(2, 25), "*")
        first = rng.randint(2, 60)
        if product is None or first + product.result > LARGEST:
            return None
        return product, Step(product.result, "+", first, product.result + first)
    return draw_steps(rng, "".join(c for c in shape if c in "+-*"))


def sum_numbers(shape: str, steps: tuple[Step, ...]) -> tuple[int, ...]:
    if shape == "a+b*c":
        return steps[1].right, steps[0].left, steps[0].right
    return (steps[0].left, *(step.right for step in steps))


FAMILIES: tuple[tuple[float, Callable[[random.Random], SeedProblem]], ...] = (
    (0.45, english),
    (0.3, arithmetic),
    (0.25, chinese),
)


def draw(rng: random.Random) -> SeedProblem:
    """One problem of any family, by the shares in `FAMILIES`."""
    (make,) = rng.choices([family for _, family in FAMILIES], [share for share, _ in FAMILIES])
    return make(rng)


def stream(seed: int, *, held_out: bool) -> Iterator[SeedProblem]:
    """Endless different problems of one side of the split."""
    rng, seen = random.Random(seed), set[str]()
    while True:
        problem = draw(rng)
        if problem.held_out == held_out and problem.question not in seen:
            seen.add(problem.question)
            yield problem


def write(path: Path, problems: Iterator[SeedProblem], count: int) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for problem, _ in zip(problems, range(count), strict=False):
            row = {
                "question": problem.question,
                "answer": str(problem.answer),
                "language": problem.language,
                "shape": problem.shape,
                "licence": LICENCE,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    folder = Path(__file__).parent
    write(folder / "train.jsonl", stream(1, held_out=False), 2000)
    write(folder / "heldout.jsonl", stream(2, held_out=True), 300)
