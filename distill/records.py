"""The records that walk through the rooms.

    Problem -> Trace -> Candidate -> Example            (rows of Parquet shards)
    Checkpoint, Report                                  (small JSON files beside what they describe)

A record holds its predecessor (a Candidate has a Trace has a Problem), so a row carries all that later rooms
need. Every field name is unique across the nesting: in Arrow (`arrow.py`) it is flat, and the column has the
field's name. Nothing here reads or writes files, and nothing validates values: `recipe.py` guards the door.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["math", "code", "choice", "sql", "logic", "open"]
Outcome = Literal[
    "correct", "wrong", "no_answer", "unparsed_answer", "unparsed_reference", "timeout", "error", "unverified"
]
FinishReason = Literal["stop", "length", "error", "unknown"]
Role = Literal["base", "base-chat", "previous", "student", "teacher", "reference"]
"""`base` is asked with the student's template, `base-chat` with its own; `reference`: published figures."""
Decided = Literal["better", "not_better", "undecided"]
FEWEST_PROBLEMS = 6
"""With 5 problems even "better on each" has a chance of 6 % under equality (two-sided sign test)."""
ADDED = frozenset({"lone_words"})
"""Columns that came when rows were stored already. They are no part of a schema's digest, and rows without
them have the default."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with what is needed to judge an answer to it."""

    problem_id: str
    """Content hash of kind, question, reference and tests: 16 hex digits."""
    source: str
    """Name of the problem source in the dataset recipe."""
    kind: Kind
    """Which verifier judges the answer."""
    question: str
    reference: str | None
    tests: str | None = None
    """JSON; data/README.md has the format of each kind."""
    language: str = "en"
    """ISO 639-1 code of the question's language."""
    licence: str = "unknown"
    response: str | None = None
    """A ready completion of another dataset: no teacher is asked."""
    unusable: str | None = None
    """Why no teacher is asked this problem (`"reference_fails"`, `"empty"`, ...), or None."""
    detail_unusable: str | None = None
    """What exactly is wrong with it (line number and cause for a bad row), for a person to read."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One completion of a teacher, split into thinking and answer."""

    problem: Problem
    id: str
    """Content hash of problem, teacher, sampling settings and sample index: 16 hex digits."""
    sample_index: int
    thinking: str | None
    """Text inside the think block, without the tags; None when there was no block."""
    answer: str
    """Text after the think block; empty when the block was never closed."""
    think_closed: bool
    """False when a think block was opened and not closed; such a trace is never accepted."""
    finish_reason: FinishReason
    """`"length"` means the completion was cut at `max_tokens`."""
    prompt_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    """Those of the prompt tokens that the server took from its prefix cache."""
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    spent_tokens: int | None = None
    """Completion tokens that the draw has cost, tries that were cut at a smaller budget or could not be used
    among them."""
    teacher: str = "unknown"
    """The model name that the engine reported."""
    seed: int | None = None
    cost_usd: float | None = None
    """What the draw has cost, all of its tries."""
    failure: str | None = None
    """What kept the engine from giving a completion (`"null_content"`, `"empty"`, ...), or None."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier said about one answer, and why."""

    outcome: Outcome
    extracted: str | None = None
    """The answer that the verifier found in the completion."""
    detail: str = ""
    verify_seconds: float = 0.0
    verifier: str = "none"
    """Name and version, such as `"math/1"`."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """What others than the problem's verifier said about an answer. They stand beside the verdict and never
    change a rule verifier's."""

    judge_outcome: str | None = None
    """`"correct"`, `"wrong"`, or `"error"` when the judge gave no usable verdict; None when it was not
    asked."""
    judge_detail: str | None = None
    """The judge's analysis, or what kept it from giving one."""
    majority_outcome: str | None = None
    """`"correct"` for the answer that most of the problem's traces gave, `"wrong"` for others; None without a
    majority or an answer."""
    majority_answer: str | None = None
    majority_share: float | None = None
    """Share of the problem's traces that gave the most common answer."""


@dataclass(frozen=True, slots=True)
class Span:
    """A passage of a completion in another language than its problem's."""

    part: Literal["thinking", "answer"]
    """`start` and `end` count its characters."""
    start: int
    end: int
    language: str
    """The ISO 639-1 code that it looks like."""
    words: float
    text: str
    """The passage, cut after 200 characters."""


