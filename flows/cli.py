"""The command line: `distill run`, and a command for every stage and every look-up.

- What commands do is imported once the arguments are read, and flows, which bring Prefect, once one runs:
  `--help` answers at once, and look-ups soon.
- Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage or recipe, 130 and 143 stopped.
- A result without a usable row (an empty dataset, a file without a judged row) is a failure; it is kept.
- Results go to standard output, progress to standard error.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

from distill import __version__

DEFAULT_STUDENT = "tiny-qwen2"
STOPPED = "stopped; everything finished is kept, and the same command goes on from there"
EXAMPLES = """\
examples:
  distill run                                             # the whole loop with embedded models, on a laptop
  distill run --student qwen2.5-7b --dataset openr1-math --teacher qwq-32b
  distill plan --student qwen2.5-7b --gpu h100 --gpus 8   # memory, hours, tokens and money; nothing is made
  distill dataset tiny --set curation.selection.policy=shortest   # the same traces, selected anew in seconds
  distill verify --input traces.jsonl --output verdicts.parquet   # verdicts on a file of yours
  distill report tiny-qwen2                               # the last report of a student

Recipes are TOML files in configs/. --set section.key=value changes one value for this run. configs/README.md
lists every key. Results are kept in data/store (DISTILL_STORE) and reused. The same command resumes a run.
Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage or recipe, 130 and 143 stopped."""

FIRST = "A stage that has to be made first is named, with its command."
VERIFY = f"""Prints the folder of the verdicts. {FIRST}

With --input and --output each row of a file of yours gets a verdict, without a store. Added are the
columns outcome, extracted, detail, verify_seconds and verifier; a summary lies beside the result. Prints
counts by source and kind. data/README.md lists the columns that are read. The same command resumes a run."""
CURATE = f"""Prints the folder of the dataset. {FIRST}

With --input and --output a file or folder of traces becomes a dataset folder, without a store: candidates,
examples, funnel, card and charts. Prints the funnel. Rows without an outcome are unverified, and are kept
with --set curation.selection.policy=none. A dataset folder as --input is selected anew in seconds. A killed
run goes on with the same command."""
JUDGE = """'verification.judge={model={model="NAME", urls=["http://host:8000/v1"]}}'"""


class Help(NamedTuple):
    """What a command makes (one line), what it prints, and examples."""

    makes: str
    prints: str
    examples: tuple[str, ...]


HELP = {
    "run": Help(
        "the whole loop: makes a dataset, a student and its report",
        """Prints the funnel of the dataset and the scores of base, student and teacher.
The last line is the path of report.json.""",
        (
            "",
            "--student tiny-llama --set training.epochs=2",
            "--student qwen2.5-7b --dataset openr1-math --teacher r1-distill-32b",
        ),
    ),
    "dataset": Help(
        "makes or reuses a filtered dataset",
        """Prints its funnel: how many traces reach each stage, and what the others are dropped for.
