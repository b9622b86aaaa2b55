"""What a server's refusal means: the run is misconfigured, one request cannot be done, or it is worth trying
again.

- Servers say the same with different statuses and words; `errors.toml` has the words.
- Gateways send an error object with a status of 200, or with one that says less than its words. It stands in
  `error` (or `errors`, `base_resp`) of a reply or of its first choice, or is the reply itself. Its number
  counts where it is an HTTP status; then its names (`code`, `type`, `status`), then its message.
- What is not known is a failure of its request, never of the run.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from distill.engines.protocol import EngineError
from distill.recipe import Teacher

Fate = Literal["good", "final", "refused", "too_long", "way", "request", "server", "busy", "gone"]
"""Of a try: a completion; a failure that another try would not change; refused for this key or address,
although other requests were served; too long for the context; to be asked in another `Way`; a fault of the
model; a fault of the server or of the request; the server is overloaded; no server is there."""
Way = Literal["whole", "stream", "bare_stream"]
"""How a completion is sent: whole, in pieces with its tokens counted at the end, or in pieces from servers
that know no such count."""

FILTERED = (403, 404)
"""Statuses that, once the teacher has served, may be about one request: gateways filter what is asked."""
SETTINGS = ("temperature", "top_p", "top_k", "min_p", "seed")
LIMITS = ("max_completion_tokens", "max_tokens")
PREFILL = ("continue_final_message", "add_generation_prompt")
NUMBERS = ("code", "status", "status_code", "statusCode", "http_status", "http_code", "httpCode")
NAMES = ("code", "type", "status", "error", "name", "reason", "error_code", "error_type")
MESSAGES = ("message", "msg", "status_msg", "error_msg", "detail", "details", "error", "raw")
GENERIC = (None, 200, 400, 422, 500)
"""Statuses that a gateway gives whatever has happened: a name that says more counts instead."""


class Told(NamedTuple):
    """A status and the words that came with it."""

    status: int
    words: str
    retry_after: str = ""
    """As in the header of that name, where the object holds it."""


def _letters(name: str) -> str:
    """`InvalidApiKey`, `invalid_api_key` and `invalid-api-key` are one name."""
    letters = re.sub(r"[^a-z]", "", name.casefold())
    return letters.removesuffix("exception").removesuffix("error")


def _any(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
STATUSES = {
    _letters(name): int(status) for status, line in _DATA["statuses"].items() for name in line.split()
}
"""By name."""
MESSAGE_STATUSES = [(int(status), _any(patterns)) for status, patterns in _DATA["messages"].items()]
MODERATED_NAMES = frozenset(map(_letters, _DATA["moderated"]["names"].split()))
MODERATED_MESSAGES = _any(_DATA["moderated"]["messages"])
REFUSED = {name: _any(patterns) for name, patterns in _DATA["refused"].items()}
REMEDIES: dict[int, str] = {int(status): remedy for status, remedy in _DATA["remedies"].items()}


def fate(status: int, text: str) -> Fate:
    """What becomes of a request answered with another status than 200; EngineError for the remedy alone."""
    if status in REMEDIES:
        raise EngineError(REMEDIES[status])
    if 300 <= status < 400:
        raise EngineError("it redirects to another address: write the final one into teacher.urls")
    if status == 429 and REFUSED["no_credit"].search(text):
        raise EngineError(REMEDIES[402])
    if status in (400, 413, 422, 500) and REFUSED["too_long"].search(text):
        return "too_long"
    if status == 429:
        return "busy"
    return "server" if status >= 500 or status in (408, 425) else "final"


def other_way(status: int, text: str, way: Way) -> Way | None:
    """The way in which a server wants to be asked instead; None when it refuses something else."""
    if status not in (400, 405, 406, 422, 501):
        return None
    if way == "stream" and "stream_options" in text:
        return "bare_stream"
    refused = REFUSED["only_streams"].search(text) or (
        REFUSED["whole_refused"].search(text) and not REFUSED["stream_refused"].search(text)
    )
    return "stream" if way == "whole" and refused else None


def refused_setting(status: int, text: str, teacher: Teacher) -> str | None:
    """The remedy when a server refuses a setting of every request; None when it refuses something else."""
    if status not in (400, 422) or not REFUSED["refuses"].search(text):
        return None
    named = [
        name
        for name in (*SETTINGS, *LIMITS, *PREFILL, *teacher.extra_body)
        if re.search(rf"\b{re.escape(name)}\b", text)
    ]
    if not named:
        return None
    name = named[0]
    if name in teacher.extra_body:
        return f"the server refuses {name}: correct teacher.extra_body"
    if name in SETTINGS:
        return f'the server refuses {name}: add "{name}" to teacher.ignores, and it is not sent'
    if name in PREFILL:
        return "the server cannot go on with a begun answer: leave out teacher.prefill"
    other = LIMITS[1 - LIMITS.index(teacher.max_tokens_field)]
    if other in named:
        return (
            "the server wants another name for the longest completion: set teacher.max_tokens_field = "
            f'"{other}"'
        )
    return (
        "the server refuses the longest completion: lower sampling.max_tokens (and sampling.adaptive.budgets)"
    )


def told(status: int, body: Any) -> Told | None:
    """What a reply's error object means, given with a status; None where it says nothing more."""
    for found in _objects(body):
        meant = _status(found)
        if meant is not None and status in GENERIC and (status == 200 or meant in (401, 402, 429)):
            return Told(meant, json.dumps(found, ensure_ascii=False), _retry_after(found))
    return None


