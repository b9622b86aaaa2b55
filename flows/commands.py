"""What each command of the command line does: a function of its name. Flows are imported where they are run:
they bring Prefect with them."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distill import progress
from distill.curate import funnel, hub
from distill.engines import EngineError
from distill.evaluate import report as reports
from distill.files import traces
from distill.plan import CannotRun, preflight
from distill.recipe import Curation, DatasetRecipe, StudentRecipe, Verification, load
from distill.recipe import RecipeError as RecipeError
from distill.records import Candidate, Report
from distill.sample import RunStopped
from distill.sample import StoppedByHand as StoppedByHand
from distill.sandbox import SandboxError
from distill.store import StoreError, catalogue, checked, read_text
from distill.text import inert
from distill.train import Host, TrainingError
from distill.verify import summary
from flows import files
from flows.server import ServerError

Options = argparse.Namespace
HELD = 3
"""Exit code of `--gate` where a student is not promoted."""
EXPECTED = (
    CannotRun,
    EngineError,
    hub.HubError,
    SandboxError,
    ServerError,
    RunStopped,
    StoreError,
    TrainingError,
    traces.UnknownFormatError,
)
"""Failures whose message is for the user; anything else is a fault of ours, and shows where."""


def run(options: Options) -> None:
    """The whole loop."""
    preflight(*_both(options))
    with _prefect() as console:
        from flows.loop import distill

        path = distill(options.student, options.dataset, options.set)
    _reported(path, console.reused, options)


def dataset(options: Options) -> None:
    """A filtered dataset."""
    load.load_dataset(options.name, tuple(options.set))  # a wrong recipe is told before a server is started
    with _prefect() as console:
        from flows.loop import make_dataset

        folder = make_dataset(options.name, options.set)
    print(funnel.table(funnel.from_json(read_text(f"{folder.path}/funnel.json"))))
    _reused(console.reused)
    _publish(options, folder.path)
    print(folder.path)


def plan(options: Options) -> None:
    """What a run needs."""
    from distill.plan import as_json, table
    from distill.plan import plan as estimate

    made = estimate(*_both(options), options.gpu, options.gpus)
    print(as_json(made) if options.json else table(made))


def collect(options: Options) -> None:
    """Problem sources into problems."""
    recipe = _dataset(options)
    with _prefect():
        from flows.collect import collect_stage
        from flows.identity import Folders

        folder = collect_stage(Folders.of(recipe))
    print(folder.path)


def sample(options: Options) -> None:
    """Problems into traces."""
    recipe = _dataset(options)
    with _prefect():
        from flows.identity import Folders
        from flows.loop import require_teacher
        from flows.sample import sample_stage

        folders = Folders.of(recipe)
        require_teacher(folders)
        folder = sample_stage(folders)
    print(folder.path)


def verify(options: Options) -> None:
    """Traces into verdicts, of a loop or of a file."""
    if _file_mode(options):
        verification = (
            _dataset(options).verification if options.dataset else load.load_parts(tuple(options.set))[0]
        )
        with progress.showing():
            summaries = files.verify_file(options.input, options.output, verification)
        print(f"{summary.table(summaries)}\n\n{summary.totals(summaries)}")
        files.require_verdicts(options.input, options.output)
        print(options.output)
        return
    recipe = _dataset(options)
    with _prefect():
        from flows.identity import Folders
        from flows.verify import verify_stage

        folder = verify_stage(Folders.of(recipe))
    print(folder.path)


def curate(options: Options) -> None:
    """Verdicts into a dataset, of a loop or of a file."""
    if _file_mode(options):
        curation, wanted = _curation(options)
        if not (options.push_to_hub and files.finished(options.output)):  # a push that failed is repeated
            with progress.showing():
                print(files.curate_file(options.input, options.output, curation, wanted))
        files.require_examples(options.output)
        _publish(options, options.output)
        print(options.output)
        return
    recipe = _dataset(options)
    with _prefect():
        from flows.curate import curate_stage
        from flows.identity import Folders

        folder = curate_stage(Folders.of(recipe))
    _publish(options, folder.path)
    print(folder.path)


def train(options: Options) -> None:
    """A dataset into a student."""
    student, recipe = _both(options)
    preflight(student, recipe)
    with _prefect():
        from flows.identity import Folders
        from flows.train import train_stage

        folder = train_stage(Folders.of(recipe), student)
    if options.push_to_hub and not Host.here().rank:
        print(f"published   {hub.push(folder.path, options.push_to_hub, not options.public, 'model')}")
    print(folder.path)


def evaluate(options: Options) -> None:
    """Base, student and teacher on held-out problems."""
    student, recipe = _both(options)
    if options.suites:
        student = load.only_suites(student, [name for name in options.suites.split(",") if name])
    with _prefect() as console:
        from flows.evaluate import evaluate_stage
        from flows.identity import Folders

        path = evaluate_stage(Folders.of(recipe), student)
    _reported(path, console.reused, options)


def datasets(options: Options) -> None:
    """Recipes and datasets."""
    _recipes("datasets", lambda name: load.load_dataset(name).description)
    print("in the store:")
    for row in catalogue.datasets():
        print(
            f"  {row['path']}: {row['examples']:,} examples of {row['traces']:,} traces by {row['teacher']}"
        )


def students(options: Options) -> None:
    """Recipes and students."""
    _recipes("students", lambda name: load.load_student(name).description)
    print("in the store:")
    for row in catalogue.students():
        scores = ", ".join(
            f"{role} {100 * row[role]:.1f} %" for role in ("base", "student", "teacher") if role in row
        )
        print(
            f"  {row['path']}: {row['rows']:,} rows of {row['dataset']}; "
            f"{row['decision']}{f' ({scores})' if scores else ''}"
        )


def teachers(options: Options) -> None:
    """Recipes of teachers."""
    _recipes("teachers", lambda name: load.load_teacher(name).description)


def report(options: Options) -> None:
    """A report; a student's recipe file stands for its name."""
    path = catalogue.report_path(_named(options.run))
    print(reports.table(catalogue.load_report(path)))
    print(path)


