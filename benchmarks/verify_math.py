r"""Measures how fast mathematical answers are judged, beside the ways in which peers judge the same answers,
in one run.

    .venv/bin/python benchmarks/verify_math.py
    .venv/bin/python benchmarks/verify_math.py --gsm8k golds.jsonl.gz --math golds.jsonl \
        --traces traces.jsonl.gz --show 20

Sets, with about 30 % wrong answers: `gsm8k` (integers, money, thousands separators), `math` (8 answers a
problem, repeated as samples repeat, some symbolic), `symbolic` (nothing that spelling or arithmetic decides)
and `long` (plain answers after 32,000 characters). They are seeded and generated here; references of the
first two may come from files of JSON lines with an `answer`, and are then spelled and spoiled here.
`--traces` adds real completions: lines with `response` and `answer`.

Every measurement is a forked process that judges the set once, with empty memories and a warm interpreter;
peers take turns, and the figure is the median. CPU is that of the process and all its children; imports and
the start of workers are not counted. The ratio is to plain math-verify. NeMo-Skills' way is given bare
answers, the others boxes or completions. Agreement with math-verify is no accuracy: it is known to be wrong
on some pairs, and `--show` lists those on which it and this project differ.
"""

import argparse
import json
import logging
import multiprocessing
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from string import Template
from typing import Any, NamedTuple

import fsspec
import psutil
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

from distill.recipe import Verification
from distill.records import Problem, Trace
from distill.verifiers import by_rules
from distill.verifiers.math.worker_pool import pool

SAMPLES = 8
LONG_CHARACTERS = 32_000
WRONG_SHARE = 0.3
POOL_CHUNK = 64
"""Pairs a message of the process pool: at 1 the messages cost more than plain answers."""
WARM_UP = (
    (r"\sqrt{8}", r"2\sqrt{2}"),
    ("x^{2}-1", "(x-1)(x+1)"),
    (r"\frac{\pi}{2}", r"\arcsin(1)"),
    (r"\frac{x^{2}-1}{x-1}", "x+1"),
    (r"\frac{\sqrt{2}}{2}", r"\sin(\frac{\pi}{4})"),
    ("y=2x-3", "2x-y=3"),
    (r"2e^{3}-\ln(5)", r"2e^{3}-\log_{10}(5)"),
)
"""What every way judges before the clock starts: parser and algebra fill their caches with the first pairs of
a form."""
STEP = "We add $\\frac{a}{b}$ and $x^{2}$, so that the sum is {} and we go on with the next part of it. "
INVENTED = r"""
$product : $product ; x = $product ; $product.0 : $sum ; $product_1
\frac{$a}{$b_19} : \dfrac{$a}{$b_19} ; $a/$b_19 : \frac{$a_1}{$b_19} ; $b
${a}000 : $a,000 ; $a{,}000 : ${a}00 ; $a,001
$a : $a\text{ cm} ; $a : $b_20 ; -$a
$a\sqrt{$c} : \sqrt{$aac} ; $a \sqrt $c : $a_1\sqrt{$c} ; $a\sqrt{$c_6}
\frac{$a\pi}{$b} : \frac{$a}{$b}\pi ; \dfrac{$a\pi}{$b} : \frac{$a\pi}{$b_1} ; $a\pi
x^2+${a}x+$b : $b + ${a}x + x^2 ; x^{2} + ${a}x + $b : x^2-${a}x+$b ; x^2+${a}x
($a,$b) : \left($a, $b\right) ; ($a, $b) : ($b,$a) ; ($a,-$b)
[$a,\infty) : \left[$a, \infty\right) ; x \geq $a : ($a,\infty) ; (-\infty,$a]
\frac{$a+\sqrt{$c}}{2} : \frac{$a}{2}+\frac{\sqrt{$c}}{2} : \frac{$a-\sqrt{$c}}{2}
y=${a}x-$b : y = ${a}x - $b ; ${a}x - y = $b : y=${a}x+$b
$a^\circ : $a^{\circ} ; $a : $a_30^\circ ; $b_40
"""
"""About the mix of competition mathematics, half plain numbers: reference : right spellings : wrong answers."""
ALGEBRA = r"""
\ln $product : \ln $a+\ln $b : \ln $product_1 ; \ln $a
y=${a}x-$b : y = ${a}x - $b ; ${a}x - y = $b : y=${a}x+$b
\cos(${a}x) : \cos ${a}x ; \sin(\frac{\pi}{2}-${a}x) : \cos(${a_1}x) ; \sin(${a}x)
$a+${b}i : ${b}i + $a : $a-${b}i ; $b+${a}i
${a}e^{$b} : $a \cdot e^{$b} : ${b}e^{$a} ; ${a}e^{-$b}
2x+$a>$b : $b < 2x + $a : 2x+$a<$b ; 2x+$a>$b_1
"""
"""The same, of what only symbolic algebra can decide."""
Says = list[bool]


