"""What a judge is shown of an answer, and what its reply comes to (DeepSeek-R1, Listing 4, hardened).

Question, reference and answer stand between lines with a random delimiter that none of them holds. A verdict
is a JSON object that ends with the nonce of its own request: nothing quoted from an answer can be one, nor
end one before its time where the judge quotes without escaping. Two verdicts that differ are none. Invisible
characters are taken out of the texts, and the tokens of chat templates are broken, because many servers parse
them wherever they stand. That a judge is not talked round by an answer's arguments is not promised.

No `response_format` is asked for: DeepSeek's own API refuses a schema (400), engines in this process have
none, and a grammar from the first token on takes the thinking from a judge that reasons. The nonce guards
with or without one.
"""

import json
import re
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.engines import Completion
from distill.records import Message, Outcome, Trace
from distill.store import digest
from distill.text import thinking

PROMPT = (Path(__file__).parent / "judge.txt").read_text(encoding="utf-8").strip()
PROMPT_DIGEST = digest(PROMPT)[:12]
NONCE_CHARACTERS = 32
ANALYSIS_CHARACTERS = 500
OUTCOMES: dict[str, Outcome] = {"correct": "correct", "incorrect": "wrong"}

_PLACES = re.compile(r"\{(delimiter|nonce|question|reference|answer)\}")
_TEMPLATE_TOKENS = re.compile(
    r"<(?=[|｜]|/?(?:s|think|bos|eos|start_of_turn|end_of_turn|unused\d+)>)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])"
)
_MEMBER = r'"\w+"\s*+:\s*+(?:"(?:[^"\\]++|\\.)*+"|[-\w.]++)\s*+'
_OBJECTS = re.compile(
    rf"\{{\s*+{_MEMBER}(?:,\s*+{_MEMBER})*+\}}", re.DOTALL
)  # flat ones: time is linear in any reply
_ESCAPES = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply comes to."""

    outcome: Outcome
    """`"correct"`, `"wrong"`, or `"error"` when the reply holds no usable verdict."""
    detail: str
    """The judge's analysis, or what kept it from giving a verdict."""
    model: str


def new_nonce() -> str:
    """A text that no answer can know."""
    return secrets.token_hex(NONCE_CHARACTERS // 2)


def render(trace: Trace, nonce: str, max_answer_characters: int) -> tuple[Message, ...]:
    """The conversation that asks for a verdict with this nonce on the text after the think block."""
    texts = {
        "question": _shown(trace.problem.question),
        "reference": _shown(trace.problem.reference or ""),
        "answer": _shown(_without_middle(trace.answer, max_answer_characters)),
    }
    delimiter = secrets.token_hex(16)
    while any(delimiter in text for text in texts.values()):
        delimiter = secrets.token_hex(16)
    values = texts | {"delimiter": delimiter, "nonce": nonce}
    return (Message("user", _PLACES.sub(lambda place: values[place.group(1)], PROMPT)),)


def read(reply: Completion, nonce: str, prefill: str = "", tags: thinking.Tags = None) -> Reading:
    """The one verdict with this nonce that a reply gives after its thinking, or why there is none."""
    model = thinking.well_formed(reply.model)
    if reply.failure is not None:
        return Reading("error", reply.failure, model)
    if reply.finish_reason == "length":
        return Reading("error", "the reply was cut at its token limit", model)
    said = thinking.split(reply.content, reply.reasoning, prefill, tags).answer
    verdicts = _verdicts(said, nonce)
    if len(verdicts) != 1:
        cause = "two verdicts that differ" if verdicts else "no verdict sealed with the request's nonce in"
        return Reading("error", _line(f"{cause}: {said}"), model)
    ((outcome, analysis),) = verdicts.items()
    return Reading(outcome, _line(analysis), model)


def _verdicts(text: str, nonce: str) -> dict[Outcome, str]:
    """Outcome to analysis of all usable verdicts that the nonce seals; LaTeX in their strings may be
    unescaped."""
    found: dict[Outcome, str] = {}
    for place in _OBJECTS.finditer(
        _ESCAPES.sub(lambda escape: escape.group() if escape.group(1) else r"\\", text)
    ):
        try:
            members = json.loads(place.group(), strict=False, object_pairs_hook=_unambiguous)
        except ValueError:
            continue
        outcome = OUTCOMES.get(str(members.get("correctness")).strip().lower())
        if outcome and list(members.items())[-1] == ("nonce", nonce):
            found[outcome] = str(members.get("analysis") or "")
    return found


def _unambiguous(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without repeated names: parsers differ in which of them they take."""
    if len({name for name, _ in members}) < len(members):
        raise ValueError("a name is repeated")
    return dict(members)


def _shown(text: str) -> str:
    """A text without invisible characters and with the tokens of chat templates broken by a space."""
    hidden = {
        ord(character): " " if unicodedata.category(character).startswith("Z") else None
        for character in set(text)
        if not character.isprintable() and character not in "\n\t"
    }
    return _TEMPLATE_TOKENS.sub(lambda bracket: bracket.group() + " ", text.translate(hidden))


def _without_middle(text: str, limit: int) -> str:
    """The two ends of a text that is too long, with a note of what is missing between them."""
    if len(text) <= limit:
        return text
    head, tail = limit - limit // 2, limit // 2
    return (
        f"{text[:head]}\n[... {len(text) - limit} characters of the answer are left out here "
        f"...]\n{text[-tail:]}"
    )


def _line(text: str) -> str:
    """A text on one line, shortened, fit for a file."""
    return thinking.well_formed(" ".join(text.split()))[:ANALYSIS_CHARACTERS]
