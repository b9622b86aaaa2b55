"""Screens: why one trace is not in the dataset, from its stored columns and thresholds alone; no text is
looked at.

`reason` applies them in a fixed order, so a row with two faults always has the same reason:

    failed, truncated, malformed, then the verdict's outcome unless the selection accepts it, refusal,
    answer_leak, think_answer_mismatch, repetition, mixed_language, too_short, too_long, long_paragraph,
    code_in_thinking

What needs more than one row comes after: contaminated, exact_duplicate, near_duplicate, not_selected. What a
column holds and how it was measured, `structure.py`, `repetition.py` and `language.py` say; a column that was
not measured drops nothing. No screen looks at the content of an argument: a trace that is fluent, tidy and
beside the point passes all of them.
"""

from distill.recipe import Screens, Selection
from distill.records import Measures, Outline, Trace

VERSION = 4

FAILED = "failed"
TRUNCATED = "truncated"
MALFORMED = "malformed"
REFUSAL = "refusal"
ANSWER_LEAK = "answer_leak"
MISMATCH = "think_answer_mismatch"
REPETITION = "repetition"
MIXED_LANGUAGE = "mixed_language"
TOO_SHORT = "too_short"
TOO_LONG = "too_long"
LONG_PARAGRAPH = "long_paragraph"
CODE_IN_THINKING = "code_in_thinking"
EXACT_DUPLICATE = "exact_duplicate"
NEAR_DUPLICATE = "near_duplicate"
CONTAMINATED = "contaminated"
NOT_SELECTED = "not_selected"

PARAGRAPH_WORDS = 400
"""DeepSeek-R1 dropped long paragraphs and published no length; its own traces have paragraphs of some 60
words."""
CHARACTERS_PER_TOKEN = 3.5
"""Estimate where an engine reported no token counts."""
SHOWN_CHARACTERS = 120


def reason(outline: Outline, section: Screens, selection: Selection) -> tuple[str, str] | None:
    """Why a measured row is dropped and what was found, or None."""
    if found := failed(outline):
        return FAILED, found
    if found := truncated(outline):
        return TRUNCATED, found
    if found := malformed(outline, section):
        return MALFORMED, found
    if not accepted(outline, selection):
        return _verdict(outline)
    measures = outline.measures
    if section.drop_refusals and measures.refusal:
        return REFUSAL, _short(measures.refusal)
    if section.drop_answer_leaks and measures.answer_leak:
        return ANSWER_LEAK, _short(measures.answer_leak)
    if section.drop_mismatches and measures.mismatch:
        return MISMATCH, measures.mismatch
    if found := repeats(measures, section):
        return REPETITION, found
    if found := mixed(outline, section.min_language_share, section.max_lone_words):
        return MIXED_LANGUAGE, found
    return _shape(outline, section)


def accepted(outline: Outline, selection: Selection) -> bool:
    """Whether the verdict lets a row in: an error never, under `none` any other, under `majority` what most
    traces say, if most agree."""
    if outline.outcome == "error" or selection.policy == "none":
        return outline.outcome != "error"
    if selection.policy == "majority" and outline.majority_outcome is not None:
        return outline.majority_outcome == "correct"
    return outline.outcome == "correct" or (
        outline.outcome == "unverified" and outline.kind in selection.keep_unverified
    )


def failed(row: Outline | Trace) -> str | None:
    """What kept the engine from giving a completion."""
    if row.failure is not None:
        return row.failure
    return "finish reason error" if row.finish_reason == "error" else None


def truncated(row: Outline | Trace) -> str | None:
    """A completion that was cut, or whose think block was never closed."""
    if row.finish_reason == "length":
        return "cut at max_tokens"
    return None if row.think_closed else "the think block was not closed"


def malformed(outline: Outline, section: Screens) -> str | None:
    """Anything but one block of thinking and one answer after it; with a minimum of 0, or for some kinds,
    there need be no block."""
    measures = outline.measures
    if measures.answer_characters is None:
        return None
    if found := unthinking(measures.thinking_characters, outline.kind, section):
        return found
    return measures.structure if measures.answer_characters else "no answer after the thinking"