The last line is the dataset's path.""",
        (
            "tiny",
            "gsm8k --teacher deepseek-api --set sampling.budget_usd=20",
            "tiny --push-to-hub me/tiny --private",
        ),
    ),
    "plan": Help(
        "estimates memory, time, tokens and money; makes nothing",
        """Prints tokens, time, money, memory and disk with their ranges, the memory of serving the student,
and whether teacher and training fit, with what to choose where they do not.""",
        ("", "--student qwen2.5-7b --teacher qwq-32b --gpu h100 --gpus 8"),
    ),
    "collect": Help(
        "one stage: makes problems from their sources",
        "Prints the folder of the problems.",
        ("--dataset gsm8k", "--dataset gsm8k --set problems.0.limit=100"),
    ),
    "sample": Help(
        "one stage: samples traces of the teacher",
        f"Prints the folder of the traces. {FIRST}",
        ("--dataset tiny", "--dataset gsm8k --teacher qwq-32b --set sampling.n=8"),
    ),
    "verify": Help(
        "one stage: gives a verdict to each trace, or to each row of a file",
        VERIFY,
        (
            "--dataset tiny",
            "--input traces.jsonl --output verdicts.parquet",
            "--input traces.jsonl --output verdicts.parquet --set verification.sandbox.timeout_seconds=20",
            f"--input traces.jsonl --output verdicts.parquet --set {JUDGE}",
        ),
    ),
    "curate": Help(
        "one stage: makes a dataset from verdicts, or from files of traces",
        CURATE,
        (
            "--dataset tiny",
            "--input verdicts.parquet --output curated",
            "--input curated --output shortest --set curation.selection.policy=shortest",
        ),
    ),
    "train": Help(
        "one stage: trains a student on a dataset",
        f"Prints the folder of the student. {FIRST}",
        (
            "--student tiny-qwen2",
            "--student qwen2.5-7b --set training.learning_rate=1e-5 --set training.lora_rank=16",
            "--student qwen2.5-7b --push-to-hub me/student",
        ),
    ),
    "evaluate": Help(
        "one stage: scores base, student and teacher on held-out problems",
        f"""Prints pass@1 with intervals, and paired differences. {FIRST}
The last line is the path of report.json.""",
        (
            "--student tiny-qwen2",
            "--student tiny-qwen2 --set evaluation.n=16 --set evaluation.teacher=false",
            "--student qwen2.5-7b --suites aime24,gsm8k",
        ),
    ),
    "datasets": Help(
        "lists recipes of datasets, and the datasets that are made", "Prints a line for each.", ("",)
    ),
    "teachers": Help("lists the teachers that a dataset can be made with", "Prints a line for each.", ("",)),
    "students": Help(
        "lists recipes of students, and the trained students",
        "Prints a line for each, with its scores.",
        ("",),
    ),
    "report": Help(
        "shows the scores and differences of a run",
        "Prints them as tables. The last line is the path of report.json.",
        ("tiny-qwen2", "data/store/students/tiny-qwen2-a1841527a425/report.json"),
    ),
    "compare": Help(
        "compares students on the held-out problems that they share",
        """Prints pass@1 of each run by benchmark, and paired differences with intervals. Holm's correction is
over all differences that are shown. Nothing is sampled: each run has to be evaluated before.""",
        ("qwen2.5-0.5b qwen2.5-1.5b", "tiny-qwen2-a1841527a425 tiny-qwen2-55e1c0a4b1d2"),
    ),
    "regrade": Help(
        "judges a student's stored answers again by today's verifiers",
        """Prints which verdicts change, from what to what, and up to 20 of them. Nothing is sampled or
written; verdicts of a judge model are left out. The last line is the path of report.json.""",
        ("tiny-qwen2",),
    ),
    "trace": Help(
        "shows one trace, its verdict and why it was dropped",
        "Prints every column that has a value, then question, thinking and answer.",
        ("e7e3b377",),
    ),
    "view": Help(
        "shows the rows of a dataset or an evaluation in a browser, with filters",
        "Prints the address of the page, which only this machine can open. It runs until Ctrl-C.",
        ("tiny", "data/store/datasets/tiny-0a1b2c3d4e5f --port 8300", "verdicts.parquet"),
    ),
    "inspect": Help(
        "shows how the rows of a file are read, and writes a recipe to start from",
        "Prints columns, their meaning, three rows, and what cannot be used and why.",
        ("traces.jsonl", "problems.parquet --write mine.toml", "--hub openai/gsm8k --subset main"),
    ),
    "serve": Help(
        "serves run pages in a browser, and scheduled runs",
        "Prints the address of the page. It runs until Ctrl-C.",
        ("", "--port 4300"),
    ),
    "schedule": Help(
        "turns the nightly run of a running `distill serve` on or off",
        "Prints its state.",
        ("on", "show"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parser().parse_args(arguments)
    from flows import commands

    signal.signal(signal.SIGTERM, _terminated)
    try:
        getattr(commands, options.command)(options)
    except commands.RecipeError as error:
        return _said(error, 2)
    except commands.StoppedByHand as stop:
        return _said(stop, 128 + signal.SIGINT)
    except commands.EXPECTED as error:
        return _said(error, 1)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), 1
        )  # the reader of our output is gone; the flush at exit must not fail
        return 1
    except OSError as error:
        return _said(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except KeyboardInterrupt:
        return _said(STOPPED, 128 + signal.SIGINT)
    except SystemExit as stop:
        return (
            _said(STOPPED, 128 + signal.SIGTERM) if stop.code == 128 + signal.SIGTERM else int(stop.code or 0)
        )
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
    _stages(family)
    _look_ups(family)
    _service(family)
    return whole


Family = argparse._SubParsersAction  # argparse gives its type no public name


def _loop(family: "Family[argparse.ArgumentParser]") -> None:
    loop = _command(family, "run")
    _student(loop)
    _gate(loop)
    dataset = _command(family, "dataset")
    dataset.add_argument("name", help="a name in configs/datasets, or the path of a .toml file")
    _set(dataset)
    _push(dataset)
    plan = _command(family, "plan")
    _student(plan)
    plan.add_argument("--gpu", help="kind of GPU, such as h100 or rtx4090 (default: this machine's)")
    plan.add_argument("--gpus", type=int, help="number of GPUs, such as 8 (default: this machine's)")
    plan.add_argument("--json", action="store_true", help="print all numbers as JSON")


def _stages(family: "Family[argparse.ArgumentParser]") -> None:
    for name in ("collect", "sample", "verify", "curate", "train", "evaluate"):
        stage = _command(family, name)
        _student(stage)
        if name in ("verify", "curate"):
            stage.add_argument(
                "--input",
                metavar="FILE",
                help="a file of traces: JSON Lines (also .gz) or Parquet, such as traces.jsonl",
            )
            stage.add_argument("--output", metavar="PATH", help="verify: a .parquet file; curate: a folder")
        if name == "curate":
            _push(stage)
        if name == "evaluate":
            _gate(stage)
            text = "score on these suites alone: names of the recipe's or of configs/benchmarks, with commas"
            stage.add_argument("--suites", metavar="A,B", help=text)
        if name == "train":
            text = "publish the student on the Hugging Face hub, such as me/tiny-student (token in HF_TOKEN)"
            stage.add_argument("--push-to-hub", metavar="ORG/NAME", help=text)
            text = "leave a new repository visible to all; without this it is private"
            stage.add_argument("--public", action="store_true", help=text)


def _look_ups(family: "Family[argparse.ArgumentParser]") -> None:
    _command(family, "datasets")
    _command(family, "students")
    _command(family, "teachers")
    report = _command(family, "report")
    report.add_argument(
        "run",
        metavar="RUN",
        help="a student's name or .toml file, a folder's name in the store, or the path of a report.json",
    )
    compare = _command(family, "compare")
    text = "two or more: a student's name or .toml file, or a folder's name in the store"
    compare.add_argument("runs", metavar="RUN", nargs="+", help=text)
    regrade = _command(family, "regrade")
    regrade.add_argument(
        "run", metavar="STUDENT", help="its name or .toml file, or a folder's name in the store"
    )
    inspect = _command(family, "inspect")
    inspect.add_argument(
        "file", metavar="FILE", nargs="?", help="JSON Lines (also .gz), JSON, CSV or Parquet"
    )
    inspect.add_argument(
        "--hub", metavar="ID", help="a data set of the hub instead; only its first rows are read"
    )
    inspect.add_argument("--split", default="train", help="its split (default: train)")
    inspect.add_argument("--subset", help="its configuration, where it has several")
    inspect.add_argument("--rows", type=int, default=200, help="rows that are looked at (default: 200)")
    inspect.add_argument("--write", metavar="FILE", help="a recipe to start from, such as mine.toml")
    trace = _command(family, "trace")
    trace.add_argument("id", metavar="ID", help="a trace's id, or the start of it")
    view = _command(family, "view")
    view.add_argument(
        "what",
        metavar="ROWS",
        help="a dataset's name or folder, an evaluated student, a folder of Parquet files, or one of them",
    )
    view.add_argument("--port", type=int, default=8265, help="port to listen on (default: 8265)")


def _service(family: "Family[argparse.ArgumentParser]") -> None:
    serve = _command(family, "serve")
    text = "address (default: 127.0.0.1); any other needs a password in PREFECT_SERVER_API_AUTH_STRING"
    serve.add_argument("--host", default="127.0.0.1", help=text)
    serve.add_argument(
        "--port",
        type=int,
        default=int(os.environ.get("PORT", "4200")),
        help="port to listen on (default: PORT, or 4200)",
    )
    schedule = _command(family, "schedule")
    schedule.add_argument(
        "state", choices=("on", "off", "show"), help="turn it on, turn it off, or show its state"
    )


def _command(family: "Family[argparse.ArgumentParser]", name: str) -> argparse.ArgumentParser:
    """The parser of a command; the function of `flows.commands` with its name runs it."""
    makes, prints, examples = HELP[name]
    added: argparse.ArgumentParser = family.add_parser(
        name,
        help=makes,
        description=f"{makes[0].upper()}{makes[1:]}.\n{prints}",
        epilog="\n".join(["examples:", *(f"  distill {name} {example}".rstrip() for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    added.set_defaults(command=name)
    return added


def _student(command: argparse.ArgumentParser) -> None:
    text = f"a name in configs/students, or a .toml file (default: {DEFAULT_STUDENT})"
    command.add_argument("--student", default=DEFAULT_STUDENT, help=text)
    text = "a name in configs/datasets, or a .toml file (default: the one that the student names)"
    command.add_argument("--dataset", help=text)
    _set(command)


def _set(command: argparse.ArgumentParser) -> None:
    text = (
        "change one value for this run, such as sampling.n=8; may be given several times (configs/README.md)"
    )
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help=text)
    text = "another teacher than the dataset's: a name in configs/teachers such as qwq-32b, or a .toml file"
    command.add_argument(
        "--teacher", dest="set", action="append", type="teacher={}".format, metavar="NAME", help=text
    )


def _push(command: argparse.ArgumentParser) -> None:
    text = "publish the dataset on the Hugging Face hub, such as me/tiny (token in HF_TOKEN)"
    command.add_argument("--push-to-hub", metavar="ORG/NAME", help=text)
    command.add_argument("--private", action="store_true", help="make the repository private when it is new")


def _gate(command: argparse.ArgumentParser) -> None:
    text = "exit with 3 when the student is not promoted (rules: [evaluation.decision])"
    command.add_argument("--gate", action="store_true", help=text)


def _said(message: object, code: int) -> int:
    print(f"distill: {message}", file=sys.stderr)
    return code


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
