"""The dataset card: a README.md that `datasets` and the hub read, made from what made the dataset.

`card` returns text and reads nothing. It states what the recipe and the funnel say; it does not check that a licence
permits what a reader has in mind.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from distill.curate import funnel as funnels
from distill.curate.funnel import Funnel
from distill.recipe.dataset import Curation, DatasetRecipe, Sampling
from distill.text.tables import inert

LIMITS = (
    "A correct final answer does not make the reasoning before it correct.",
    "Repetition, language and duplicate screens look at words only; of languages in Latin letters, 17 are told apart.",
    "Contamination is checked by text: a paraphrase or a translation of a benchmark question is not found.",
)
NOTHING: Mapping[str, int] = {}
PICTURES = {
    "funnel": "How many traces reach each stage",
    "lengths": "Completion lengths by verdict",
    "pass_rates": "Pass rates of problems",
    "draws": "How many traces problems have",
    "language": "Share of words in the problem's language",
}
SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
LARGEST = "10M<n<100M"
HUB_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl", "gpl-3.0-only": "gpl-3.0", "gpl-3.0-or-later": "gpl-3.0"}
"""SPDX names, in lower case, that the hub shortens."""
HUB_LICENCES = re.compile(
    r"apache-2\.0|mit|bsd-[23]-clause|gpl-3\.0|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-4\.0|cc-by(-nc)?(-sa)?-3\.0"
    r"|cdla-permissive-[12]\.0|cdla-sharing-1\.0|odc-by|odbl|pddl|unknown"
)
"""Licences of data by the hub's names (its page "Licenses"); it refuses a card with a name that it does not know."""
LOAD = """## Use

PATH is this folder. On the hub it is the name of the dataset for `load_dataset`, and `hf://datasets/` with the name for the others.

```python
from datasets import load_dataset

examples = load_dataset("PATH", split="train")  # prompt, completion, messages: for any trainer, no chat template in it
candidates = load_dataset("PATH", "candidates", split="train")  # every trace that was sampled; `dropped` is null or a reason
preferences = load_dataset("PATH", "preferences", split="train")  # prompt, chosen, rejected
```

```python
import duckdb

duckdb.sql("select source, dropped, count(*) from 'PATH/candidates/*.parquet' group by all order by all").show()
```

```python
import polars

polars.scan_parquet("PATH/examples/*.parquet").group_by("source").agg(polars.col("completion_tokens").sum()).collect()
```

`completion` is `<think>\\n...\\n</think>\\n\\n` and the answer. Another cut takes seconds and no teacher, since all that decides is in
the candidates: `distill curate --input FOLDER --output OTHER --set curation.selection.policy=shortest`."""


