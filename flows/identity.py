"""What names every folder of a run: all keys in one place, each computed once.

A key holds all that decides the content (recipe section, record schema, versions of what decides) and the key
upstream, so that a miss can be explained down to the setting. Two folders look at the *content* upstream and
not at its key: traces depend on the problems as they are, and a student on the examples as they are. A
verifier or a filter with a new version that changes nothing therefore costs no teacher and no training.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distill import collect, contamination, curate, duplicates, sample, train, verify
from distill.curate import preferences, steps
from distill.engines import ENGINES
from distill.files import readers
from distill.hardware import shapes
from distill.recipe import (
    Base,
    Curation,
    DatasetRecipe,
    Evaluation,
    ProblemSource,
    Sampling,
    Screens,
    StudentRecipe,
    Suite,
    Teacher,
    Verification,
)
from distill.records import Candidate, Example, Kind, Problem, Trace
from distill.sample import keys, prompt_checks
from distill.store import Folder, digest, fingerprint, model_identity, schema
from distill.text import prompts
from distill.train import student_template

WITHIN = "evaluations/"
"""Where the folders of held-out problems lie; their problems lie with all others."""
DRAWN = ("n", "temperature", "top_p", "max_tokens", "seed", "prompt")
"""What a suite says about sampling."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model to sample: how it is opened, and what its folders are called."""

    teacher: Teacher
    name: str
    weights: dict[str, Any] | None = None
    """What identifies a model that this pipeline has made; None: its files or its name."""

    @staticmethod
    def of(teacher: Teacher) -> "Model":
        """The teacher of a dataset."""
        return Model(teacher, _short(teacher.model))


