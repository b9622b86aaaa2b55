"""Screens: what can be wrong with one trace, seen from its own row. Each screen says what it found, or None.

`reason` applies them in a fixed order, so a row with two faults always has the same reason:

    failed, truncated, malformed, then the verdict's outcome unless the policy is "none",
    repetition, mixed_language, too_long, long_paragraph, code_in_thinking

`selection.py` goes on with what needs more than one row: contaminated, exact_duplicate, near_duplicate, not_selected.
No screen looks at the content of an argument: a trace that is fluent, tidy and beside the point passes all of them.
"""

import re

from distill import language
from distill.recipe import Screens
from distill.records import Candidate, Span, Trace
from distill.words import words

VERSION = 3

FAILED = "failed"
TRUNCATED = "truncated"
MALFORMED = "malformed"
REPETITION = "repetition"
MIXED_LANGUAGE = "mixed_language"
TOO_LONG = "too_long"
LONG_PARAGRAPH = "long_paragraph"
CODE_IN_THINKING = "code_in_thinking"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"
CONTAMINATED = "contaminated"
NOT_SELECTED = "not_selected"

GRAM_WORDS = 8
"""A stretch that repeats is at least so long: shorter ones are phrases that all reasoning repeats ("let me check that again")."""
LOOP_ROUNDS = 4
LOOP_WORDS = 48
"""A loop is one stretch, back to back, in so many rounds and words: recomputing a step once or twice is none."""
LOOP_SUSPECT = 0.05
"""Below this repetition no loop is looked for: a loop of `LOOP_WORDS` in a very long trace is a stumble that was got over."""
PARAGRAPH_WORDS = 400
"""DeepSeek-R1 dropped long paragraphs and published no length; its own traces have paragraphs of some 60 words."""
CHARACTERS_PER_TOKEN = 3.5
"""Estimate where an engine reported no token counts."""

_STRAY = re.compile(r"</?think>|<\|[a-z0-9_]{2,40}\|>|<\uff5c[^\uff5c\n]{1,40}\uff5c>", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]{2}")
_UNBROKEN = 200


def reason(candidate: Candidate, section: Screens, any_outcome: bool = False) -> tuple[str, str] | None:
    """Why a measured candidate is dropped and what was found, or None; `any_outcome` keeps wrong and unverified ones, never an error."""
    trace, verdict = candidate.trace, candidate.verdict
    if found := failed(trace):
        return FAILED, found
    if found := truncated(trace):
        return TRUNCATED, found
    if found := malformed(trace, section.min_thinking_characters):
        return MALFORMED, found
    if verdict.outcome == "error" or (verdict.outcome != "correct" and not any_outcome):
        return verdict.outcome, verdict.detail or f"answer {verdict.extracted!r}, reference {trace.problem.reference!r}"
    if found := repeats(candidate, section.max_repetition):
        return REPETITION, found
    if found := mixed(candidate, section.min_language_share):
        return MIXED_LANGUAGE, found
    if found := too_long(trace, section.max_completion_tokens):
        return TOO_LONG, found
    if section.drop_long_paragraphs and (found := long_paragraph(trace.thinking or "")):
        return LONG_PARAGRAPH, found
    if section.drop_code_in_thinking and (found := code(trace.thinking or "")):
        return CODE_IN_THINKING, found
    return None


def failed(trace: Trace) -> str | None:
    """What kept the engine from giving a completion."""
    if trace.failure is not None:
        return trace.failure
    return "finish reason error" if trace.finish_reason == "error" else None


def truncated(trace: Trace) -> str | None:
    """A completion that was cut, or whose think block was never closed."""
    if trace.finish_reason == "length":
        return "cut at max_tokens"
    return None if trace.think_closed else "the think block was not closed"


def malformed(trace: Trace, min_thinking_characters: int) -> str | None:
    """Anything but one block of thinking and an answer after it; with a minimum of 0 there need be no block."""
    thinking = trace.thinking or ""
    if len(thinking.strip()) < min_thinking_characters:
        return "no think block" if trace.thinking is None else f"{len(thinking.strip())} characters of thinking"
    if not trace.answer.strip():
        return "no answer after the thinking"
    for part, text in (("thinking", thinking), ("answer", trace.answer)):
        if stray := _STRAY.search(text) if "<" in text else None:
            return f"{stray.group()} inside the {part}"
    return None


