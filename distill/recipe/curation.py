"""The part of a dataset recipe that says what is kept: screens, duplicates, contamination, selection,
preference pairs.

Every value is a threshold against a stored column or a choice among rows, so changing one re-cuts a dataset
from what was measured; only what is said to be measured with a setting is measured again.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from distill.recipe.section import Section, later
from distill.records import Kind


class Screens(Section):
    """Thresholds of what is dropped, each against a stored column. None turns a screen off."""

    max_repetition: float | None = Field(0.5, ge=0, le=1)
    """Largest share of the thinking's 8-word stretches that stood in it before. Of 21,851 correct small-model
    traces none had more than 0.30; the thresholds of Gopher (Rae et al. 2021), made for web pages, would drop
    most of them."""
    max_line_repetition: float | None = Field(None, ge=0, le=1)
    """Largest share of the thinking's lines, by characters, that stood in it before. Off: correct traces have
    up to 0.34 (formulas on lines of their own), and what has more repeats its stretches and is caught in a
    loop, too."""
    min_compression: float | None = Field(None, ge=0, le=1)
    """Smallest share of its bytes that the thinking may be compressed to. Off: it falls with length (sound
    traces of 200 words reach 0.22, longer ones less), and what is below 0.1 is caught in a loop."""
    drop_loops: bool = True
    """Drop thinking that is caught in a loop: one stretch back to back in 4 rounds and 48 words, or in 32
    rounds that differ in a number and fill most of it. DeepSeek names endless repetition first among the
    faults of R1-Zero."""
    drop_mismatches: bool = True
    """Drop traces whose thinking ends with another answer than the one they give: who learns from them learns
    not to mean it."""
    drop_refusals: bool = True
    """Drop completions that decline to answer."""
    drop_answer_leaks: bool = True
    """Drop thinking that speaks of a reference which the question does not give, or begins with the reference
    as a known thing."""
    min_language_share: float | None = Field(0.9, ge=0, le=1)
    """Smallest share of words in the problem's language, for thinking and answer each (R1's language
    consistency)."""
    max_lone_words: int | None = later(None, ge=0)
    """Largest number of words of another script that stand by themselves, in thinking and answer together,
    however near to one another. None: two are let pass, more of them count in `min_language_share`."""
    min_completion_tokens: int | None = Field(None, ge=1)
    """Shorter traces are `too_short`: answers that were recalled and not worked out."""
    max_completion_tokens: int | None = Field(None, ge=1)
    """Longer traces are dropped whole, never cut (s1: training on cut traces costs 20 points on AIME24)."""
    min_thinking_characters: int = Field(1, ge=0)
    """Shorter thinking is `malformed`."""
    thinking_optional: tuple[Kind, ...] = ()
    """Kinds of problems that may be answered without thinking (DeepSeek-R1: none for simple queries of the
    non-reasoning part)."""
    drop_long_paragraphs: bool = False
    """R1 dropped traces with long paragraphs; off, because OpenThoughts measured 41.9 -> 38.0 (code 5.7) with
    it."""
    drop_code_in_thinking: bool = False
    """R1 dropped code blocks in thinking; off, because it removes legitimate work on code problems."""


class Duplicates(Section):
    """What counts as the same text."""

    exact: bool = True
    """Drop traces of one problem whose normalised text is equal."""
    near: bool = True
    """Drop near-duplicates among the traces of one problem that come to one answer, and across problems."""
    threshold: float = Field(0.7, gt=0, le=1)
    """Jaccard similarity of word shingles, checked exactly after MinHash-LSH found the pair. 2 % of all words
    edited leave 0.82. Pairs are stored from 0.65: any value above cuts again from them, a lower one looks for
    pairs again."""
    shingle_words: int = Field(5, ge=1)
    """Words in a shingle; numbers are kept as they are. Measured with it: another value measures again."""
    problems: bool = True
    """Ask the teacher only one of several nearly equal problems."""


class Decontamination(Section):
    """How close a question may come to a benchmark's, and how much of one a trace may quote."""

    gram_words: int = Field(8, ge=1)
    """Words in an n-gram: 8 for s1 and Open-R1; Qwen and OpenThoughts3 take 13, which miss a question whose
    numbers were changed."""
    min_shared: float = Field(0.5, gt=0, le=1)
    """Share of the shorter question's n-grams that makes it the same question. With one shared n-gram, as s1,
    phrases match."""
    min_similarity: float | None = Field(0.75, gt=0, le=1)
    """Words in equal order that make two questions with the same numbers the same (OpenThoughts3: 75 % of
    characters); None: off."""
    drop_other_digits: bool = False
    """Drop questions that differ from a benchmark's by digits only, as Light-R1; else they are told. Template
    problems all match."""
    problems: bool = True
    """Ask the teacher no contaminated question."""
    trace_gram_words: int | None = Field(13, ge=4)
    """Words in an n-gram when traces are searched for benchmark questions (OpenThoughts3: 13); None: only
    questions are compared."""
    min_quoted: float = Field(0.3, gt=0, le=1)
    """Share of a benchmark question's words that a trace quotes, in such n-grams: 65 % of quotes with 10 % of
    the words changed have it."""


