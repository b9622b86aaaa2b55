"""What an error object in a reply says: gateways send one with a status of 200, or with a status that says
less than its words.

- An object stands in `error` (or `errors`, `base_resp`) of a reply or of its first choice, or is the reply
  itself.
- Its number counts where it is an HTTP status; then its names (`code`, `type`, `status`), then its message,
  word by word.
- What says nothing of this is None: such a reply is a bad one, and no more.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

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


def _table(names: dict[int, str]) -> dict[str, int]:
    return {_letters(name): status for status, line in names.items() for name in line.split()}


def _letters(name: str) -> str:
    """`InvalidApiKey`, `invalid_api_key` and `invalid-api-key` are one name."""
    letters = re.sub(r"[^a-z]", "", name.casefold())
    return letters.removesuffix("exception").removesuffix("error")


STATUSES = _table(
    {
        400: (
            "bad_request invalid_request invalid_argument invalid_parameter failed_precondition "
            "context_length_exceeded validation"
        ),
        401: "invalid_api_key incorrect_api_key missing_api_key invalid_key api_key_invalid "
        "authentication authentication_failed "
        "account_deactivated unauthenticated unauthorized "
        "invalid_authentication no_auth_credentials invalid_token token_expired invalid_auth",
        402: "insufficient_quota insufficient_user_quota insufficient_credits insufficient_credit "
        "insufficient_balance insufficient_funds "
        "payment_required billing billing_not_active billing_hard_limit_reached credit_limit_exceeded "
        "credits_exhausted arrearage "
        "account_overdue quota_exhausted exceeded_current_quota free_tier_exhausted out_of_credits",
        403: (
            "forbidden permission permission_denied access_denied not_allowed model_access_denied "
            "access_terminated"
        ),
        404: "not_found model_not_found model_not_exist model_not_found_error no_such_model unknown_model "
        "invalid_model "
        "resource_not_found deployment_not_found model_not_available",
        408: "request_timeout",
        429: "rate_limit rate_limit_exceeded rate_limit_reached rate_limited rate_limit_reached_error "
        "too_many_requests "
        "requests_limit_exceeded resource_exhausted throttling throttled throttling_rate_quota "
        "throttling_allocation_quota "
        "quota_exceeded requests_per_minute_limit_exceeded "
        "tokens_per_minute_limit_exceeded concurrency_limit_exceeded",
        500: "internal internal_server server api internal_failure unknown_error",
        502: "bad_gateway provider upstream upstream_failure",
        503: "service_unavailable unavailable engine_overloaded overloaded server_overloaded "
        "model_overloaded model_loading "
        "system_busy capacity_exceeded no_available_workers no_healthy_upstream",
        504: "gateway_timeout timeout deadline_exceeded",
    }
)
"""By name; those of OpenAI, Anthropic, Google, OpenRouter, Azure, DashScope, Moonshot, Bedrock and
one-api."""
_CREDIT = (
    r"insufficient\W+(user\W+)?(credits?|balance|quota|funds)|exceeded your current quota|payment "
    r"required|out of credits"
)
_BALANCE = r"balance is (insufficient|too low)|余额不足|欠费"
_KEY = (
    r"(invalid|incorrect|missing|expired|no)\W+(\w+\W+)?(api[- ]?key|auth(entication)? credentials|token "
    r"provided)"
)
_KEY_IS = r"api[- ]?key\W+(is )?(not valid|invalid|expired|missing)"
MESSAGE_STATUSES = (
    (402, rf"{_CREDIT}|{_BALANCE}"),
    (401, rf"{_KEY}|{_KEY_IS}|unauthorized|authentication (error|failed|required)|无效的(令牌|API)"),
    (
        429,
        r"rate[- ]?limit|too many requests|throttl|requests per (minute|second)|请求过于频繁|限流|速率限制",
    ),
    (
        404,
        r"(model|deployment)\W+(\S+\W+){0,3}(does not exist|not found|not exist)|no such model|unknown model",
    ),
    (403, r"permission denied|access denied|forbidden|do(es)? not have access"),
    (
        503,
        (
            r"overloaded|temporarily unavailable|service unavailable|no available "
            r"(server|worker|instance)|server (is )?busy|at capacity"
        ),
    ),
)
"""What messages say where there is neither number nor name that says more."""
MODERATED_NAMES = frozenset(
    _table(
        {
            403: "content_filter content_filtered content_policy_violation "
            "responsible_ai_policy_violation moderation moderated "
            "moderation_blocked moderation_error data_inspection_failed content_blocked prohibited_content "
            "safety safety_block "
            "input_moderation invalid_prompt sensitive_content content_moderation output_blocked "
            "prompt_blocked"
        }
    )
)
_IS = r"(was|were|has been|have been|is|are|got|may be|may contain|contains?)"
MODERATED_MESSAGES = re.compile(
    rf"\b(input|prompt|content|request|message|query|text|data)s?\W+(\w+\W+){{0,2}}{_IS}\W+(\w+\W+){{0,3}}"
    r"(flagged|moderated|inappropriate|filtered|unsafe|high risk|sensitive)"
    r"|content exists risk|considered high risk|content[- ](management )?policy|requires moderation|敏感",
    re.IGNORECASE,
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
    spoken = (known for known, pattern in MESSAGE_STATUSES if re.search(pattern, message, re.IGNORECASE))
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
