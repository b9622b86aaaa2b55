r"""Measures what the screens for repetition and form flag, beside datatrove's filter for repetition, in one
run on the same texts.

    python -m venv peers && peers/bin/pip install datatrove spacy tokenizers 'xxhash<4' orjson
    .venv/bin/python benchmarks/screens.py --peers-python peers/bin/python --traces FOLDER

Most generated classes are sound reasoning that repeats itself by its nature (tables, lists of tries,
formulas, code, a check of each step); the others have a loop planted, exact or with rounds that differ in a
number. `--traces` adds real ones: *.jsonl.gz with `prompt`, `response`, `answer` and, where known, `correct`
and `finish_reason`. datatrove's thresholds are Gopher's (Rae et al. 2021, table A1), which were made for web
pages; that is what a user gets who takes the filter as it comes.

distill measures repetition, lines, compression, loops, form, mismatch, refusal and leaks, and applies the
thresholds of a recipe's defaults; language and duplicates have benchmarks of their own. Each pass is a
process of its own; speed is in documents a second of its CPU time on the generated texts, after a warm-up;
imports are not counted.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import corpus

WARM_UP = 32
PLANTED = "planted: "
LONG = "prose, 40 times as long"
FORMULA = (
    "We have \\( x_{{{a}}} = \\frac{{{b}}}{{{c}}} \\), so \\[ \\sum_{{i=1}}^{{{a}}} x_i^2 = "
    "\\frac{{{b}^2}}{{{c}^2}} \\cdot {a} \\] "
    "and $y = \\sqrt{{{c}}}$. "
)
CODE = (
    "```python\ndef step_{a}(values):\n    total = {b}\n    for value in values:\n        total += value * "
    "{c}\n"
    "    return total\n```\nThat gives {d}.\n"
)
ROUNDS = (
    "Wait, that is not right, let me start again from the equation and look at each term. ",
    "So the answer is five. Hmm, but is it? ",
    "\\[ 6 - x = 13 - x \\]\nSimplify: \\( 6 = 13 \\)\n\n",
)
COUNTED = (
    "Step {n}: Let me check the calculation again, since I may have missed something. ",
    (
        "Attempt {n}. I still do not see why the sum should be smaller, so I try it once more from the "
        "start.\n\n"
    ),
)
LISTS = (
    "Try n = {n}: {n}^2 + 3 = {square}, which is not divisible by 11.\n",
    "{n} times 7 is {seven}, so far so good.\n",
    "If a = {n}, then b = {rest} and a * b is too small. ",
    "After day {n} there are {square} coins in the box. ",
)
CHECKED = (
    "Next I add {a} and {b}, which makes {c}. Let me check that: {a} and {b} make {c}, so that is right.\n\n"
)

Row = dict[str, Any]
Flags = list[str | None]


def main() -> int:
    chosen = arguments()
    if chosen.contender:
        print(json.dumps(measured(chosen.contender, chosen.rows)))
        return 0
    made, found = (
        list(generated(chosen.documents, chosen.seed)),
        list(real(chosen.traces) if chosen.traces else []),
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("made", "found")]
        for path, rows in zip(paths, (made, found), strict=True):
            path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        passes: dict[str, list[Row]] = {}
        for _ in range(chosen.repeats):
            for who in CONTENDERS:
                if row := passed(who, str(paths[0]), chosen.peers_python):
                    passes.setdefault(who, []).append(row)
        speeds(passes)
        on_real = {who: passed(who, str(paths[1]), chosen.peers_python) for who in passes} if found else {}
    flagged({who: rows[0]["flags"] for who, rows in passes.items()}, made)
    flagged({who: row["flags"] for who, row in on_real.items() if row}, found)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=100, help="of each generated class")
    parser.add_argument("--traces", type=Path, help="folder with real traces")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peers-python", default=sys.executable, help="interpreter that can import datatrove"
    )
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    return parser.parse_args()


def generated(documents: int, seed: int) -> Iterator[Row]:
    """So many texts of each class, some 4 KB each but the long ones."""
    rng = random.Random(seed)
    classes: dict[str, Callable[[], str]] = {
        "prose": lambda: corpus.text(rng, corpus.WORDS),
        LONG: lambda: corpus.text(rng, 40 * corpus.WORDS),
        "formulas": lambda: filled(rng, FORMULA, 30),
        "code": lambda: filled(rng, CODE, 25),
        "each step checked": lambda: filled(rng, CHECKED, 40),
        "a list of tries": lambda: (
            corpus.text(rng, 100) + listed(rng.choice(LISTS), 70) + corpus.text(rng, 100)
        ),
        "a list and little else": lambda: listed(rng.choice(LISTS), 90),
        PLANTED + "a loop": lambda: corpus.text(rng, 300) + " " + rng.choice(ROUNDS) * rng.randrange(20, 60),
        PLANTED + "a loop in a long text": lambda: corpus.text(rng, 3000) + " " + rng.choice(ROUNDS) * 30,
        PLANTED + "rounds with a number": lambda: corpus.text(rng, 200) + " " + counted(rng, 60),
    }
    for name, text in classes.items():
        for number in range(documents if name != LONG else max(1, documents // 20)):
            yield {
                "class": name,
                "question": f"What is {number}?",
                "thinking": text(),
                "answer": "It is \\boxed{7}.",
                "reference": "7",
            }


def filled(rng: random.Random, template: str, count: int) -> str:
    """Prose with formulas, code or steps in it, each with numbers of its own."""
    parts = []
    for _ in range(count):
        a, b = rng.randrange(2, 100), rng.randrange(2, 1000)
        parts += [template.format(a=a, b=b, c=a + b, d=a * b), corpus.text(rng, 8) + " "]
    return "".join(parts)


def listed(template: str, count: int) -> str:
    return "".join(
        template.format(n=n, square=n * n + 3, seven=7 * n, rest=count - n) for n in range(1, count)
    )


def counted(rng: random.Random, count: int) -> str:
    """Rounds that differ in a number: counted up, or drawn."""
    template, numbers = rng.choice(COUNTED), rng.choice((range(1, count), rng.sample(range(1000), count)))
    return "".join(template.format(n=n) for n in numbers)


def real(folder: Path) -> Iterator[Row]:
    """Real traces by what became of them."""
    from distill.text.thinking import split

    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                parts = split(row["response"])
                cut = row.get("finish_reason") == "length" or not parts.think_closed
                name = "real: " + ("cut" if cut else "correct" if row.get("correct") else "wrong")
                facts = {"question": row["prompt"], "reference": row["answer"]}
                yield {"class": name, "thinking": parts.thinking, "answer": parts.answer, **facts}


# Contenders: from rows to why each is flagged


def screens(rows: Sequence[Row]) -> Flags:
    """This project: the columns that these screens need, and its default thresholds."""
    from distill.curate import measures, refusals, repetition
    from distill.curate.filters import reason
    from distill.recipe import Screens, Selection
    from distill.records import Measures
    from distill.text import form

    traces = [_trace(row) for row in rows]
    flags: Flags = []
    for trace, found in zip(
        traces, repetition.measure([measures.reasoning(trace) for trace in traces]), strict=True
    ):
        columns = Measures(
            thinking_characters=len(trace.thinking or "x"),
            answer_characters=len(trace.answer or "x"),
            structure=form.fault(trace),
            mismatch=form.mismatch(trace),
            refusal=refusals.refusal(trace),
            answer_leak=refusals.answer_leak(trace),
            repetition=found.repetition,
            line_repetition=found.line_repetition,
            compression=found.compression,
            loop=found.loop,
        )
        dropped = reason(_outline(columns), Screens(), Selection())
        flags.append(dropped[0] if dropped else None)
    return flags


def datatrove(rows: Sequence[Row]) -> Flags:
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherRepetitionFilter

    screen = GopherRepetitionFilter()
    kept = [screen.filter(Document(text=row["thinking"] or row["answer"] or "x", id="")) for row in rows]
    return [None if one is True else one[1] for one in kept]


CONTENDERS: dict[str, Callable[[Sequence[Row]], Flags]] = {
    "distill": screens,
    "datatrove": datatrove,
}


def _trace(row: Row) -> Any:
    from distill.records import Problem, Trace

    problem = Problem("p", "benchmark", "math", row["question"], str(row["reference"]))
    return Trace(problem, "t", 0, row["thinking"], row["answer"], True, "stop")


def _outline(columns: Any) -> Any:
    from distill.records import Outline

    return Outline("t", "p", "benchmark", "math", "en", 0, "stop", True, "correct", measures=columns)


# Measuring


def passed(who: str, path: str, peers_python: str) -> Row | None:
    """One pass in a process of its own; None when the library is not there."""
    python = sys.executable if who.startswith("distill") else peers_python
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [python, __file__, "--contender", who, "--rows", path],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        print(f"{who}: not installed, or failed ({''.join(done.stderr.strip().splitlines()[-1:])})")
        return None
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(who: str, path: str) -> Row:
    """Documents and megabytes a CPU second, and why each text is flagged."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    CONTENDERS[who](rows[:WARM_UP])
    start = time.process_time()
    flags = CONTENDERS[who](rows)
    seconds = time.process_time() - start
    size = sum(len(row["thinking"] or row["answer"]) for row in rows)
    return {"documents": len(rows) / seconds, "megabytes": size / seconds / 1e6, "flags": flags}


def speeds(passes: dict[str, list[Row]]) -> None:
    """Prints how fast each contender is."""
    for who, rows in passes.items():
        documents, megabytes = (
            statistics.median(row[key] for row in rows) for key in ("documents", "megabytes")
        )
        print(f"{who:12}{documents:10,.0f} documents a CPU second{megabytes:8.2f} MB")


def flagged(flags: dict[str, Flags], rows: Sequence[Row]) -> None:
    """Prints what share of each class is flagged."""
    print(f"\n{'flagged':34}{'texts':>7}" + "".join(f"{who:>14}" for who in flags))
    for name in dict.fromkeys(row["class"] for row in rows):
        places = [number for number, row in enumerate(rows) if row["class"] == name]
        shares = (sum(found[place] is not None for place in places) / len(places) for found in flags.values())
        print(f"{name:34}{len(places):7,}" + "".join(f"{share:14.2%}" for share in shares))


if __name__ == "__main__":
    sys.exit(main())
