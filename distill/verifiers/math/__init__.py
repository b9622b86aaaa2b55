r"""Math answers: the last `\boxed{}` of the answer against the reference.

Equal spellings and plain numbers are decided here, in microseconds; other texts are read once for each
distinct pair of reference and answer, and what neither spelling nor plain arithmetic decides goes to a worker
process, once for each such pair. Conventions: the reference is bare or boxed; an exact reference needs an
exact answer; tuples are ordered and sets are not; open and closed ends differ; a unit may be left off or
added, another unit fails; `x = 5` is 5; a number in a base is not the same digits without it; dates and other
joined digits are no arithmetic. Nothing is read out of prose.
"""

import os
import re
import threading
from collections import OrderedDict
from concurrent.futures import Future
from decimal import Decimal
from functools import lru_cache
from time import perf_counter
from typing import Any

from distill.recipe import Verification
from distill.records import Outcome, Problem, Verdict
from distill.text import boxed
from distill.verifiers.math import compare, limits, parse, quantifiers, references, values
from distill.verifiers.math.tree import Node
from distill.verifiers.math.worker_pool import pool

VERSION = "math/7"
MEMO_PAIRS = 65_536
SHOWN = 100
"""Characters of an answer and of a reference in a detail."""

_PLAIN = re.compile(
    r"(?:\\?\$)?(-?(?:[0-9]{1,3}(?:(?:,|\{,\}|\\,|,\\!)[0-9]{3})+|[0-9]{1,300})(?:\.[0-9]{1,300})?)"
)
"""A number with or without thousands separators and a dollar sign, as prose and LaTeX write them."""
_SEPARATORS = re.compile(r"[{},\\!]+")
Finding = tuple[Outcome, str]
"""Outcome and detail."""
_memo: "OrderedDict[tuple[Any, ...], Future[Verdict]]" = OrderedDict()
_remembering = threading.Lock()


def judge(problem: Problem, answer: str, section: Verification) -> "Verdict | Future[Verdict]":
    """The verdict on an answer's last box, or a future of it where symbolic algebra is needed."""
    started = perf_counter()
    found: Finding | None = None
    extracted = None
    try:
        extracted = last_boxed(answer)
    except ValueError as error:
        found = "unparsed_answer", str(error)
    if extracted:
        reference = problem.reference or ""
        found = _as_numbers(reference, extracted)
        if found is None:
            reference, given = quantifiers.settle(reference, extracted)
            reference, cause = references.read(reference)
            limit = section.max_answer_characters
            found = ("unparsed_reference", cause) if cause else _quick(reference, given, limit)
            if found is None:
                return _symbolic(reference, given, section, strict=False)
    outcome, detail = found or ("no_answer", "no box" if extracted is None else "empty box")
    return Verdict(outcome, extracted or None, detail, perf_counter() - started, VERSION)


def judge_reference(problem: Problem, section: Verification) -> Verdict:
    """The verdict on the reference as its own answer: correct when the verifier can read it and finds it
    equal to itself."""
    reference, cause = references.read(quantifiers.settle(problem.reference or "", "")[0])
    cause = cause or limits.too_large(reference, section.max_answer_characters) or ""
    try:
        leaves = [] if cause else parse.leaves(parse.read(reference))
    except parse.TooDeepError as error:
        cause = str(error)
    if cause:
        return Verdict("unparsed_reference", None, cause, 0.0, VERSION)
    if all(compare.by_spelling(leaf, leaf, trust_equal_texts=False) for leaf in leaves):
        return Verdict("correct", reference, "", 0.0, VERSION)
    return _symbolic(reference, reference, section, strict=True).result()


def last_boxed(answer: str) -> str | None:
    """What `boxes.last_boxed` finds, sooner where the only box holds neither braces nor commands."""
    start = answer.rfind("\\boxed{")
    end = answer.find("}", start) if start >= 0 else -1
    content = answer[start + len("\\boxed{") : end]
    only = end > 0 and answer.rfind("boxed", 0, start) < 0 and "\\fbox" not in answer
    plain = only and "{" not in content and "\\" not in content
    return content.strip() if plain else boxed.last_boxed(answer)


def _as_numbers(reference: str, answer: str) -> Finding | None:
    """The finding on two plain numbers, else None: a decimal that is long enough stands for all that rounds
    to it."""
    if reference == answer and reference.isdecimal():
        return "correct", "the same text"
    wanted = _PLAIN.fullmatch(reference)
    given = _PLAIN.fullmatch(answer) if wanted else None
    if not wanted or not given or len(wanted[1].partition(".")[2]) >= compare.ROUNDED_DECIMALS:
        return None
    first, second = wanted[1], given[1]
    if "," in first + second:
        first, second = _SEPARATORS.sub("", first), _SEPARATORS.sub("", second)
    return _found(Decimal(first) == Decimal(second), reference, answer, "as numbers")


def _found(same: bool, reference: str, answer: str, how: str) -> Finding:
    if same:
        return "correct", f"equal {how}"
    return "wrong", f"{answer[:SHOWN]!r} is not {reference[:SHOWN]!r} {how}"


@lru_cache(maxsize=8192)
def _quick(reference: str, answer: str, most_characters: int) -> Finding | None:
    """The finding where spelling or plain values decide, or where a text is too long, too deep or too large
    for algebra; else None."""
    if reference == answer:
        return "correct", "the same text"
    if numbers := _as_numbers(reference, answer):
        return numbers
    sides: tuple[tuple[str, Outcome], ...] = (reference, "unparsed_reference"), (answer, "unparsed_answer")
    trees = list[Node]()
    for text, outcome in sides:
        if len(text) > most_characters:
            return outcome, f"longer than {most_characters} characters"
    for text, outcome in sides:
        try:
            trees.append(parse.read(text))
        except parse.TooDeepError as error:
            return outcome, str(error)
    same = parse.compare(trees[0], trees[1], values.compare)
    if same is not None:
        return _found(same, reference, answer, "as written")
    causes = ((outcome, limits.too_large(text, most_characters)) for text, outcome in sides)
    return next(((outcome, cause) for outcome, cause in causes if cause), None)


def _symbolic(reference: str, answer: str, section: Verification, strict: bool) -> "Future[Verdict]":
    """A future of the verdict of a worker process, shared by all that ask for the same pair."""
    key = (reference, answer, section.timeout_seconds, section.memory_mb, strict)
    with _remembering:
        known = _memo.get(key)
        if known is not None:
            _memo.move_to_end(key)
            return known
        promise: Future[Verdict] = Future()
        _memo[key] = promise
        if len(_memo) > MEMO_PAIRS:
            _memo.popitem(last=False)

    def settle(finished: "Future[dict[str, Any]]") -> None:
        failure = finished.exception()
        if failure or finished.result()["outcome"] == "error":
            with _remembering:
                _memo.pop(key, None)
        if failure:
            promise.set_exception(failure)
            return
        result = finished.result()
        detail = result["detail"]
        if not detail and result["outcome"] in ("correct", "wrong"):
            detail = _found(result["outcome"] == "correct", reference, answer, "by algebra")[1]
        promise.set_result(Verdict(result["outcome"], answer, detail, result["seconds"], VERSION))

    task = dict(zip(("reference", "answer", "timeout_seconds", "memory_mb", "strict"), key, strict=True))
    pool(section.workers).submit(task).add_done_callback(settle)
    return promise


def _forget() -> None:
    """Empties the memory in a forked child: what was being judged there is judged by its parent."""
    global _remembering
    _remembering = threading.Lock()
    _memo.clear()


os.register_at_fork(after_in_child=_forget)
