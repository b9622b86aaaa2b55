"""The dataset card: a README.md that `datasets` and the hub read, made from what made the dataset.

`card` returns text and reads nothing. It states what the recipe and the funnel say; it does not check that a licence
permits what a reader has in mind.
"""

import json
from collections.abc import Mapping

from distill import funnel as funnels
from distill.funnel import Funnel
from distill.recipe import Curation, DatasetRecipe

LIMITS = (
    "A correct final answer does not make the reasoning before it correct.",
    "Repetition, language and duplicate screens look at words only; of languages in Latin letters, 17 are told apart.",
    "Contamination is checked by text: a paraphrase or a translation of a benchmark question is not found.",
)


def card(
    name: str,
    curation: Curation,
    funnel: Funnel,
    recipe: DatasetRecipe | None = None,
    fingerprints: Mapping[str, str] | None = None,
) -> str:
    """The card of a dataset; without a recipe (traces from elsewhere) it says so instead of naming a teacher."""
    parts = [
        _header(name, recipe),
        f"# {name}",
        recipe.description if recipe else "Reasoning traces from a file, judged and curated. Their teacher is what their own rows say.",
        _load(),
        "## What became of every trace\n\n" + funnels.markdown(funnel),
        _rejects(funnel),
        _teacher(recipe) if recipe else "",
        _sources(recipe) if recipe else "",
        _curation(curation),
        "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in (*LIMITS, *_more_limits(curation, recipe))),
        _made_from(recipe, fingerprints or {}),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(name: str, recipe: DatasetRecipe | None) -> str:
    """The YAML block: JSON strings are YAML strings."""
    licences = sorted({source.licence for source in recipe.problems} | {recipe.teacher.licence}) if recipe else ["unknown"]
    licence = licences[0].lower() if len(licences) == 1 and licences[0] != "unknown" else "other"
    lines = [
        "---",
        f"pretty_name: {json.dumps(name)}",
        f"license: {json.dumps(licence)}",
        "task_categories:\n- text-generation",
        "tags:\n- reasoning\n- distillation\n- chain-of-thought\n- synthetic",
        "configs:",
        "- config_name: examples\n  default: true\n  data_files: examples/*.parquet",
        "- config_name: candidates\n  data_files: candidates/*.parquet",
        "---",
    ]
    return "\n".join(lines)


def _load() -> str:
    return """## Use

```python
from datasets import load_dataset

examples = load_dataset("PATH", split="train")  # prompt, completion, messages: for any trainer, no chat template in it
candidates = load_dataset("PATH", "candidates", split="train")  # every trace that was sampled; `dropped` is null or a reason
```

`completion` is `<think>\\n...\\n</think>\\n\\n` and the answer. Another selection needs `candidates` only, and no teacher."""


def _rejects(funnel: Funnel) -> str:
    """One row for each reason, to judge the screens by."""
    shown = [(reason, reject) for reason in funnel.reasons() for reject in funnel.rejects.get(reason, [])[:1]]
    rows = [f"- **{reason}** `{reject.id}`: {_code(reject.detail)}, ends in {_code(reject.excerpt[-100:])}" for reason, reject in shown]
    return "## Rejects to look at\n\n" + "\n".join(rows) if rows else ""


def _teacher(recipe: DatasetRecipe) -> str:
    teacher, sampling = recipe.teacher, recipe.sampling
    revision = f" at revision `{teacher.revision}`" if teacher.revision else ""
    return (
        "## Teacher and sampling\n\n"
        f"`{teacher.model}`{revision} (engine `{teacher.engine}`, licence of its outputs: {teacher.licence}), "
        f"{sampling.n} completions for each problem at temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, "
        f"at most {sampling.max_tokens:,} tokens, seed {sampling.seed}, prompt template `{sampling.prompt}`, "
        f"{'no system prompt' if sampling.system is None else f'system prompt {_code(sampling.system)}'}."
    )


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