def compare(options: Options) -> None:
    """Students beside one another, on the held-out problems that they share."""
    from distill.evaluate import measure, runs
    from distill.store import keys

    tallies, asked = {}, {}
    for run in options.runs:
        found = catalogue.load_report(catalogue.report_path(_named(run)))
        name, verdicts = f"{found.student}-{found.fingerprint}", catalogue.verdicts(found.fingerprint)
        shards = (path for one in verdicts for path in one.shards)
        candidates = (one for path in shards for one in checked.read(Candidate, path))
        tallies[name] = dict(measure(candidates, name, "student").sources)
        asked[name] = {one.key["traces"]["problems"]: one.key for one in verdicts}
    if len(tallies) < 2:
        raise RecipeError("distill compare: name two different runs or more")
    print(runs.table(tallies))
    first, *others = asked
    for other in others:
        said = dict[str, None]()
        for problems in asked[first].keys() & asked[other].keys():
            one, two = (
                {**key, "traces": key["traces"]["sampling"]}
                for key in (asked[first][problems], asked[other][problems])
            )
            said |= dict.fromkeys(keys.differences(one, two))
        if said:
            print(f"asked or judged differently, {first} and {other}: {', '.join(said)}")


def regrade(options: Options) -> None:
    """Stored answers of a student, judged again by today's verifiers."""
    from distill.evaluate import runs
    from distill.verify import verify as judged

    path = catalogue.report_path(_named(options.run))
    regraded = runs.Regraded()
    with progress.showing():
        for found in catalogue.verdicts(catalogue.load_report(path).fingerprint):
            section = Verification(**{**found.key["verification"], "judge": None})
            for shard in found.shards:
                before = [
                    one
                    for one in checked.read(Candidate, shard)
                    if not one.verdict.verifier.startswith("judge/")
                ]
                regraded.add_all(before, judged((one.trace for one in before), section))
    print(regraded.table())
    if regraded.changed:
        print("distill evaluate makes the report anew with these verdicts; it samples nothing again")
    print(path)


def inspect(options: Options) -> None:
    """Anybody's rows, as they would be read."""
    from rich.console import Console

    from distill.collect import inspection

    if (options.file is None) == (options.hub is None):
        raise RecipeError("distill inspect: name a FILE, or a data set of the hub with --hub ID")
    if options.rows < 1:
        raise RecipeError("distill inspect: --rows is a number from 1")
    if options.write and not options.write.endswith(".toml"):
        raise RecipeError(f"--write {options.write}: the name of a recipe ends in .toml")
    if options.write and os.path.lexists(options.write):
        raise FileExistsError(errno.EEXIST, "File exists, and is not overwritten", options.write)
    origin = inspection.Origin(options.hub or options.file, bool(options.hub), options.split, options.subset)
    found = inspection.inspect(origin, options.rows)
    if found.held:
        console = Console(highlight=False)
        console.print(inspection.shown(found, console.width))
    found.require_usable()
    if options.write:
        with open(options.write, "x", encoding="utf-8") as file:
            file.write(inspection.recipe(found))
        print(options.write)


