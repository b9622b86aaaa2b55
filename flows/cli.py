"""The command line: `distill run`, and a command for every room and every look-up.

Flows, and with them Prefect, are imported inside the commands that run them, so that look-ups and `--help` answer at once.
Exit codes: 0 done, 1 failed (one line on stderr says what and what to do), 2 wrong usage or recipe, 130 and 143 stopped.
A result without a usable row (an empty dataset, a file of which no row was judged) is a failure; it is kept all the same.
Results go to standard output, progress to standard error.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from distill import __version__
from distill.engines.cancellation import StoppedByHand
from distill.recipe.section import RecipeError
from flows import commands

DEFAULT_STUDENT = "tiny-qwen2"
STOPPED = "stopped; everything finished is kept, and the same command goes on from there"
EXAMPLES = """\
examples:
  distill run                                        the whole loop with the embedded models, on two CPU cores
  distill run --student qwen2.5-7b --dataset openr1-math --teacher qwq-32b
  distill plan --student qwen2.5-7b --gpu h100 --gpus 8   what it needs before anything is spent
  distill dataset tiny --set curation.selection.policy=shortest   the same traces, selected anew in seconds
  distill verify --input traces.jsonl --output verdicts.parquet   verdicts on anybody's traces
  distill report tiny-qwen2                          the last report of a student

