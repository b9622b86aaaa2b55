"""Prompts: one text file in `distill/templates/` for each way to ask, with the question put in as it is.

The instruction stands in the user's turn and there is no system prompt unless the recipe has one (DeepSeek-R1 README, usage
recommendations). `math` is that README's wording. Questions in other languages keep the English instruction.
"""

from functools import cache
from pathlib import Path

from distill.records import Message, Problem
from distill.section import RecipeError
from distill.store import digest

TEMPLATES = Path(__file__).parent / "templates"
QUESTION = "{question}"
BY_KIND = "by_kind"
"""Instead of a template's name: each problem is asked with the template of its kind."""


def render(problem: Problem, template: str, system: str | None = None) -> tuple[Message, ...]:
    """The conversation that asks a problem: an optional system turn, then the user's turn."""
    chosen = problem.kind if template == BY_KIND else template
    user = Message("user", _read(chosen).replace(QUESTION, problem.question))
    return (user,) if system is None else (Message("system", system), user)


def identity(template: str) -> str:
    """A hash of a template's text, or of all of them for `by_kind`: an edited template is another one."""
    return digest("".join(_read(name) for name in (names() if template == BY_KIND else [template])))[:12]


def names() -> list[str]:
    """Names of the templates."""
    return sorted(path.stem for path in TEMPLATES.glob("*.txt"))


@cache
def _read(template: str) -> str:
    if template not in names():
        raise RecipeError(f"sampling.prompt: no template {template!r}; there are: {', '.join(names())}, or {BY_KIND}")
    text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8").removesuffix("\n")
    if text.count(QUESTION) != 1:
        raise RecipeError(f"sampling.prompt: {template}.txt must hold {QUESTION} once")
    return text
