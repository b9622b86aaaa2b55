"""What a server's refusal means: the run is misconfigured, one request cannot be done, or it is worth trying
again.

Servers say the same with different statuses and words; the words here are those of vLLM, SGLang, llama.cpp,
OpenAI and DeepSeek. What is not known is a failure of its request, never of the run.
"""

import re
from typing import Literal

from distill.engines.protocol import EngineError
from distill.recipe.dataset import Teacher

Fate = Literal["good", "final", "barred", "unfit", "way", "request", "server", "busy", "gone"]
"""Of a try: a completion; not worth another; not for this key or at this address, although others were
served; too long for the context; to be asked in another `Way`; the model's doing; the server's or the
request's; the server has no time; nothing is there."""
Way = Literal["whole", "stream", "bare_stream"]
"""How a completion is sent: whole, in pieces with its tokens counted at the end, or in pieces from servers
that know no such count."""

BARRED = (403, 404)
"""Statuses that, once the teacher has served, may be about one request: gateways filter what is asked."""
REMEDIES = {
    401: (
        "the API key was refused: put a valid one into the environment variable that teacher.api_key_env "
        "names"
    ),
    402: "the account has no credit left: add some, then run the same command again",
    403: "this key may not use the model: correct teacher.model, or ask for access",
    404: (
        "there is no such model or address: correct teacher.model, or teacher.urls (they usually end in /v1)"
    ),
}
NO_CREDIT = re.compile(
    r"insufficient[_ ](quota|balance|credits?|funds)|exceeded your current quota|余额不足|欠费", re.IGNORECASE
)
"""OpenAI and others say so with a 429."""
TOO_LONG = re.compile(
    r"maximum context length|context_length_exceeded|longer than the (maximum model|model's context) "
    r"length|too long to fit into the model"
    r"|exceed_context_size|exceeds the available context size|exceeds the maximum allowed "
    r"length|(prompt|input) is too long",
    re.IGNORECASE,
)
REFUSES = re.compile(
    r"unsupported|not support|unknown|unrecognized|expected|valid|not permitted|not allowed|deprecated|only "
    r"the default|must be|cannot be"
    r"|not accept|not compatible",
    re.IGNORECASE,
)
ONLY_STREAMS = re.compile(
    r"\bnon[-_ ]?stream|stream\W{0,3}false\W+(is\W+)?(not|un)|stream\W+does not support\W+false"
    r"|synchronous\W.*\bstream|非流式|[仅只]支持流式",
    re.IGNORECASE,
)
"""Words that leave no doubt."""
WHOLE_REFUSED = re.compile(
    r"\b(only|requires?|must|should|has to|have to|needs? to|please)\W+(\w+\W+){0,4}(be\W+)?stream"
    r"|\bstream\w*\W+(\w+\W+){0,2}(required|mandatory|only|must be "
    r"enabled)\b|\bstream\w*\W+(\w+\W+){0,5}true\b|\benable\W+(\w+\W+)?stream",
    re.IGNORECASE,
)
STREAM_REFUSED = re.compile(
    r"not (yet "
    r")?(support|allow|available|permit)\w*\W+(\w+\W+)?stream|stream\w*\W+(\w+\W+){0,2}(not|unsupported|disabled)\b"
    r"|stream\w*\W+(must|should|has to|can "
    r"only)\W+be\W+(set\W+)?(to\W+)?false\b|set\W+stream\W+to\W+false|verified to stream",
    re.IGNORECASE,
)
SETTINGS = ("temperature", "top_p", "top_k", "min_p", "seed")
LIMITS = ("max_completion_tokens", "max_tokens")
PREFILL = ("continue_final_message", "add_generation_prompt")


def fate(status: int, text: str) -> Fate:
    """What becomes of a request answered with another status than 200; EngineError for the remedy alone."""
    if status in REMEDIES:
        raise EngineError(REMEDIES[status])
    if 300 <= status < 400:
        raise EngineError("it redirects to another address: write the final one into teacher.urls")
    if status == 429 and NO_CREDIT.search(text):
        raise EngineError(REMEDIES[402])
    if status in (400, 413, 422, 500) and TOO_LONG.search(text):
        return "unfit"
    if status == 429:
        return "busy"
    return "server" if status >= 500 or status in (408, 425) else "final"


def other_way(status: int, text: str, way: Way) -> Way | None:
    """The way in which a server wants to be asked instead; None when it refuses something else."""
    if status not in (400, 405, 406, 422, 501):
        return None
    if way == "stream" and "stream_options" in text:
        return "bare_stream"
    refused = ONLY_STREAMS.search(text) or (WHOLE_REFUSED.search(text) and not STREAM_REFUSED.search(text))
    return "stream" if way == "whole" and refused else None


def refused_setting(status: int, text: str, teacher: Teacher) -> str | None:
    """The remedy when a server refuses a setting of every request; None when it refuses something else."""
    if status not in (400, 422) or not REFUSES.search(text):
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