Recipes are TOML files in configs/; --set section.key=value changes one value of them for this run. What a setting
means is written in distill/recipe/dataset.py. Everything that is made lies in data/store (DISTILL_STORE), and is reused."""

NEEDED = "A room that it needs and that is not made yet is named, with its command."
FILES = {
    "verify": "With --input and --output, each row of a file gets a verdict. Columns that are read: id, problem_id, kind (math, "
    "code, choice, sql, logic or open), question, reference, tests, response (or thinking and answer), finish_reason. "
    "Added: outcome, extracted, detail, verify_seconds, verifier; a summary by source lies beside the result. Killed, it goes "
    """on where it was. A judge: --set 'verification.judge={model={model="NAME", urls=["http://host:8000/v1"]}}'; limits of """
    "the sandbox: --set verification.sandbox.timeout_seconds=10 and the like.",
    "curate": "With --input and --output, a file of traces (or a folder of such files) becomes a dataset folder: candidates (every row "
    "measured, with its reason), examples, funnel, card, charts. Rows without an outcome are unverified; "
    "--set curation.selection.policy=none keeps them. A dataset folder as --input is cut again in seconds from what was "
    "measured: --input OLD --output NEW --set "
    "curation.selection.policy=shortest. Killed, the same command goes on where it was.",
}
"""What a room's help says where it takes files too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        options.command(options)
    except RecipeError as error:
        return _said(error, 2)
    except StoppedByHand as stop:
        return _said(stop, 128 + signal.SIGINT)
    except commands.EXPECTED as error:
        return _said(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone; the flush at exit must not fail
        return 1
    except OSError as error:
        return _said(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except KeyboardInterrupt:
        return _said(STOPPED, 128 + signal.SIGINT)
    except SystemExit as stop:
        return _said(STOPPED, 128 + signal.SIGTERM) if stop.code == 128 + signal.SIGTERM else int(stop.code or 0)
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(
        "distill",
        description="Turn a strong reasoning teacher into a small reasoning student.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"distill {__version__}")
    family = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _loop(family)
    _rooms(family)
    _look_ups(family)
    _service(family)
    return whole


Family = argparse._SubParsersAction  # argparse gives its type no public name


def _loop(family: "Family[argparse.ArgumentParser]") -> None:
    run = _command(
        family, "run", commands.run, "the whole loop: dataset, student, report", "The last line printed is the path of report.json."
    )
    _student(run)
    dataset = _command(
        family, "dataset", commands.dataset, "make or reuse a filtered dataset", "The last line printed is the dataset's path."
    )
    dataset.add_argument("name", help="a name in configs/datasets, or the path of a .toml file")
    _set(dataset)
    _push(dataset)
    plan = _command(family, "plan", commands.plan, "memory, time, tokens and money, before anything is spent")
    _student(plan)
    plan.add_argument("--gpu", help="kind of GPU, such as h100 (default: this machine's)")
    plan.add_argument("--gpus", type=int, help="how many of them")


def _rooms(family: "Family[argparse.ArgumentParser]") -> None:
    for name, command, text in (
        ("collect", commands.collect, "one room: problem sources into problems"),
        ("sample", commands.sample, "one room: problems into traces of the teacher"),
        ("verify", commands.verify, "one room: traces into verdicts; or verdicts on a file of traces"),
        ("curate", commands.curate, "one room: verdicts into a dataset; or a dataset from a file of traces"),
        ("train", commands.train, "one room: a dataset into a student"),
        ("evaluate", commands.evaluate, "one room: base, student and teacher on held-out problems"),
    ):
        room = _command(family, name, command, text, FILES.get(name, NEEDED))
        _student(room)
        if name in ("verify", "curate"):
            room.add_argument(
                "--input", metavar="FILE", help="JSON Lines (also .gz) or Parquet with traces; nothing of a loop is then used"
            )
            room.add_argument("--output", metavar="PATH", help="a .parquet file for verify, a folder for curate")
        if name == "curate":
            _push(room)


def _look_ups(family: "Family[argparse.ArgumentParser]") -> None:
    _command(family, "datasets", commands.datasets, "recipes of datasets, and the datasets that are made")
    _command(family, "students", commands.students, "recipes of students, and the students that are trained")
    _command(family, "teachers", commands.teachers, "teachers that a dataset can be made with")
    report = _command(family, "report", commands.report, "the scores and differences of a run")
    report.add_argument(
        "run", metavar="RUN", help="a student's name or .toml file, a folder's name in the store, or the path of a report.json"
    )
    trace = _command(family, "trace", commands.trace, "one trace with its problem, its verdict and what became of it")
    trace.add_argument("id", metavar="ID", help="a trace's id, or the start of it")


def _service(family: "Family[argparse.ArgumentParser]") -> None:
    serve = _command(family, "serve", commands.serve, "the run page in a browser, and deployments that run on a schedule")
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; another than this machine's needs a password (see README)"
    )
    serve.add_argument("--port", type=int, default=int(os.environ.get("PORT", "4200")))
    schedule = _command(family, "schedule", commands.schedule, "turn the nightly run of a running `distill serve` on or off")
    schedule.add_argument("state", choices=("on", "off", "show"))


def _command(
    family: "Family[argparse.ArgumentParser]", name: str, command: commands.Command, text: str, epilog: str = ""
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = family.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=epilog, allow_abbrev=False
    )
    added.set_defaults(command=command)
    return added


def _student(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--student", default=DEFAULT_STUDENT, help=f"a name in configs/students, or a .toml file (default: {DEFAULT_STUDENT})"
    )
    command.add_argument("--dataset", help="a name in configs/datasets, or a .toml file (default: the one that the student names)")
    _set(command)


def _set(command: argparse.ArgumentParser) -> None:
    text = "change one value of a recipe for this run, such as sampling.n=8; may be given several times"
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=text)
    text = "a name in configs/teachers, or a .toml file, instead of the dataset's own teacher"
    command.add_argument("--teacher", dest="set", action="append", type="teacher={}".format, metavar="NAME", help=text)


def _push(command: argparse.ArgumentParser) -> None:
    command.add_argument("--push-to-hub", metavar="ORG/NAME", help="publish the dataset on the Hugging Face hub (token in HF_TOKEN)")
    command.add_argument("--private", action="store_true", help="make the repository private when it is new")


def _said(message: object, code: int) -> int:
    print(f"distill: {message}", file=sys.stderr)
    return code


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