def _status(found: dict[str, Any]) -> int | None:
    """The HTTP status that an object means: its number, unless that is a general one and a name says more."""
    own = _number(found)
    named = [known for name in _names(found) if (known := STATUSES.get(_letters(name)))]
    special = next((known for known in named if known not in GENERIC), None)
    if own not in GENERIC or (own is not None and special is None):
        return own
    message = _message(found)
    spoken = (known for known, pattern in MESSAGE_STATUSES if pattern.search(message))
    return special or next(spoken, None) or next(iter(named), None)


def _retry_after(found: dict[str, Any]) -> str:
    """When to ask again, from an object or what a gateway passes on of its provider's headers."""
    metadata = found.get("metadata")
    holders = [found, metadata, metadata.get("headers")] if isinstance(metadata, dict) else [found]
    values = (
        value
        for holder in holders
        if isinstance(holder, dict)
        for name, value in holder.items()
        if name.casefold().replace("-", "_") in ("retry_after", "retry_after_seconds")
    )
    return next((str(value) for value in values if isinstance(value, (str, int))), "")


def moderated(status: int, body: Any) -> bool:
    """Whether an error says that the prompt may not be asked, which is no refusal of the key."""
    if status not in (200, 400, 403, 422, 451):
        return False
    for found in _objects(body):
        metadata, inner = found.get("metadata"), found.get("innererror")
        if isinstance(metadata, dict) and (metadata.get("reasons") or metadata.get("flagged_input")):
            return True
        names = [*_names(found), *(_names(inner) if isinstance(inner, dict) else ())]
        if any(_letters(name) in MODERATED_NAMES for name in names) or MODERATED_MESSAGES.search(
            _message(found)
        ):
            return True
    return False


def _objects(body: Any) -> Iterator[dict[str, Any]]:
    """The error objects of a reply, a text as one with that message; a reply with choices is none."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, dict):
        return
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    for holder in (body, first, message):
        if not isinstance(holder, dict):
            continue
        for name in ("error", "errors", "base_resp", "err", "detail"):
            inner = holder.get(name)
            inner = inner[0] if isinstance(inner, list) and inner else inner
            inner = (
                inner["error"] if isinstance(inner, dict) and isinstance(inner.get("error"), dict) else inner
            )
            if isinstance(inner, str) and inner:
                yield {
                    **{key: value for key, value in holder.items() if key in NUMBERS},
                    "name": inner,
                    "message": inner,
                }
            elif isinstance(inner, dict) and inner:
                yield inner
    if first is None:
        yield body


def _number(found: dict[str, Any]) -> int | None:
    """The HTTP status that an object names as a number, or as a text of digits; None for any other number."""
    for name in NUMBERS:
        value = found.get(name)
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value) else value
        if type(number) is int and 400 <= number <= 599:
            return number
    return None


def _names(found: dict[str, Any]) -> list[str]:
    """The names that an object gives its error; `Throttling.RateQuota` counts by its parts, too."""
    names = [value for name in NAMES if isinstance(value := found.get(name), str)]
    return [*names, *(value.split(".")[0] for value in names if "." in value)]


def _message(found: dict[str, Any]) -> str:
    """What an object says in words."""
    metadata = found.get("metadata")
    holders = [found, metadata] if isinstance(metadata, dict) else [found]
    return " ".join(
        value for holder in holders for name in MESSAGES if isinstance(value := holder.get(name), str)
    )