class Selection(Section):
    """Which clean traces become examples."""

    policy: Literal["correct", "shortest", "diverse", "majority", "none"] = "correct"
    """`correct`: the first k correct ones of each problem; `shortest`: the k shortest (Kimi k1.5,
    Sky-T1-Flash), one unless `per_problem` says; `diverse`: the k least alike (RFT, arXiv 2308.01825:
    distinct paths teach more); `majority`: those with the problem's majority answer, where there is one,
    whatever the reference says (OpenReasoning-Nemotron); `none`: wrong ones too (OpenThoughts3: as good at
    7B)."""
    keep_unverified: tuple[Kind, ...] = ()
    """Kinds of problems whose traces count as correct when nothing judged them (DeepSeek-R1 kept its
    non-reasoning part so)."""
    per_problem: int | None = Field(None, ge=1)
    """At most so many for each problem; None: all."""
    min_pass_rate: float = Field(0.0, ge=0, le=1)
    """Leave out problems that the teacher solves less often than this."""
    max_pass_rate: float = Field(1.0, ge=0, le=1)
    """Leave out problems that the teacher solves more often than this."""
    easy_tokens: int | None = Field(None, ge=1)
    """Longest completion for a problem that is always solved; in between by pass rate (DAST, arXiv
    2503.04472)."""
    hard_tokens: int | None = Field(None, ge=1)
    """Longest completion for a problem that is hardly ever solved. Traces of problems without a pass rate
    have no budget."""
    max_examples: int | None = Field(None, ge=1)
    """At most so many in all: a seeded choice that is stable when traces are added."""
    seed: int = 0
    """Decides every choice among problems; none among the traces of one."""

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        """A budget and a window have two ends, in order."""
        easy, hard = self.easy_tokens, self.hard_tokens
        if (easy is None) != (hard is None):
            raise ValueError("easy_tokens and hard_tokens make one budget: set both or neither")
        if easy is not None and hard is not None and easy > hard:
            raise ValueError(
                f"easy_tokens {easy} is more than hard_tokens {hard}: the budget rises with difficulty"
            )
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError("min_pass_rate is more than max_pass_rate: nothing would be left")
        return self


class Preferences(Section):
    """Pairs of a chosen and a rejected completion of one problem, for preference training (DPO)."""

    rejected: Literal["wrong", "long"] = "wrong"
    """`wrong`: a completion with a wrong answer that passes all screens, as long as the chosen one if there
    is such a one (DPO learns lengths: Park et al. 2024, arXiv 2403.19159); `long`: the longest accepted one
    against the shortest (Sky-T1-Flash: brevity)."""
    per_problem: int = Field(1, ge=1)
    """At most so many pairs for each problem; no trace is in two."""
