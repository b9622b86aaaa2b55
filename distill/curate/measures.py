"""Measuring: the columns of a trace that need its texts, so that whatever is decided later needs none.

What comes out for a trace depends on that trace alone, and not on those it came with; only its problem's pass
rate is left to who sees its siblings.
"""

from collections.abc import Sequence

from distill import duplicates as dedup
from distill.curate import refusals, repetition
from distill.recipe import Duplicates
from distill.records import Measures, Trace
from distill.text import form, language

VERSION = 1
VERSIONS = {
    "measures": VERSION,
    "structure": form.VERSION,
    "giveaways": refusals.VERSION,
    "repetition": repetition.VERSION,
    "language": language.VERSION,
    "dedup": dedup.VERSION,
}


def measure(traces: Sequence[Trace], duplicates: Duplicates) -> list[Measures]:
    """The measures of each trace in order, all but `pass_rate`."""
    repeats = repetition.measure([reasoning(trace) for trace in traces])
    prints = dedup.prints(traces, duplicates)
    return [_measured(*row) for row in zip(traces, repeats, prints, strict=True)]


def reasoning(trace: Trace) -> str:
    """The thinking, or all of a completion that has no think block."""
    return trace.answer if trace.thinking is None else trace.thinking


def _measured(trace: Trace, repeats: repetition.Repeats, prints: dedup.Print) -> Measures:
    problem, thinking = trace.problem, trace.thinking or ""
    in_thinking = language.measure(thinking, problem.language, problem.question)
    in_answer = language.measure(trace.answer, problem.language, problem.question)
    return Measures(
        thinking_characters=None if trace.thinking is None else len(thinking.strip()),
        answer_characters=len(trace.answer.strip()),
        structure=form.fault(trace),
        mismatch=form.mismatch(trace),
        refusal=refusals.refusal(trace),
        answer_leak=refusals.answer_leak(trace),
        language_share=in_thinking.share,
        answer_language_share=in_answer.share,
        language_spans=[
            *language.spans("thinking", thinking, in_thinking),
            *language.spans("answer", trace.answer, in_answer),
        ],
        lone_words=in_thinking.lone + in_answer.lone,
        repetition=repeats.repetition,
        line_repetition=repeats.line_repetition,
        compression=repeats.compression,
        loop=repeats.loop,
        paragraph_words=None if trace.thinking is None else repetition.paragraph_words(thinking),
        code_blocks=None if trace.thinking is None else repetition.code_blocks(thinking),
        question_hash=prints.question_hash,
        text_hash=prints.text_hash,
        facts_hash=prints.facts_hash,
        minhash=prints.minhash,
    )