class Question(NamedTuple):
    """A reference, other right answers, wrong answers."""

    reference: str
    right: list[str]
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference, and an answer to the same question."""

    reference: str
    answer: str
    completion: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What one pass over a set took."""

    cpu_seconds: float
    wall_seconds: float
    says: Says


def main() -> int:
    chosen = arguments()
    logging.disable(logging.CRITICAL)  # math-verify warns for each timeout
    for name, pairs in sets(chosen).items():
        slow = name in ("math", "symbolic", "traces")
        contenders = {who: way for who, way in WAYS.items() if slow or "2 workers" not in who}
        if name == "long":
            contenders |= {REFERENCE: partial(plain, whole=True)}
        costs: dict[str, list[Cost]] = {who: [] for who in contenders}
        for _ in range(chosen.repeats):
            for who, way in contenders.items():
                costs[who].append(measured(way, pairs))
        report(name, pairs, costs)
        disagreements(pairs, costs, chosen.show)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", help="JSON lines with `answer`, plain or .gz: references of the set gsm8k")
    parser.add_argument("--math", help="the same for the set math")
    parser.add_argument("--traces", help="JSON lines with `response` and `answer`: a set of real completions")
    parser.add_argument("--pairs", type=int, default=480, help="pairs a set (long: an eighth of it)")
    parser.add_argument("--repeats", type=int, default=3, help="passes of each peer over each set")
    parser.add_argument("--only", nargs="+", help="names of sets")
    parser.add_argument("--show", type=int, default=0, help="list so many pairs on which math-verify differs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


# Sets


def sets(chosen: argparse.Namespace) -> dict[str, list[Pair]]:
    """The pairs of each set that is asked for."""
    rng, count = random.Random(chosen.seed), chosen.pairs
    if chosen.gsm8k:
        golds = draw(chosen.gsm8k, count, rng)
    else:
        golds = [str(rng.choice((5, 60, 900, 40_000, 3_000_000)) + n) for n in range(count)]
    found = {"gsm8k": [boxed(gold, money(gold, rng)) for gold in golds]}
    if chosen.math:
        questions = [spelled(gold) for gold in draw(chosen.math, count // SAMPLES, rng)]
    else:
        questions = invented(INVENTED, (19, 23), count, rng)
    found["math"] = [pair for question in questions for pair in sampled(question, rng)]
    symbolic = invented(ALGEBRA, (99, 99), count, rng)
    found["symbolic"] = [pair for question in symbolic for pair in sampled(question, rng)]
    some = rng.sample(found["gsm8k"], max(1, count // 8))
    found["long"] = [boxed(pair.reference, pair.answer, LONG_CHARACTERS) for pair in some]
    if chosen.traces:
        rows = [(row["answer"], row["response"]) for row in islice(lines(chosen.traces), count)]
        found["traces"] = [Pair(str(answer), last_box(text), text) for answer, text in rows]
    return {name: pairs for name, pairs in found.items() if not chosen.only or name in chosen.only}


def lines(path: str) -> Iterator[dict[str, Any]]:
    with fsspec.open(path, "rt", encoding="utf-8", compression="infer") as file:
        yield from map(json.loads, file)


def draw(path: str, count: int, rng: random.Random) -> list[str]:
    golds = [str(row["answer"]) for row in lines(path)]
    return rng.sample(golds, min(count, len(golds)))


def boxed(gold: str, answer: str, characters: int = 300) -> Pair:
    steps = "".join(STEP.replace("{}", str(n), 1) for n in range(characters // len(STEP)))
    return Pair(gold, answer, f"{steps}The answer is\n\\[\\boxed{{{answer}}}\\]")


def last_box(text: str) -> str:
    """The last box with at most two levels of braces inside, which short answers need; "" where there is none."""
    found = re.findall(r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}", text)
    return found[-1] if found else ""


def money(gold: str, rng: random.Random) -> str:
    """A number as models write it, right or wrong."""
    number = gold.replace(",", "")
    if rng.random() < WRONG_SHARE and number.lstrip("-").isdigit():
        number = str(int(number) + rng.choice((-1, 1, 10, int(number) or 2)))
    grouped = f"{int(number):,}" if number.lstrip("-").isdigit() else number
    return rng.choice((number, number, number, grouped, rf"\${number}", rf"\${grouped}", f"{number}.00"))


def sampled(problem: Question, rng: random.Random) -> list[Pair]:
    """A problem's samples: most say the same in the same way."""
    gold, right, wrong = problem
    answers = (
        rng.choice(wrong) if rng.random() < WRONG_SHARE else gold if rng.random() < 0.6 else rng.choice(right)
        for _ in range(SAMPLES)
    )
    return [boxed(gold, answer) for answer in answers]


def spelled(gold: str) -> Question:
    """Other spellings of any reference, and answers near it."""
    first, digits, rest = re.fullmatch(r"(\D*)(\d*)(.*)", gold, re.DOTALL).groups()
    wrong = [f"{first}{int(digits or 0) + step}{rest}" for step in (1, 2)]
    right = [
        gold.replace(r"\frac", r"\dfrac"),
        gold.replace(r"\left", "").replace(r"\right", ""),
        gold.replace(",", ", "),
        f"{gold} ",
    ]
    return Question(gold, right, wrong)


def invented(table: str, most: tuple[int, int], pairs: int, rng: random.Random) -> list[Question]:
    """The lines of a table in turn, filled with numbers a and b up to these, and what is made of them."""
    found, templates = [], table.strip().split("\n")
    for number in range(pairs // SAMPLES):
        a, b = rng.randint(2, most[0]), rng.randint(3, most[1])
        numbers = {"a": a, "b": b, "sum": a + b, "product": a * b, "product_1": a * b + 1, "b_19": b * 19}
        if table is INVENTED:
            c = rng.choice((2, 3, 5, 7))
            numbers |= {"c": c, "c_6": c + 6, "aac": a * a * c}
        numbers |= {"a_1": a + 1, "a_30": a + 30, "b_1": b + 1, "b_20": b + 20, "b_40": b + 40}
        filled = Template(templates[number % len(templates)]).substitute(numbers)
        reference, right, wrong = filled.split(" : ")
        found.append(Question(reference, right.split(" ; "), wrong.split(" ; ")))
    return found


# Ways to judge


def ours(pairs: Sequence[Pair], workers: int, ready: Callable[[], None]) -> Says:
    """This project, from traces to verdicts."""
    section = Verification(workers=workers)
    limits = {"strict": False, "timeout_seconds": 5.0, "memory_mb": 2048}
    tasks = [{"reference": reference, "answer": answer} | limits for reference, answer in WARM_UP]
    for future in [pool(workers).submit(task) for task in tasks for _ in range(2 * workers)]:
        future.result()
    list(by_rules(traces([boxed(*pair) for pair in WARM_UP]), section))
    given = traces(pairs)
    ready()
    return [verdict.outcome == "correct" for _, verdict in by_rules(given, section)]


def traces(pairs: Sequence[Pair]) -> list[Trace]:
    found = []
    for number, pair in enumerate(pairs):
        problem = Problem(str(number // SAMPLES), "benchmark", "math", "", pair.reference)
        found.append(Trace(problem, "t", 0, None, pair.completion, True, "stop"))
    return found


def plain(pairs: Sequence[Pair], ready: Callable[[], None], whole: bool = False) -> Says:
    """math-verify as its README shows it, one after another; `whole` gives it completions and not their
    boxes."""
    warm(plain_one)
    ready()
    return [
        plain_one(pair.reference, pair.completion if whole else rf"\boxed{{{pair.answer}}}") for pair in pairs
    ]


def pooled(pairs: Sequence[Pair], ready: Callable[[], None]) -> Says:
    """math-verify in a process pool, as reward functions use it."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
        list(executor.map(plain_one, *zip(*WARM_UP * 2, strict=True)))
        ready()
        answers = [rf"\boxed{{{pair.answer}}}" for pair in pairs]
        references = [pair.reference for pair in pairs]
        return list(executor.map(plain_one, references, answers, chunksize=POOL_CHUNK))


def open_r1(pairs: Sequence[Pair], ready: Callable[[], None]) -> Says:
    """`accuracy_reward` of huggingface/open-r1 (src/open_r1/rewards.py): first match, boxes first, on whole
    completions."""
    spelling = NormalizationConfig(
        nits=False, malformed_operators=False, basic_latex=True, equations=True, boxed="all", units=True
    )
    config = [
        LatexExtractionConfig(
            normalization_config=spelling, boxed_match_priority=0, try_extract_without_anchor=False
        )
    ]

    def one(reference: str, completion: str) -> bool:
        gold = parse(reference, extraction_mode="first_match")
        return bool(verify(gold, parse(completion, extraction_config=config, extraction_mode="first_match")))

    warm(one)
    ready()
    return [one(f"${pair.reference}$", pair.completion) for pair in pairs]


def nemo_skills(pairs: Sequence[Pair], ready: Callable[[], None]) -> Says:
    """`math_equal` of NVIDIA/NeMo-Skills (evaluation/math_grader.py): equal texts, texts of letters or
    digits, then math-verify."""

    def one(reference: str, answer: str) -> bool:
        gold, given = (
            re.sub(r"\\left|\\right|\\[,!;: ]|\\\$|\s", "", text).replace("dfrac", "frac")
            for text in (reference, answer)
        )
        if gold == given:
            return True
        return not re.fullmatch(r"[a-zA-Z ,]+|[0-9 ]+", gold) and plain_one(reference, rf"\boxed{{{answer}}}")

    warm(one)
    ready()
    return [one(pair.reference, pair.answer) for pair in pairs]


def warm(one: Callable[[str, str], bool]) -> None:
    for reference, answer in WARM_UP:
        one(reference, rf"\boxed{{{answer}}}")


def plain_one(reference: str, text: str) -> bool:
    return bool(verify(parse(f"${reference}$"), parse(text)))


REFERENCE = "math-verify"
WAYS: dict[str, Callable[..., Says]] = {
    "distill, 1 worker": partial(ours, workers=1),
    "distill, 2 workers": partial(ours, workers=2),
    REFERENCE: plain,
    "math-verify, 2 workers": pooled,
    "open-r1": open_r1,
    "NeMo-Skills": nemo_skills,
}

# Measuring


def measured(way: Callable[..., Says], pairs: Sequence[Pair]) -> Cost:
    """One pass over the pairs in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        return executor.submit(one_pass, way, pairs).result()


def one_pass(way: Callable[..., Says], pairs: Sequence[Pair]) -> Cost:
    marks: list[tuple[float, float]] = []
    says = way(pairs, ready=lambda: marks.append((cpu_seconds(), time.perf_counter())))
    return Cost(cpu_seconds() - marks[0][0], time.perf_counter() - marks[0][1], says)


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children, living and ended."""
    process = psutil.Process()
    living = (seconds for child in process.children(recursive=True) for seconds in child.cpu_times()[:4])
    return time.process_time() + sum(process.cpu_times()[2:4]) + sum(living)


def report(name: str, pairs: Sequence[Pair], costs: dict[str, list[Cost]]) -> None:
    """Prints the rows of one set."""
    base = [cost.cpu_seconds for cost in costs[REFERENCE]]
    theirs = costs[REFERENCE][0].says
    print(f"\n{name}: {len(pairs)} pairs, {len({(p.reference, p.answer) for p in pairs})} of them distinct")
    print(f"{'':24}{'us CPU/pair':>12}{'us wall/pair':>13}{'x CPU':>8}{'x wall':>8}{'agrees':>8}")
    for who, passes in costs.items():
        cpu, wall = (
            statistics.median(getattr(cost, kind) for cost in passes)
            for kind in ("cpu_seconds", "wall_seconds")
        )
        wall_base = statistics.median(cost.wall_seconds for cost in costs[REFERENCE])
        agrees = sum(a == b for a, b in zip(passes[0].says, theirs, strict=True)) / len(pairs)
        figures = f"{cpu / len(pairs) * 1e6:12.1f}{wall / len(pairs) * 1e6:13.1f}{statistics.median(base) / cpu:8.1f}{wall_base / wall:8.1f}"
        print(f"{who:24}{figures}{agrees:8.1%}", flush=True)


def disagreements(pairs: Sequence[Pair], costs: dict[str, list[Cost]], most: int) -> None:
    """Lists distinct pairs on which this project and math-verify differ."""
    mine, theirs = costs["distill, 1 worker"][0].says, costs[REFERENCE][0].says
    differ = {(p.reference, p.answer): a for p, a, b in zip(pairs, mine, theirs, strict=True) if a != b}
    for (reference, answer), accepted in list(differ.items())[:most]:
        print(f"  {'accepted' if accepted else 'refused'} here only: {reference!r} {answer!r}")


if __name__ == "__main__":
    sys.exit(main())