def unthinking(characters: int | None, kind: str, section: Screens) -> str | None:
    """Too few characters of thinking, or (None) no think block, where the kind needs one."""
    if (characters or 0) >= section.min_thinking_characters or kind in section.thinking_optional:
        return None
    return "no think block" if characters is None else f"{characters} characters of thinking"


def repeats(measures: Measures, section: Screens) -> str | None:
    """Thinking that says most of its stretches or lines twice, compresses too well, or is caught in a
    loop."""
    if _above(measures.repetition, section.max_repetition):
        return f"{measures.repetition:.0%} of the thinking stood in it before"
    if section.drop_loops and measures.loop:
        return f"in a loop: {_short(measures.loop)}"
    if _above(measures.line_repetition, section.max_line_repetition):
        return f"{measures.line_repetition:.0%} of the thinking's lines stood in it before"
    if _above(section.min_compression, measures.compression):
        return f"the thinking can be compressed to {measures.compression:.0%}"
    return None


def mixed(outline: Outline, limit: float | None, most_lone: int | None) -> str | None:
    """Thinking or answer with too few words in the problem's language, or with a whole passage in another, or
    too many lone words of another script in both."""
    home, measures = outline.language, outline.measures
    if _above(measures.lone_words, most_lone):
        return f"{measures.lone_words} lone words are not in {home!r}, {most_lone} at most"
    if limit is None:
        return None
    for name, share in (("thinking", measures.language_share), ("answer", measures.answer_language_share)):
        if share is not None and share < limit:
            return f"{share:.0%} of the {name}'s words are in {home!r}"
    for span in measures.language_spans or ():
        return f"a passage of the {span.part} is in {span.language!r}, not in {home!r}: {_short(span.text)}"
    return None


def completion_tokens(row: Outline | Trace) -> int:
    """Tokens of thinking and answer as reported, or estimated from the characters where nothing was
    reported."""
    if row.thinking_tokens is None and row.answer_tokens is None:
        return round(_characters(row) / CHARACTERS_PER_TOKEN)
    return (row.thinking_tokens or 0) + (row.answer_tokens or 0)


def _verdict(outline: Outline) -> tuple[str, str]:
    """The outcome of a row that is not accepted; what its reference calls correct and most traces contradict
    is wrong."""
    if outline.outcome == "correct":
        return "wrong", f"most traces answer otherwise than {_short(outline.extracted or '')!r}"
    return outline.outcome, outline.detail or (
        "as its row says" if outline.extracted is None else f"answer {outline.extracted!r}"
    )


def _shape(outline: Outline, section: Screens) -> tuple[str, str] | None:
    """Too few or too many tokens, a long paragraph, code."""
    tokens, measures = completion_tokens(outline), outline.measures
    estimated = (
        " (estimated from its characters)"
        if outline.thinking_tokens is None and outline.answer_tokens is None
        else ""
    )
    if section.min_completion_tokens is not None and tokens < section.min_completion_tokens:
        return TOO_SHORT, f"{tokens} tokens{estimated}, {section.min_completion_tokens} at least"
    if section.max_completion_tokens is not None and tokens > section.max_completion_tokens:
        return TOO_LONG, f"{tokens} tokens{estimated}, {section.max_completion_tokens} at most"
    if section.drop_long_paragraphs and (measures.paragraph_words or 0) > PARAGRAPH_WORDS:
        return LONG_PARAGRAPH, f"a paragraph of {measures.paragraph_words} words"
    if section.drop_code_in_thinking and measures.code_blocks:
        return CODE_IN_THINKING, f"{measures.code_blocks} code blocks in the thinking"
    return None


def _characters(row: Outline | Trace) -> int:
    if isinstance(row, Trace):
        return len((row.thinking or "").strip()) + len(row.answer.strip())  # as they are measured
    return (row.measures.thinking_characters or 0) + (row.measures.answer_characters or 0)


def _above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