@dataclass(frozen=True)
class Folders:
    """A model's answers to problems, from the problems to the dataset: what decides them, and their folders.

    The stages of a run share one: each takes its own settings and folders from it. A folder whose key holds
    the content upstream raises NotMade while that is not there.
    """

    sources: tuple[ProblemSource, ...]
    verification: Verification
    shard_problems: int
    model: Model
    sampling: Sampling
    recipe: DatasetRecipe | None = None
    """None for held-out problems, which are neither marked nor curated."""
    suite: str = ""
    """Name of the suite that held-out problems are of; empty for those that a student's recipe spells out."""

    @staticmethod
    def of(recipe: DatasetRecipe) -> "Folders":
        """The folders of a dataset."""
        settings = recipe.problems, recipe.verification, recipe.shard_problems
        return Folders(*settings, Model.of(recipe.teacher), recipe.sampling, recipe)

    @staticmethod
    def held_out(evaluation: Evaluation, suite: Suite, model: Model) -> "Folders":
        """The folders of a model's evaluation on a suite: of its own, so that one more is sampled alone."""
        sampling = Sampling(**{name: getattr(suite, name) for name in DRAWN})
        named = "" if suite.problems == evaluation.problems else suite.name
        settings = suite.problems, evaluation.verification, evaluation.shard_problems
        return Folders(*settings, model, sampling, suite=named)

    @property
    def curation(self) -> Curation:
        """How the dataset is curated."""
        assert self.recipe is not None, "held-out problems are not curated"
        return self.recipe.curation

    @property
    def screens(self) -> Screens | None:
        """The filters of the dataset; None for held-out problems."""
        return self.recipe.curation.screens if self.recipe else None

    @property
    def asked(self) -> str:
        """The model, and the suite that it is asked."""
        return f"{self.model.name}-{self.suite}" if self.suite else self.model.name

    @cached_property
    def kinds(self) -> list[Kind]:
        """The kinds of problems, each once."""
        return sorted({source.kind for source in self.sources})

    @cached_property
    def problems(self) -> Folder:
        """Problems of the sources: their content, and what checks the references."""
        key = {
            "schema": schema.fingerprint(Problem),
            "collect": collect.VERSION,
            "sources": [readers.identity(source) for source in self.sources],
            "shard_problems": self.shard_problems,
        }
        named = dict.fromkeys(source.name for source in self.sources)
        return Folder("problems", "+".join(named), key | self._self_check)

    @cached_property
    def compared(self) -> Folder:
        """The problems with those marked that are a benchmark's or repeat others; `problems` where nothing is
        compared."""
        rules = self._compared_by()
        if not rules:
            return self.problems
        key = {"compared": rules, "shard_problems": self.shard_problems, "problems": self.problems.key}
        return Folder("compared", self.problems.name, key)

    @cached_property
    def traces(self) -> Folder:
        """Traces of the model on problems of a certain content; what judges them is part of it where that
        decides how many there are."""
        command = f"distill collect --dataset {self.recipe.name}" if self.recipe else "distill collect"
        key = {
            "schema": schema.fingerprint(Trace),
            "sample": sample.VERSION,
            "lint": {"version": prompt_checks.VERSION, "context_tokens": self.model.teacher.context_tokens},
            "problems": self.compared.needed(command)["content"],
            "teacher": self._teacher,
            "sampling": self._sampling,
        }
        if self.sampling.adaptive:
            key["judged"] = self._self_check
        return self._sampled("traces", self.asked, key)

    @cached_property
    def completions(self) -> Folder:
        """Paid completions of any problems: `n`, `max_tokens` and the problem are left to each completion's
        own key."""
        key = {
            "sample": sample.VERSION,
            "teacher": _without(self._teacher, *keys.NOT_ASKED),
            "sampling": _without(self._sampling, "n", "max_tokens", "adaptive", "again"),
        }
        return self._sampled("completions", self.model.name, key)

    @cached_property
    def known_as(self) -> Teacher:
        """The model as completions are keyed by it: a local one by what its weights are, wherever they
        lie."""
        teacher = self.model.teacher
        if self.model.weights is None and not ENGINES[teacher.engine].local_weights:
            return teacher
        weights = fingerprint({"weights": self._teacher["model"]})
        return teacher.model_copy(update={"model": f"{self.model.name}-{weights}"})

    @cached_property
    def verdicts(self) -> Folder:
        """Verdicts on the traces: how answers are judged, and by which versions of the verifiers."""
        key = {
            "schema": schema.fingerprint(Candidate),
            "verification": self.verification.identity(),
            "verifiers": verify.versions(self.kinds, self.verification),
            "traces": self.traces.key,
        }
        return self._sampled("verdicts", self.asked, key)

    @cached_property
    def judgements(self) -> Folder | None:
        """What a judge model replied: what it was asked is in each reply's own key. None without a judge."""
        if (judge := self.verification.judge) is None:
            return None
        return self._sampled("judgements", _short(judge.model.model), {"judge": judge.model.identity()})

    @cached_property
    def measures(self) -> Folder:
        """Candidates with their measured columns; no threshold is part of it."""
        key = {"measured": self._measuring["measures"], "verdicts": self.verdicts.key}
        return Folder("measures", self.model.name, key)

    @cached_property
    def pairs(self) -> Folder:
        """Pairs of near-duplicates among measured candidates."""
        key = {"paired": self._measuring["pairs"], "measures": self.measures.key}
        return Folder("pairs", self.model.name, key)

    @cached_property
    def matches(self) -> Folder:
        """What is close to a benchmark question among judged candidates."""
        key = {"matched": self._measuring["matches"], "verdicts": self.verdicts.key}
        return Folder("matches", self.model.name, key)

    @cached_property
    def dataset(self) -> Folder:
        """The filtered dataset: thresholds, policy and benchmarks over measured candidates."""
        assert self.recipe is not None, "held-out problems are not curated"
        benchmarks = [readers.identity(source) for source in self.curation.benchmarks]
        key = {
            "schema": schema.fingerprint(Example),
            "decides": curate.DECIDES | {"preferences": preferences.VERSION},
            "pairs": self._measuring["pairs"],
            "curation": self.curation.identity() | {"benchmarks": benchmarks},
            "shares": steps.shares(self.recipe),
            "prompt": prompts.identity(self.sampling.prompt),
            "matches": self._measuring["matches"],
            "measures": self.measures.key,
        }
        return Folder("datasets", self.recipe.name, key)

    def student(self, recipe: StudentRecipe) -> Folder:
        """A student trained on the dataset's examples as they are."""
        examples = self.dataset.needed(f"distill dataset {self.dataset.name}")["content"]
        trained = {"training": recipe.training.identity(), "examples": examples}
        return Folder("students", recipe.name, _base(recipe.base) | trained)

    @cached_property
    def _teacher(self) -> dict[str, Any]:
        kept = _without(self.model.teacher.identity(), "licence")
        return kept | {"model": self.model.weights or _weights(self.model.teacher)}

    @cached_property
    def _sampling(self) -> dict[str, Any]:
        return self.sampling.identity() | {"prompt": prompts.identity(self.sampling.prompt)}

    @cached_property
    def _measuring(self) -> dict[str, Any]:
        return dict(curate.measuring(self.curation))

    @cached_property
    def _self_check(self) -> dict[str, Any]:
        """What decides about a single reference or answer: no judge is asked, and a majority only takes the
        place of a reference."""
        checks = _without(self.verification.identity(), "judge", "majority")
        return {
            "verification": checks | {"majority": self.verification.majority is not None},
            "verifiers": verify.versions(self.kinds, Verification()),
        }

    def _compared_by(self) -> dict[str, Any]:
        """What marks problems, and by which versions."""
        if self.recipe is None:
            return {}
        section, rules = self.curation.decontamination, dict[str, Any]()
        if section.problems and self.curation.benchmarks:
            rules["contamination"] = {
                "version": contamination.VERSION,
                **_without(section.identity(), "problems", "trace_gram_words", "min_quoted"),
                "benchmarks": [readers.identity(source) for source in self.curation.benchmarks],
            }
        if self.curation.duplicates.problems:
            rules["duplicates"] = {"version": duplicates.VERSION, **collect.ALIKE.identity()}
        return rules

    def _sampled(self, stage: str, name: str, key: dict[str, Any]) -> Folder:
        return Folder(stage if self.recipe else f"{WITHIN}{stage}", name, key)


def prepared_base(base: Base) -> Folder:
    """The untrained base with the student's template, ready to be served."""
    return Folder(f"{WITHIN}bases", _short(base.model), _base(base))


def _base(base: Base) -> dict[str, Any]:
    template = digest(student_template.read(base.chat_template))[:12]
    model = {"model": _files(base.model, base.revision), "chat_template": template}
    return {"train": train.VERSION, "base": _without(base.identity(), "licence", "parameters") | model}


def _weights(teacher: Teacher) -> Any:
    """What identifies a teacher's weights or, for `replay`, its traces."""
    engine = ENGINES[teacher.engine]
    if engine.stored:
        return readers.content_identity(ProblemSource(name="replay", path=teacher.model))
    return _files(teacher.model, teacher.revision) if engine.local_weights else teacher.model


def _files(model: str, revision: str | None) -> dict[str, Any]:
    return model_identity(str(shapes.local_folder(model) or model), revision)


def _without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _short(model: str) -> str:
    """The last part of a hub id or folder."""
    return model.rstrip("/").rsplit("/", 1)[-1]