def trace(options: Options) -> None:
    """One trace."""
    path, row = catalogue.trace(options.id)
    texts = ("question", "thinking", "answer")
    for name, value in row.items():
        if name not in texts and value is not None and not isinstance(value, bytes):
            print(f"{name:22} {inert(str(value))}")
    for name in texts:
        print(f"\n--- {name}\n{inert(str(row.get(name)), keep=chr(10))}")
    print(f"\n{path}")


def view(options: Options) -> None:
    """Rows in a browser."""
    from distill.evaluate import viewer

    paths = catalogue.rows_of(options.what)
    print(f"http://127.0.0.1:{options.port}/ shows {options.what}; Ctrl-C ends it", flush=True)
    viewer.serve(options.what, paths, options.port)


def serve(options: Options) -> None:
    """The run page and the deployments."""
    from flows import loop

    with progress.showing():
        loop.serve(options.host, options.port)


def schedule(options: Options) -> None:
    """The nightly run."""
    from flows import loop

    print(loop.schedule(options.state))


@contextmanager
def _prefect() -> Iterator[progress.Console]:
    """A Prefect server to report to, and progress shown."""
    from flows import server

    with progress.showing() as console, server.running():
        yield console


def _publish(options: Options, folder: str) -> None:
    """Sends a finished dataset to the hub where that was asked for."""
    if options.push_to_hub:
        print(f"published   {hub.push(folder, options.push_to_hub, options.private)}")


def _named(run: str) -> str:
    """A run's name; a student's recipe file stands for its name."""
    return load.load_student(run).name if run.endswith(".toml") else run


def _both(options: Options) -> tuple[StudentRecipe, DatasetRecipe]:
    return load.load_both(options.student, options.dataset, tuple(options.set))


def _dataset(options: Options) -> DatasetRecipe:
    """The dataset that is named, or that the student asks for."""
    return _both(options)[1]


def _curation(options: Options) -> tuple[Curation, DatasetRecipe | None]:
    """How to curate files: as the dataset recipe that is named, as the dataset that is cut again, or by the
    defaults."""
    if options.dataset:
        recipe = _dataset(options)
        return recipe.curation, recipe
    if files.is_dataset(options.input):
        return load.load_made(options.input, tuple(options.set))
    return load.load_parts(tuple(options.set))[1], None


def _file_mode(options: Options) -> bool:
    if (options.input is None) != (options.output is None):
        raise RecipeError("--input and --output go together: a file of traces, and where the result goes")
    return options.input is not None


def _recipes(family: str, describe: Callable[[str], Any]) -> None:
    print(f"recipes in configs/{family}:")
    for name in load.names(family):
        first = " ".join(describe(name).split()).partition(". ")[0]
        print(f"  {name:22} {first[:110]}")


def _reported(path: str, reused: list[str], options: Options) -> None:
    """Shows a report, and ends with HELD where the command asks for a promotion that was not given."""
    found = catalogue.load_report(path)
    _summary(found, reused, options.student)
    print(path)
    if options.gate and found.promotion and found.promotion.verdict == "hold":
        print(f"distill: {inert(found.promotion.sentence)}", file=sys.stderr)
        sys.exit(HELD)


def _summary(found: Report, reused: list[str], student: str) -> None:
    """The end of a run: the funnel, the scores, where things are, what was reused, what to type next."""
    print(funnel.table(funnel.from_json(read_text(f"{found.dataset}/funnel.json"))))
    print()
    print(reports.table(found))
    report = f"{found.checkpoint.removesuffix('/model')}/report.html"
    print(f"\ndataset     {found.dataset}\ncheckpoint  {found.checkpoint}\nreport      {report}")
    _reused(reused)
    print(f"next        distill report {student}, distill serve (run pages and schedules), distill students")


def _reused(labels: list[str]) -> None:
    if labels:
        print(f"reused      {', '.join(labels)}")