@dataclass(slots=True)  # not frozen, and so made in a fifth of the time: a cut reads one for each row
class Measures:
    """What was measured of one trace, so that a re-cut needs no text; None where there was nothing to measure
    or nobody measured.

    Repetition, lines, compression and loop are of the thinking, or of the whole answer where there was no
    block.
    """

    thinking_characters: int | None = None
    """Length of the thinking without white space around it; None when there was no block."""
    answer_characters: int | None = None
    structure: str | None = None
    """What is wrong with the form beyond its lengths (a stray tag, two answers, ...), for a person to read;
    None when it is sound."""
    mismatch: str | None = None
    """How the last conclusion of the thinking differs from the answer."""
    refusal: str | None = None
    """The words that decline to answer."""
    answer_leak: str | None = None
    """The passage that names a hidden reference, or states it before any work."""
    language_share: float | None = None
    """Share of the thinking's words that are in the problem's language (DeepSeek-R1, language-consistency
    reward)."""
    answer_language_share: float | None = None
    language_spans: list[Span] | None = None
    """Passages in another language, thinking first."""
    lone_words: int | None = None
    """Words of another script beside those passages, in thinking and answer together."""
    repetition: float | None = None
    """Share of the thinking that repeats an earlier stretch of it, 0 to 1."""
    line_repetition: float | None = None
    """Share of the thinking's lines, by characters, that stood in it before."""
    compression: float | None = None
    """Share of its bytes that the thinking is compressed to."""
    loop: str | None = None
    """How many rounds of which stretch the thinking goes through, back to back."""
    paragraph_words: int | None = None
    """Words of the longest paragraph of the thinking."""
    code_blocks: int | None = None
    """Fenced code blocks in the thinking."""
    pass_rate: float | None = None
    """Share of the problem's verified traces that are correct."""
    question_hash: int | None = None
    """Equal for traces of one question."""
    text_hash: int | None = None
    """Equal for traces of one question with the same words."""
    facts_hash: int | None = None
    """Equal for traces of questions with the same numbers and answer that hold the same numbers; None: no
    copy of another question's."""
    minhash: bytes | None = None
    """MinHash signature of the word shingles, 128 bytes: the share of equal bytes estimates the Jaccard
    similarity."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A judged and measured trace; `dropped` says why it is not in the dataset."""

    trace: Trace
    verdict: Verdict
    opinions: Opinions = Opinions()
    measures: Measures = field(default_factory=Measures)
    extra: str | None = None
    """JSON object of the columns that a row of somebody's file had besides ours."""
    duplicate_of: str | None = None
    """Id of the trace that stays in its place."""
    dropped: str | None = None
    """None for a kept row, else a reason such as `"wrong"` or `"mixed_language"`."""
    detail_dropped: str | None = None
    """What exactly the screen found, for a person to read."""


@dataclass(slots=True)  # not frozen, for the same reason
class Outline:
    """A candidate without its texts: the columns that decide whether it becomes an example. It is read, never
    written."""

    id: str
    problem_id: str
    source: str
    kind: Kind
    language: str
    sample_index: int
    finish_reason: FinishReason
    think_closed: bool
    outcome: Outcome
    extracted: str | None = None
    detail: str = ""
    majority_outcome: str | None = None
    failure: str | None = None
    prompt_tokens: int | None = None
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    cost_usd: float | None = None
    measures: Measures = field(default_factory=Measures)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training row for any student: no student's chat template is in it."""

    id: str
    problem_id: str
    source: str
    kind: Kind
    language: str
    prompt: list[Message]
    completion: list[Message]
    """One assistant message: `<think>\\n...\\n</think>\\n\\nanswer`."""
    messages: list[Message]
    """Prompt and completion together, for trainers that want one column."""
    prompt_tokens: int | None
    completion_tokens: int | None
    pass_rate: float | None
    teacher: str
    licence: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `train` leaves beside a student's weights."""

    student: str
    base: str
    dataset: str
    fingerprint: str
    rows_trained: int
    rows_too_long: int
    trained_tokens: int
    steps: int
    epochs: float
    final_loss: float
    """Mean over the last tenth of the steps."""
    seconds: float
    peak_memory_gib: float
    tokens_per_step: float
    """Trained plus prompt tokens per optimizer step: a learning rate means nothing without it."""
    peak_memory_taken_gib: float | None = None
    """What the allocator took from the GPU for `peak_memory_gib` of tensors; None on a CPU."""
    rows_unrenderable: int = 0
    """Rows left out because the chat template or the tokenizer loses a part of them, or fails."""
    unrenderable: list[str] = field(default_factory=list)
    """`id: cause` of the first few of them."""
    rows_validation: int = 0
    """Rows held out for `training.validation_rows`."""
    validation_loss: float | None = None
    """Mean loss of a completion token in them, at the end."""
    generations: int = 0
    """Prompts of the dataset that the saved student was asked greedily."""
    generations_stopped: int = 0
    """Those whose answer ended with the EOS by itself, within the bound."""


@dataclass(frozen=True, slots=True)
class Score:
    """pass@1 of one model on one set of problems."""

    model: str
    role: Role
    problems: int
    samples_per_problem: int
    pass_at_1: float
    standard_error: float
    """Over problems (the problems are a draw from their population)."""
    low: float
    high: float
    """95 % interval of `pass_at_1`, clipped to 0..1."""
    truncated: float
    """Share of completions cut at `max_tokens`."""
    no_answer: float
    language_share: float | None
    mean_completion_tokens: float
    source: str = "all"
    """Problem source that the score is of; `"all"` for every problem of the evaluation."""
    sampling_error: float | None = None
    """Standard error when the problems are fixed and only the samples are drawn again; None for one sample a
    problem."""
    timeouts: int = 0
    """Completions whose verification ran out of time; they count as not correct."""
    left_out: int = 0
    """Completions without a verdict (verifier error, unreadable reference, no reply); `pass_at_1` is over the
    others."""
    pass_at_1_strict: float | None = None
    """`pass_at_1` if every completion that was left out were wrong."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired difference of two models on the same problems."""

    better: Role
    than: Role
    difference: float
    standard_error: float
    low: float
    high: float
    problems: int
    source: str = "all"
    """Problem source that was compared on; `"all"` for every problem of the evaluation."""


@dataclass(frozen=True, slots=True)
class Report:
    """The last record of the walk: scores, paired differences and the decision."""

    student: str
    dataset: str
    checkpoint: str
    fingerprint: str
    scores: list[Score]
    comparisons: list[Comparison]
    decision: Decided
    """Against the base student, over all problems."""
    settings: dict[str, Any]

    @property
    def lost_on(self) -> list[str]:
        """The problem sources on which the student is worse than its base: the whole interval is below 0."""
        return [
            one.source
            for one in self.comparisons
            if (one.better, one.than) == ("student", "base")
            and one.source != "all"
            and one.problems >= FEWEST_PROBLEMS
            and one.high < 0
        ]
