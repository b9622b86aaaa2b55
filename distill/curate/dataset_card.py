"""The dataset card: a README.md that `datasets` and the hub read, made from what made the dataset.

Its text is `dataset_card.md.jinja`; here is what the template cannot say. The card states what the recipe and
the funnel say; it does not check that a licence permits what a reader has in mind.
"""

import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path, PurePosixPath

from distill.curate import funnel as funnels
from distill.curate.funnel import Funnel
from distill.recipe import Curation, DatasetRecipe, Sampling
from distill.text import inert

TEMPLATE = Path(__file__).with_name("dataset_card.md.jinja")
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
HUB_NAMES = {
    "odc-by-1.0": "odc-by",
    "odbl-1.0": "odbl",
    "pddl-1.0": "pddl",
    "gpl-3.0-only": "gpl-3.0",
    "gpl-3.0-or-later": "gpl-3.0",
}
"""SPDX names, in lower case, that the hub shortens."""
HUB_LICENCES = re.compile(
    r"apache-2\.0|mit|bsd-[23]-clause|gpl-3\.0|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-4\.0|cc-by(-nc)?(-sa)?-3\.0"
    r"|cdla-permissive-[12]\.0|cdla-sharing-1\.0|odc-by|odbl|pddl|unknown"
)
"""Licences of data by the hub's names (its page "Licenses"); it refuses a card with a name that it does not
know."""


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

    `contamination` is the body of that section in Markdown, `plots` are pictures by their paths beside the
    card, `preferences` tells whether the folder has preference pairs, and `unasked` how many problems were
    not asked at all, by reason.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701 - the card is Markdown
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters["code"] = _code
    stages = funnel.stages()
    titles = [(path, PurePosixPath(path).stem) for path in plots]
    licences = (
        {source.licence for source in recipe.problems} | {recipe.teacher.licence} if recipe else {"unknown"}
    )
    languages = sorted(
        {one.language for one in recipe.problems if one.language and one.language.isalpha()} if recipe else ()
    )
    return environment.from_string(
        TEMPLATE.read_text(encoding="utf-8")
    ).render(
        pretty_name=json.dumps(inert(name), ensure_ascii=False),  # JSON strings are YAML strings
        licence=_licence(licences),
        licences=licences,
        languages=[json.dumps(language) for language in languages],  # bare, `no` is false
        size=next((label for limit, label in SIZES if stages["selected"].rows < limit), LARGEST),
        preferences=preferences,
        name=inert(name),
        recipe=recipe,
        selected=stages["selected"],
        asked=stages["asked"],
        funnel=funnels.markdown(funnel),
        unasked=", ".join(f"{count:,} `{reason}`" for reason, count in unasked.items()),
        pictures=[(path, PICTURES.get(title, title)) for path, title in titles],
        rejects=[
            (reason, reject) for reason in funnel.reasons() for reject in funnel.rejects.get(reason, [])[:1]
        ],
        contamination=contamination.strip() if curation.benchmarks else "",
        draws=_draws(recipe.sampling) if recipe else "",
        settings=_settings(recipe.sampling) if recipe else "",
        curation=json.dumps(curation.identity(), indent=1, ensure_ascii=False),
        benchmarks=curation.benchmarks,
        policy=curation.selection.policy,
        fingerprints=fingerprints or {},
    )


def _licence(licences: Set[str]) -> str:
    """The hub's name of the licence: `other` where several hold, or one that the hub has no name for."""
    names = {licence.lower() for licence in licences}
    name = names.pop()
    known = HUB_NAMES.get(name, name)
    return known if not names and HUB_LICENCES.fullmatch(known) else "other"


def _draws(sampling: Sampling) -> str:
    """How many completions a problem gets."""
    if sampling.adaptive is None:
        return f"{sampling.n} completions for each problem"
    enough, most, budgets = sampling.adaptive.enough, sampling.adaptive.most, sampling.adaptive.budgets
    again = (
        f", cut ones again with {' and '.join(f'{budget:,}' for budget in budgets)} tokens" if budgets else ""
    )
    return (
        f"at least {sampling.n} completions for each problem and, where a rule judges, up to {most} "
        f"until {enough} correct ones{again},"
    )


def _settings(sampling: Sampling) -> str:
    """What completions are sampled with."""
    names = [f"temperature {sampling.temperature:g}", f"top_p {sampling.top_p:g}"]
    names += [
        f"{name} {value:g}" for name in ("top_k", "min_p") if (value := getattr(sampling, name)) is not None
    ]
    return f"at {', '.join(names)}, at most {sampling.max_tokens:,} tokens, seed {sampling.seed}"


def _code(text: str) -> str:
    """Text as inline code: one line, no backticks that would end it."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