def repetition(text: str) -> float:
    """The share of a text's 8-word stretches that stood in it before, 0 to 1; 0 for a text of fewer than 16 words."""
    pieces = _pieces(text)
    if len(pieces) < 2 * GRAM_WORDS:
        return 0.0
    grams = list(zip(*(pieces[start:] for start in range(GRAM_WORDS)), strict=False))
    return 1.0 - len(set(grams)) / len(grams)


def loop(text: str) -> str | None:
    """The stretch that a text repeats back to back in at least 4 rounds and 48 words, or None; a stretch holds a word of letters."""
    pieces = _pieces(text)
    last: dict[tuple[str, ...], int] = {}
    period = run = 0
    for position, gram in enumerate(zip(*(pieces[start:] for start in range(GRAM_WORDS)), strict=False)):
        distance = position - last.get(gram, position)
        run = run + 1 if distance and distance == period else int(distance > 0)
        period = distance
        last[gram] = position
        covered = run + GRAM_WORDS - 1 + period
        if run and covered >= max(LOOP_WORDS, LOOP_ROUNDS * period):
            stretch = " ".join(pieces[position : position + period])
            if _LETTERS.search(stretch):
                return stretch
    return None


def repeats(candidate: Candidate, limit: float | None) -> str | None:
    """Thinking that says most of its stretches twice, or is caught in a loop."""
    measured = candidate.repetition
    if limit is None or measured is None:
        return None
    if measured > limit:
        return f"{measured:.0%} of the thinking stood in it before"
    if measured >= LOOP_SUSPECT and (stretch := loop(candidate.trace.thinking or "")):
        return f"in a loop: {_short(stretch)}"
    return None


def mixed(candidate: Candidate, limit: float | None) -> str | None:
    """Thinking or answer with too few words in the problem's language, or with a whole passage in another."""
    if limit is None:
        return None
    home = candidate.trace.problem.language
    for name, measured in (("thinking", candidate.language_share), ("answer", candidate.answer_language_share)):
        if measured is not None and measured < limit:
            return f"{measured:.0%} of the {name}'s words are in {home!r}"
    for span in _spans(candidate):
        return f"a passage of the {span.part} is in {span.language!r}, not in {home!r}: {_short(span.text)}"
    return None


def _spans(candidate: Candidate) -> list[Span]:
    """The measured passages; candidates that were stored before there was a column for them are measured here."""
    if candidate.language_spans is not None:
        return candidate.language_spans
    trace, problem = candidate.trace, candidate.trace.problem
    parts = (("thinking", trace.thinking or ""), ("answer", trace.answer))
    found = [(part, text, language.measure(text, problem.language, problem.question)) for part, text in parts]
    return [span for part, text, measured in found for span in language.spans(part, text, measured)]


def too_long(trace: Trace, limit: int | None) -> str | None:
    """A completion of more tokens than the limit."""
    if limit is None or completion_tokens(trace) <= limit:
        return None
    estimated = " (estimated from its characters)" if trace.thinking_tokens is None and trace.answer_tokens is None else ""
    return f"{completion_tokens(trace)} tokens{estimated}, {limit} at most"


def completion_tokens(trace: Trace) -> int:
    """Tokens of thinking and answer as reported, or estimated from the characters where nothing was reported."""
    if trace.thinking_tokens is None and trace.answer_tokens is None:
        return round((len(trace.thinking or "") + len(trace.answer)) / CHARACTERS_PER_TOKEN)
    return (trace.thinking_tokens or 0) + (trace.answer_tokens or 0)


def long_paragraph(thinking: str) -> str | None:
    """A paragraph of the thinking with more than 400 words."""
    for paragraph in re.split(r"\n\s*\n", thinking):
        if len(paragraph) > PARAGRAPH_WORDS and (count := len(words(paragraph))) > PARAGRAPH_WORDS:
            return f"a paragraph of {count} words: {_short(paragraph)}"
    return None


def code(thinking: str) -> str | None:
    """A fenced code block in the thinking."""
    start = thinking.find("```")
    return None if start < 0 else _short(thinking[start:])


def _pieces(text: str) -> list[str]:
    """The words of a text, with unbroken runs ("0.33333...") cut into pieces, so that a loop without spaces is one too."""
    found = words(text)
    if max(map(len, found), default=0) <= _UNBROKEN:
        return found
    return [word[start : start + 12] for word in found for start in range(0, len(word), 12)]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "..."
