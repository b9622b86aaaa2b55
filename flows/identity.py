"""What makes a folder of the store this folder: the key of every room, in one place.

A key holds all that decides the content (recipe section, record schema, versions of what decides) and the key
upstream, so that a miss can be explained down to the setting. Two rooms look at the *content* upstream and
not at its key: traces depend on the problems as they are, and a student on the examples as they are. A
verifier or a screen with a new version that changes nothing therefore costs no teacher and no training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill import collect, contamination, curate, duplicates, sample, train, verify
from distill.curate import preferences
from distill.files import readers
from distill.hardware import shapes
from distill.recipe.dataset import (
    Base,
    Curation,
    DatasetRecipe,
    Judge,
    ProblemSource,
    Sampling,
    StudentRecipe,
    Teacher,
    Verification,
)
from distill.records import Candidate, Example, Problem, Trace
from distill.sample import keys, prompt_checks
from distill.store import folders
from distill.text import prompts
from distill.train import student_template

LOCAL = ("vllm", "transformers")
"""Engines that open a model's files."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the store and the key that names it."""

    room: str
    name: str
    key: dict[str, Any]

    @property
    def path(self) -> str:
        return folders.path_of(self.room, self.name, self.key)

    @property
    def fingerprint(self) -> str:
        return folders.fingerprint(self.key)

    @property
    def label(self) -> str:
        """The folder's room and name, as it is shown to people."""
        return f"{self.room} {self.path.rsplit('/', 1)[1]}"


@dataclass(frozen=True, slots=True)
class Model:
    """A model to sample: how it is opened, what its folders are called, and where they lie."""

    teacher: Teacher
    name: str
    within: str = ""
    """`"evaluations/"` for held-out problems."""
    weights: dict[str, Any] | None = None
    """What identifies a model that this pipeline has made; None: its files or its name."""


def teacher(section: Teacher, within: str = "") -> Model:
    """The teacher of a dataset as a model to sample."""
    return Model(section, short(section.model), within)


def known_as(asked: Model, traces: Place) -> Teacher:
    """The model as completions are keyed by it: a local one by what its weights are, wherever they lie, as
    the key of its traces says."""
    if asked.weights is None and asked.teacher.engine not in LOCAL:
        return asked.teacher
    weights = traces.key["teacher"]["model"]
    return asked.teacher.model_copy(
        update={"model": f"{asked.name}-{folders.fingerprint({'weights': weights})}"}
    )


def short(model: str) -> str:
    """The last part of a hub id or folder."""
    return model.rstrip("/").rsplit("/", 1)[-1]


def problems(
    problem_sources: Sequence[ProblemSource], verification: Verification, shard_problems: int
) -> Place:
    """Problems of a list of sources: their content, and what checks the references."""
    kinds = sorted({source.kind for source in problem_sources})
    key = {
        "schema": folders.schema_digest(Problem),
        "collect": collect.VERSION,
        "sources": [readers.identity(source) for source in problem_sources],
        "shard_problems": shard_problems,
        "verification": _self_check(verification),
        "verifiers": verify.versions(kinds, Verification()),
    }
    return Place("problems", "+".join(source.name for source in problem_sources), key)


def compared(problems: Place, curation: Curation) -> Place:
    """Collected problems with those marked that are a benchmark's or repeat others; the collected ones where
    nothing is compared."""
    section, rules = curation.decontamination, dict[str, Any]()
    if section.problems and curation.benchmarks:
        settings = {
            name: value
            for name, value in section.identity().items()
            if name not in ("problems", "trace_gram_words", "min_quoted")
        }
        benchmarks = [readers.identity(source) for source in curation.benchmarks]
        rules["contamination"] = {"version": contamination.VERSION, **settings, "benchmarks": benchmarks}
    if curation.duplicates.problems:
        rules["duplicates"] = {"version": duplicates.VERSION, **collect.ALIKE.identity()}
    if not rules:
        return problems
    key = {"compared": rules, "shard_problems": problems.key["shard_problems"], "problems": problems.key}
    return Place("compared", problems.name, key)


def traces(
    content: str, asked: Model, sampling: Sampling, verification: Verification, kinds: Sequence[str]
) -> Place:
    """Traces of a model on problems of a certain content; what judges them is part of it where that decides
    how many there are."""
    key = {
        "schema": folders.schema_digest(Trace),
        "sample": sample.VERSION,
        "lint": {"version": prompt_checks.VERSION, "context_tokens": asked.teacher.context_tokens},
        "problems": content,
        "teacher": _teacher(asked),
        "sampling": _sampling(sampling),
    }
    if sampling.adaptive:
        key["judged"] = {
            "verification": _self_check(verification),
            "verifiers": verify.versions(kinds, Verification()),
        }
    return Place(f"{asked.within}traces", asked.name, key)


