"""The model card: a README.md beside a student that the hub reads, made from what made the student.

Its text is `model_card.md.jinja`; here is what the template cannot say. The card names licences as the
recipes do; it does not check that they permit what a reader has in mind.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from distill.hardware import shapes
from distill.progress import duration
from distill.recipe import StudentRecipe
from distill.records import Checkpoint
from distill.store import write_text
from distill.text import inert

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
HUB_LICENCES = re.compile(
    r"apache-2\.0|mit|bsd-[23]-clause|gemma|cc-by(-nc)?(-sa)?-4\.0|cc0-1\.0|llama\d(\.\d)?"
)
"""Licences of models by the hub's names; others are `other` with a name of their own."""
LLAMA_LICENCE = re.compile(r"llama[ -]?(\d(?:\.\d)?)", re.IGNORECASE)
LLAMA = re.compile(r"(?:^|[/_-])(?:meta-)?llama-?\d", re.IGNORECASE)
"""Names of Meta's models and of what is made from them; other models of that architecture are not Llama."""
PLOT = "plots/loss.png"


def write(
    folder: Path,
    recipe: StudentRecipe,
    checkpoint: Checkpoint,
    fingerprint: str,
    made_by: Mapping[str, Any] | None,
    lines: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the card of the student in a folder.

    `fingerprint` and `made_by` are those of its dataset and the dataset's resolved recipe (None: traces from
    elsewhere); `lines` are those of its metrics.
    """
    base, teacher = recipe.base, (made_by or {}).get("teacher")

    def middle(name: str) -> float | None:
        found = [line[name] for line in lines if line.get(name)]
        return median(found) if found else None

    text = _template().render(
        name=inert(recipe.name),
        description=recipe.description.strip(),
        base=base,
        hub_base=shapes.local_folder(base.model) is None and not shapes.is_path(base.model),
        hub_licence=_licence(base.licence),
        llama=any(map(built_with_llama, (base.model_dump(), teacher or {"model": ""}))),
        teacher=teacher and {"revision": None, "licence": None, **teacher},
        problems=_problems(made_by or {}),
        training=recipe.training,
        sampling=recipe.evaluation,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        duration=duration(checkpoint.seconds),
        speed=middle("tokens_per_second"),
        mfu=middle("mfu"),
        plot=PLOT if (folder / PLOT).exists() else None,
        recipe=json.dumps(recipe.model_dump(mode="json", include={"base", "training"}), indent=1),
    )
    write_text(f"{folder}/README.md", text)


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701 - the card is Markdown
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _problems(made_by: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Each source of a dataset's problems once."""
    found = {
        (source["path"], source.get("revision"), source.get("licence"))
        for source in made_by.get("problems", ())
    }
    return [
        {"path": inert(path), "revision": revision, "licence": licence}
        for path, revision, licence in sorted(found, key=str)
    ]


def built_with_llama(model: Mapping[str, Any]) -> bool:
    """Whether the Llama licence asks for its sentence: of Meta's models and of what is made from them."""
    return LLAMA.search(model["model"]) is not None or "llama" in (model.get("licence") or "").lower()


def _licence(licence: str) -> str:
    """The hub's name of a model's licence."""
    found = LLAMA_LICENCE.search(licence)
    known = f"llama{found[1]}" if found else licence.lower()
    return known if HUB_LICENCES.fullmatch(known) else "other"