def card(
    name: str,
    curation: Curation,
    funnel: Funnel,
    recipe: DatasetRecipe | None = None,
    fingerprints: Mapping[str, str] | None = None,
    *,
    contamination: str = "",
    plots: Sequence[str] = (),
    preferences: bool = False,
    unasked: Mapping[str, int] = NOTHING,
) -> str:
    """The card of a dataset; without a recipe (traces from elsewhere) it says so instead of naming a teacher.

    `contamination` is the body of that section in Markdown, `plots` are pictures by their paths beside the card, `preferences` tells
    whether the folder has preference pairs, and `unasked` how many problems were not asked at all, by reason.
    """
    parts = [
        _header(name, funnel, recipe, preferences),
        f"# {inert(name)}",
        recipe.description if recipe else "Reasoning traces from a file, judged and curated. Their teacher is what their own rows say.",
        _size(funnel),
        _load(preferences),
        "## What became of every trace\n\n" + funnels.markdown(funnel),
        f"Problems that no teacher was asked: {', '.join(f'{count:,} `{reason}`' for reason, count in unasked.items())}."
        if unasked
        else "",
        "\n\n".join(f"![{PICTURES.get(PurePosixPath(path).stem, PurePosixPath(path).stem)}]({path})" for path in plots),
        _rejects(funnel),
        "## Contamination\n\n" + contamination.strip() if contamination and curation.benchmarks else "",
        _teacher(recipe) if recipe else "",
        _sources(recipe) if recipe else "",
        _curation(curation),
        "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in (*LIMITS, *_more_limits(curation, recipe))),
        _made_from(recipe, fingerprints or {}),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(name: str, funnel: Funnel, recipe: DatasetRecipe | None, preferences: bool) -> str:
    """The YAML block: JSON strings are YAML strings."""
    examples = funnel.stages()["selected"].rows
    languages = sorted({source.language for source in recipe.problems if source.language and source.language.isalpha()} if recipe else ())
    lines = [
        "---",
        f"pretty_name: {json.dumps(inert(name), ensure_ascii=False)}",
        f"license: {_licence(recipe)}",
        *(["language:", *(f"- {json.dumps(language)}" for language in languages)] if languages else []),  # bare, `no` is false
        "task_categories:\n- text-generation",
        "tags:\n- reasoning\n- distillation\n- chain-of-thought\n- synthetic",
        f"size_categories:\n- {next((label for limit, label in SIZES if examples < limit), LARGEST)}",
        "configs:",
        "- config_name: examples\n  default: true\n  data_files: examples/*.parquet",
        "- config_name: candidates\n  data_files: candidates/*.parquet",
        *(["- config_name: preferences\n  data_files: preferences/*.parquet"] if preferences else []),
        "---",
    ]
    return "\n".join(lines)


def _licence(recipe: DatasetRecipe | None) -> str:
    """The hub's name of the licence: `other` where several hold, or one that the hub has no name for."""
    names = {source.licence.lower() for source in recipe.problems} | {recipe.teacher.licence.lower()} if recipe else {"unknown"}
    name = names.pop()
    known = HUB_NAMES.get(name, name)
    return known if not names and HUB_LICENCES.fullmatch(known) else "other"


def _size(funnel: Funnel) -> str:
    """How much there is, in one line."""
    asked, selected = funnel.stages()["asked"], funnel.stages()["selected"]
    return (
        f"**{selected.rows:,} examples** ({selected.tokens:,} completion tokens) for {selected.problems:,} problems, chosen from "
        f"**{asked.rows:,} candidates** ({asked.tokens:,} sampled tokens) for {asked.problems:,} problems. "
        "Every candidate is here, with what was measured of it and the reason why it was dropped."
    )


def _load(preferences: bool) -> str:
    """How to read the folder."""
    return "\n".join(line for line in LOAD.splitlines() if preferences or not line.startswith("preferences"))


def _rejects(funnel: Funnel) -> str:
    """One row for each reason, to judge the screens by."""
    shown = [(reason, reject) for reason in funnel.reasons() for reject in funnel.rejects.get(reason, [])[:1]]
    rows = [f"- **{reason}** `{reject.id}`: {_code(reject.detail)}, ends in {_code(reject.excerpt[-100:])}" for reason, reject in shown]
    return "## Rejects to look at\n\n" + "\n".join(rows) if rows else ""


def _teacher(recipe: DatasetRecipe) -> str:
    teacher, sampling = recipe.teacher, recipe.sampling
    revision = f" at revision `{teacher.revision}`" if teacher.revision else ""
    narrowed = "".join(f"{name} {value:g}, " for name in ("top_k", "min_p") if (value := getattr(sampling, name)) is not None)
    return (
        "## Teacher and sampling\n\n"
        f"`{teacher.model}`{revision} (engine `{teacher.engine}`, licence of its outputs: {teacher.licence}), {_draws(sampling)} "
        f"at temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, {narrowed}"
        f"at most {sampling.max_tokens:,} tokens, seed {sampling.seed}, prompt template `{sampling.prompt}`, "
        f"{'no system prompt' if sampling.system is None else f'system prompt {_code(sampling.system)}'}."
        + (f" The server ignores {', '.join(teacher.ignores)}." if teacher.ignores else "")
    )


def _draws(sampling: Sampling) -> str:
    """How many completions a problem gets."""
    if sampling.adaptive is None:
        return f"{sampling.n} completions for each problem"
    enough, most, budgets = sampling.adaptive.enough, sampling.adaptive.most, sampling.adaptive.budgets
    again = f", cut ones again with {' and '.join(f'{budget:,}' for budget in budgets)} tokens" if budgets else ""
    return f"at least {sampling.n} completions for each problem and, where a rule judges, up to {most} until {enough} correct ones{again},"


def _sources(recipe: DatasetRecipe) -> str:
    rows = ["| source | problems from | kind | licence |", "| --- | --- | --- | --- |"]
    for source in recipe.problems:
        place = source.path + (f" ({source.subset})" if source.subset else "") + (f" @ {source.revision}" if source.revision else "")
        rows.append(f"| {source.name} | {place}, {source.split} | {source.kind} | {source.licence} |")
    return "## Problems\n\n" + "\n".join(rows)


def _curation(curation: Curation) -> str:
    return "## Curation\n\n```json\n" + json.dumps(curation.identity(), indent=1, ensure_ascii=False) + "\n```"


def _more_limits(curation: Curation, recipe: DatasetRecipe | None) -> list[str]:
    found = []
    if not curation.benchmarks:
        found.append("No benchmark was named, so contamination was not checked at all.")
    if curation.selection.policy == "none":
        found.append("Wrong and unverified answers are in it: the selection policy is `none`.")
    if recipe and recipe.sampling.adaptive:
        found.append("Pass rates are too high: sampling was adaptive, and a problem's draws stopped when enough of them were right.")
    if recipe and "unknown" in {recipe.teacher.licence, *(source.licence for source in recipe.problems)}:
        found.append("The licence of a source or of the teacher's outputs is unknown.")
    return found


def _made_from(recipe: DatasetRecipe | None, fingerprints: Mapping[str, str]) -> str:
    rows = [f"- {room}: `{fingerprint}`" for room, fingerprint in fingerprints.items()]
    if recipe:
        rows.insert(0, f"- recipe: `{recipe.name}`")
    return "## Made from\n\n" + "\n".join(rows) if rows else ""


def _code(text: str) -> str:
    """Text as inline code: one line, no backticks that would end it."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