def completions(asked: Model, sampling: Sampling) -> Place:
    """Paid completions of any problems: `n`, `max_tokens` and the problem are left to each completion's own
    key."""
    settings = {
        name: value
        for name, value in _sampling(sampling).items()
        if name not in ("n", "max_tokens", "adaptive", "again")
    }
    teacher = {name: value for name, value in _teacher(asked).items() if name not in keys.NOT_ASKED}
    key = {"sample": sample.VERSION, "teacher": teacher, "sampling": settings}
    return Place(f"{asked.within}completions", asked.name, key)


def verdicts(traces: Place, verification: Verification, kinds: Sequence[str]) -> Place:
    """Verdicts on traces: how answers are judged, and by which versions of the verifiers."""
    key = {
        "schema": folders.schema_digest(Candidate),
        "verification": verification.identity(),
        "verifiers": verify.versions(kinds, verification),
        "traces": traces.key,
    }
    return Place(traces.room.replace("traces", "verdicts"), traces.name, key)


def judgements(traces: Place, judge: Judge) -> Place:
    """What a judge model replied: what it was asked is in each reply's own key."""
    return Place(
        traces.room.replace("traces", "judgements"),
        short(judge.model.model),
        {"judge": judge.model.identity()},
    )


def measures(verdicts: Place, curation: Curation) -> Place:
    """Candidates with their measured columns; no threshold is part of it."""
    return Place(
        "measures",
        verdicts.name,
        {"measured": curate.measuring(curation)["measures"], "verdicts": verdicts.key},
    )


def pairs(measures: Place, curation: Curation) -> Place:
    """Pairs of near-duplicates among measured candidates."""
    return Place(
        "pairs", measures.name, {"paired": curate.measuring(curation)["pairs"], "measures": measures.key}
    )


def matches(verdicts: Place, curation: Curation) -> Place:
    """What is close to a benchmark question among judged candidates."""
    return Place(
        "matches", verdicts.name, {"matched": curate.measuring(curation)["matches"], "verdicts": verdicts.key}
    )


def dataset(verdicts: Place, recipe: DatasetRecipe) -> Place:
    """A filtered dataset: thresholds, policy and benchmarks over measured candidates."""
    key = {
        "schema": folders.schema_digest(Example),
        "decides": curate.DECIDES | {"preferences": preferences.VERSION},
        "pairs": curate.measuring(recipe.curation)["pairs"],
        "curation": _curation(recipe.curation),
        "shares": shares(recipe),
        "prompt": prompts.identity(recipe.sampling.prompt),
        "matches": matches(verdicts, recipe.curation).key["matched"],
        "measures": measures(verdicts, recipe.curation).key,
    }
    return Place("datasets", recipe.name, key)


def student(examples: str, recipe: StudentRecipe) -> Place:
    """A student trained on examples of a certain content."""
    key = {
        "train": train.VERSION,
        "base": _base(recipe.base),
        "training": recipe.training.identity(),
        "examples": examples,
    }
    return Place("students", recipe.name, key)


def prepared_base(base: Base) -> Place:
    """The untrained base with the student's template, ready to be served."""
    return Place("evaluations/bases", short(base.model), {"train": train.VERSION, "base": _base(base)})


def shares(recipe: DatasetRecipe) -> dict[str, float]:
    """The wanted share of each source that names one."""
    return {source.name: source.share for source in recipe.problems if source.share is not None}


def kinds(problem_sources: Sequence[ProblemSource]) -> list[str]:
    """The kinds of problems in a list of sources, each once."""
    return sorted({source.kind for source in problem_sources})


def _teacher(asked: Model) -> dict[str, Any]:
    kept = {name: value for name, value in asked.teacher.identity().items() if name != "licence"}
    return kept | {"model": asked.weights or _weights(asked.teacher)}


def _weights(teacher: Teacher) -> Any:
    """What identifies a teacher's weights or, for `replay`, its traces."""
    match teacher.engine:
        case "replay":
            return readers.content_identity(ProblemSource(name="replay", path=teacher.model))
        case engine if engine in LOCAL:
            return _model(teacher.model, teacher.revision)
        case _:
            return teacher.model


def _model(model: str, revision: str | None) -> dict[str, Any]:
    return folders.model_identity(str(shapes.local_folder(model) or model), revision)


def _base(base: Base) -> dict[str, Any]:
    kept = {name: value for name, value in base.identity().items() if name not in ("licence", "parameters")}
    template = folders.digest(student_template.read(base.chat_template))[:12]
    return kept | {"model": _model(base.model, base.revision), "chat_template": template}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return sampling.identity() | {"prompt": prompts.identity(sampling.prompt)}


def _curation(curation: Curation) -> dict[str, Any]:
    return curation.identity() | {"benchmarks": [readers.identity(source) for source in curation.benchmarks]}


def _self_check(verification: Verification) -> dict[str, Any]:
    """What decides about a single reference or answer: no judge is asked, and a majority only takes the place
    of a reference."""
    checks = {
        name: value for name, value in verification.identity().items() if name not in ("judge", "majority")
    }
    return checks | {"majority": verification.majority is not None}
