"""Trains one student on the filtered dataset and on as many unfiltered traces, several seeds each, and
compares.

    .venv/bin/python benchmarks/filtered_vs_unfiltered.py --student tiny-qwen2 --seeds 3 --rows 1200

The unfiltered arm draws from everything that the teacher returned with a text (wrong, mixed-language and
repeated ones too). Both arms see the same number of rows, epochs and steps, the same base and the same
held-out problems; the seed changes the choice of rows, their order and the sampling. It makes or reuses the
dataset first, and takes about 3 minutes a student on 2 CPU cores. It says what is true of this student and
teacher, and nothing about others.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from distill import collect, curate, engines, evaluate, sample, train, verify
from distill.curate.examples import examples as to_examples
from distill.engines import Completions
from distill.files import readers
from distill.recipe import DatasetRecipe, Sampling, StudentRecipe, Teacher, load
from distill.records import Candidate, Problem
from distill.store import list_shards, schema, shards


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default="tiny-qwen2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1200, help="rows that each student is trained on")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    student = load.load_student(chosen.student)
    dataset = load.load_dataset(student.dataset)
    candidates = list(read_candidates(dataset_folder(student.dataset)))
    problems = list(held_out(student))
    arms = {
        "filtered": [c for c in candidates if c.dropped is None],
        "unfiltered": [c for c in candidates if c.trace.failure is None and c.trace.answer],
    }
    rows = min(chosen.rows, *(len(arm) for arm in arms.values()))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for seed in range(chosen.seeds):
        for name, arm in arms.items():
            found[name].append(run(student, dataset, random.Random(seed).sample(arm, rows), problems, seed))
            print(
                f"{name:11} seed {seed}: "
                + "  ".join(f"{key} {value:.3f}" for key, value in found[name][-1].items()),
                flush=True,
            )
    print(summary(found, rows, chosen.student))
    if chosen.json:
        chosen.json.write_text(
            json.dumps({"rows": rows, "student": chosen.student, "runs": found}, indent=1), encoding="utf-8"
        )
    return 0


def dataset_folder(name: str) -> Path:
    """The folder of a dataset, made first when it is not in the store."""
    command = [sys.executable, "-m", "distill", "dataset", name]
    return Path(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]
    )


def read_candidates(folder: Path) -> Iterable[Candidate]:
    """All candidates of a dataset, dropped ones too."""
    for path in list_shards(f"{folder}/candidates"):
        yield from shards.read(Candidate, path)


def held_out(student: StudentRecipe) -> Iterable[Problem]:
    """The problems that the student is evaluated on."""
    for source in (source for suite in student.evaluation.suites for source in suite.problems):
        yield from collect.collect(readers.read_rows(source), source, student.evaluation.verification)


def run(
    student: StudentRecipe,
    dataset: DatasetRecipe,
    chosen: list[Candidate],
    problems: list[Problem],
    seed: int,
) -> dict[str, float]:
    """Trains on the chosen candidates and scores the student."""
    kept = pa.Table.from_pylist([schema.to_row(candidate) for candidate in chosen], schema.schema(Candidate))
    with tempfile.TemporaryDirectory() as folder:
        examples = f"{folder}/examples.parquet"
        made = to_examples(kept, dataset.sampling.prompt, dataset.sampling.system)
        shards.write_tables(made.schema, [made], examples)
        training = student.training.model_copy(update={"seed": seed})
        checkpoint = train.train(student.base, training, [examples], f"{folder}/model", f"{folder}/train.log")
        section = student.evaluation
        teacher = Teacher(
            engine=section.engine,
            model=f"{folder}/model",
            dtype=section.dtype,
            concurrency=section.concurrency,
        )
        sampling = Sampling(
            n=section.n,
            temperature=section.temperature,
            top_p=section.top_p,
            max_tokens=section.max_tokens,
            seed=seed,
        )
        with (
            engines.open_engine(teacher) as engine,
            Completions(f"{folder}/completions.sqlite") as completions,
        ):
            traces = sample.sample(problems, sample.Asked(teacher, sampling), engine, completions)
            judged = curate.measure(verify.verify(traces, section.verification), dataset.curation)
            score = evaluate.score(judged, "student", "student")
    share = float("nan") if score.language_share is None else score.language_share
    return {"pass@1": score.pass_at_1, "language_share": share, "final_loss": checkpoint.final_loss}


def summary(found: dict[str, list[dict[str, float]]], rows: int, student: str) -> str:
    """Means and spreads of the two arms, and their difference seed by seed."""
    lines = [
        (
            f"\n{student}, {rows} rows a student, {len(found['filtered'])} seeds (mean, sample standard "
            "deviation)"
        )
    ]
    for key in ("pass@1", "language_share"):
        for name, runs in found.items():
            values = [one[key] for one in runs]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            lines.append(f"{key:15} {name:11} {statistics.mean(values):.3f}  {spread:.3f}")
        differences = [a[key] - b[key] for a, b in zip(found["filtered"], found["unfiltered"], strict=True)]
        lines.append(
            f"{key:15} difference  {statistics.mean(differences):+.3f}  "
            f"({', '.join(f'{value:+.3f}' for value in differences)})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
