"""Prompts: one text file for each way to ask, with the question put in as it is.

A template is named as in `distill/text/prompts/`, or is a `.txt` file of one's own. The instruction stands in
the user's turn and there is no system prompt unless the recipe has one (DeepSeek-R1 README, usage
recommendations); `math` is that README's wording. Questions in other languages keep the English instruction
unless the name ends with `@problem`: then `math.zh.txt`, beside `math.txt`, asks the Chinese ones. Which
languages have such a file is up to whoever writes them; others are asked in English.
"""

import glob
from functools import cache
from pathlib import Path

from distill.recipe import RecipeError
from distill.records import Message, Problem
from distill.store import digest

TEMPLATES = Path(__file__).parent / "prompts"
QUESTION = "{question}"
BY_KIND = "by_kind"
"""Instead of a template's name: each problem is asked with the template of its kind."""
OF_PROBLEM = "@problem"
"""After a template's name: the instruction is in the problem's language where that is there."""
FILE = ".txt"


def render(problem: Problem, template: str, system: str | None = None) -> tuple[Message, ...]:
    """The conversation that asks a problem: an optional system turn, then the user's turn."""
    name = template.removesuffix(OF_PROBLEM)
    chosen = problem.kind if name == BY_KIND else name
    instruction = _read(chosen)
    if name != template:
        instruction = _translations(chosen).get(problem.language, instruction)
    user = Message("user", instruction.replace(QUESTION, problem.question))
    return (user,) if system is None else (Message("system", system), user)


def identity(template: str) -> str:
    """A hash of a template's text, or of all that a name stands for: an edited template is another one."""
    name = template.removesuffix(OF_PROBLEM)
    used = names() if name == BY_KIND else [name]
    texts = [_read(one) for one in used]
    if name != template:
        texts += [
            f"\0{one}.{language}\0{text}" for one in used for language, text in _translations(one).items()
        ]
    return digest("".join(texts))[:12]


def names() -> list[str]:
    """Names of the shipped templates."""
    return sorted(path.stem for path in TEMPLATES.glob(f"*{FILE}") if "." not in path.stem)


@cache
def _read(template: str) -> str:
    if not template.endswith(FILE) and template not in names():
        raise RecipeError(
            f"sampling.prompt: no template {template!r}; there are: {', '.join(names())}, or {BY_KIND}, or "
            f"the path of a {FILE} file; "
            f"with {OF_PROBLEM} after it the instruction is in the problem's language"
        )
    return _text(_path(template))


@cache
def _translations(template: str) -> dict[str, str]:
    """The texts of a template in other languages than English, by ISO 639-1 code."""
    path = _path(template)
    found = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*{FILE}"))
    return {
        language: _text(other)
        for other in found
        if (language := other.stem.removeprefix(f"{path.stem}.")).isalpha()
    }


def _path(template: str) -> Path:
    return Path(template).expanduser() if template.endswith(FILE) else TEMPLATES / f"{template}{FILE}"


def _text(path: Path) -> str:
    """The text of a template, with its place for the question."""
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"sampling.prompt: {path} cannot be read: {error}") from error
    if text.count(QUESTION) != 1:
        raise RecipeError(f"sampling.prompt: {path} must hold {QUESTION} once")
    return text
