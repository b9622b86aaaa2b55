"""Contamination: is a question one of a benchmark's, or so close to one that an evaluation would be worth
nothing?

Four rules for questions, the first that holds is told, with the pair and a score:

    exact    equal text; letter case, white space and end punctuation apart
    ngram    so large a share of the shorter question's word n-grams in common
    similar  the same numbers and operators (one may be lost), nearly the same words in nearly the same order
    digits   equal text but for the digits: another problem, so it is dropped only if the recipe says so

and one for what a trace says although it was asked something else (`quotes.py`):

    quote    a large share of a benchmark question's words, in long stretches, in the thinking or the answer

One shared 8-gram alone, the rule of s1 and Open-R1, flags 53 of GSM8K's 7,473 training questions against half
of its test questions, for phrases such as "how much does she need to pay for"; none of them is a test
question. Paraphrases and translations are not found, a question of fewer than eight words is compared as a
whole and not looked for in traces, and of a benchmark its questions are known and not its solutions.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Literal, NamedTuple

from distill.contamination.quotes import TEXT_CHARACTERS, Batch, Quote, Quotes, stretches
from distill.recipe import Decontamination
from distill.records import Problem, Trace
from distill.text import grid, shingles
from distill.text import words as reading

VERSION = 3
DEFAULTS = Decontamination()
MIN_WORDS = 8
PHRASE_WORDS = 3
COMMON_PHRASE = 50
"""A phrase of more benchmark questions than this leads to none of them."""
SUSPECTS = 5
"""So many benchmark questions, those with the most phrases in common, are compared word by word."""
MIN_SIMILARITY_BUT_ONE = 0.85
"""Of a question that lacks one operator or word for a number of the benchmark's: to change a word of "twice
as many" costs a fact."""
REMEMBERED = 1 << 14
"""Questions whose result is kept at hand: siblings of a trace may be anywhere in a file."""

PARTS = ("thinking", "answer")
PAIRS_SHOWN = 20
RULES = ("exact", "ngram", "similar", "digits", "quote")
COLUMNS = ("benchmark", "rule", "score", "part", "text", "benchmark_question", "rows", "dropped")

Rule = Literal["exact", "ngram", "similar", "digits", "quote"]
Gram = tuple[str, ...]
Facts = tuple[str, ...]
Pair = tuple[str, str, str, str]

_OPERATOR = re.compile(r"[+*/^=<>\u00d7\u00f7\u2212]|(?<![a-z])-|-(?![a-z])", re.IGNORECASE)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Match:
    """A row that is close to a benchmark question, with that question."""

    row: int
    """Position in its shard."""
    problem_id: str
    id: str
    part: str
    """`"question"`, `"thinking"` or `"answer"`."""
    benchmark: str
    benchmark_question: str
    text: str
    """The question, or the passage that quotes the benchmark's; cut after 300 characters."""
    rule: str
    """One of `Rule`."""
    score: float
    """Shared n-grams (`ngram`), words in equal order (`similar`) or words quoted (`quote`), of 1; 1 for the
    others."""

    def __str__(self) -> str:
        return f"{self.benchmark} ({self.rule}, {self.score:.2f}): {self.benchmark_question}"


class Close(NamedTuple):
    """The benchmark question that a question is close to."""

    benchmark: str
    question: str
    rule: Rule
    score: float


@dataclass(frozen=True, slots=True)
class Known:
    """A benchmark question, cut up."""

    benchmark: str
    question: str
    words: list[str]
    grams: int


class Benchmarks:
    """The questions of benchmarks, indexed by what the rules compare; made once and used for many shards."""

    def __init__(self, questions: Iterable[tuple[str, str]], section: Decontamination = DEFAULTS) -> None:
        """Takes (benchmark, question) pairs; a question of two benchmarks is the first one's."""
        self.section = section
        self.known: list[Known] = []
        self.exact: dict[str, int] = {}
        self.digits: dict[str, int] = {}
        self.facts: dict[Facts, set[int]] = {}
        self.fewer: dict[Facts, set[int]] = {}
        self.grams: dict[Gram, list[int]] = {}
        self.phrases: dict[Gram, list[int]] = {}
        self.remembered: dict[str, Close | None] = {}
        named: dict[str, str] = {}
        for benchmark, question in questions:
            named.setdefault(question, benchmark)
        for question, benchmark in named.items():
            self._add(benchmark, question)
        self.quotes = [] if section.trace_gram_words is None else self._quotes(section.trace_gram_words)

    def match(self, question: str) -> Close | None:
        """The benchmark question that this one repeats or is close to, or None."""
        if question not in self.remembered:
            if len(self.remembered) >= REMEMBERED:
                self.remembered.clear()
            self.remembered[question] = self._match(question) if self.known else None
        return self.remembered[question]

    def _quotes(self, size: int) -> list[Quotes]:
        """The questions as traces would quote them: a question that is shorter than an n-gram has to be there
        as a whole."""
        short = {
            place: known.question
            for place, known in enumerate(self.known)
            if MIN_WORDS <= len(known.words) < size
        }
        long = {place: known.question for place, known in enumerate(self.known) if len(known.words) >= size}
        both = Quotes(short, MIN_WORDS, 1.0), Quotes(long, size, self.section.min_quoted)
        return [quotes for quotes in both if quotes.numbers]

    def _add(self, benchmark: str, question: str) -> None:
        number, found, bare = len(self.known), reading.plain_words(question), _bare(question)
        grams = set(stretches(found, self.section.gram_words))
        self.known.append(Known(benchmark, question, found, len(grams)))
        self.exact.setdefault(bare, number)
        self.digits.setdefault(_DIGITS.sub("0", bare), number)
        facts = _facts(question)
        self.facts.setdefault(facts, set()).add(number)
        for fewer in _fewer(facts):
            self.fewer.setdefault(fewer, set()).add(number)
        for gram in grams:
            self.grams.setdefault(gram, []).append(number)
        for phrase in set(stretches(found, PHRASE_WORDS)):
            self.phrases.setdefault(phrase, []).append(number)

    def _match(self, question: str) -> Close | None:
        bare, found = _bare(question), reading.plain_words(question)
        if (number := self.exact.get(bare)) is not None:
            return self._close(number, "exact", 1.0)
        score, number = self._shared(found)
        if score:
            return self._close(number, "ngram", score)
        score, number = self._similar(question, found)
        if score:
            return self._close(number, "similar", score)
        if (number := self.digits.get(_DIGITS.sub("0", bare))) is not None:
            return self._close(number, "digits", 1.0)
        return None

    def _close(self, number: int, rule: Rule, score: float) -> Close:
        return Close(self.known[number].benchmark, self.known[number].question, rule, round(score, 4))

    def _shared(self, found: list[str]) -> tuple[float, int]:
        """The largest share of n-grams in common and whose it is; 0 when it is too small."""
        grams = set(stretches(found, self.section.gram_words))
        shared = Counter(number for gram in grams & self.grams.keys() for number in self.grams[gram])
        scores = (
            (count / min(len(grams), self.known[number].grams), -number) for number, count in shared.items()
        )
        score, number = max(scores, default=(0.0, 0))
        return (score, -number) if score >= self.section.min_shared else (0.0, 0)

    def _similar(self, question: str, found: list[str]) -> tuple[float, int]:
        """The highest similarity among questions of the same facts and whose it is; 0 when it is too
        small."""
        if self.section.min_similarity is None or len(found) < MIN_WORDS:
            return 0.0, 0
        mine = _facts(question)
        same = self.facts.get(mine, set())
        nearly = same | self.fewer.get(mine, set())
        if not nearly:
            return 0.0, 0
        meetings = (self.phrases.get(phrase, ()) for phrase in set(stretches(found, PHRASE_WORDS)))
        shared = Counter(
            number
            for numbers in meetings
            if len(numbers) <= COMMON_PHRASE
            for number in numbers
            if number in nearly
        )
        best, least = (0.0, 0), max(self.section.min_similarity, MIN_SIMILARITY_BUT_ONE)
        for number, _ in sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:SUSPECTS]:
            score = SequenceMatcher(None, self.known[number].words, found, autojunk=False).ratio()
            if score >= (self.section.min_similarity if number in same else least):
                best = max(best, (score, number))
        return best


def matches(traces: Iterable[Trace], benchmarks: Benchmarks) -> Iterator[Match]:
    """What each trace has of a benchmark, in its question, thinking and answer, row after row; also what is
    not dropped."""
    batch: list[tuple[int, Trace]] = []
    characters = 0
    for row, trace in enumerate(traces):
        batch.append((row, trace))
        characters += len(trace.thinking or "") + len(trace.answer)
        if len(batch) * len(PARTS) >= shingles.BATCH_TEXTS or characters >= shingles.BATCH_CHARACTERS:
            yield from _of_batch(batch, benchmarks)
            batch, characters = [], 0
    yield from _of_batch(batch, benchmarks)


def drops(match: Match | Close, section: Decontamination) -> bool:
    """Whether the recipe drops what matches so."""
    match match.rule:
        case "digits":
            return section.drop_other_digits
        case "quote":
            return section.trace_gram_words is not None
        case _:
            return True


def of_problems(problems: Iterable[Problem], benchmarks: Benchmarks) -> Iterator[Match]:
    """Usable problems that are close to a benchmark question, before the teacher is asked: `id` is empty."""
    for row, problem in enumerate(problems):
        if problem.unusable is None and (close := benchmarks.match(problem.question)) is not None:
            yield _of_question(row, problem, "", close)


def report(matches: Iterable[Match], section: Decontamination) -> dict[str, Any]:
    """Problems and rows by benchmark and rule, then each matched pair of texts once, with the number of its
    rows."""
    rows: dict[Pair, set[int]] = {}
    closest: dict[Pair, Match] = {}
    for match in matches:
        key = match.benchmark, match.rule, match.problem_id, match.benchmark_question
        rows.setdefault(key, set()).add(match.row)
        closest[key] = max(closest.get(key, match), match, key=attrgetter("score"))
    counts: dict[str, dict[str, Counter[str]]] = {}
    pairs: list[dict[str, Any]] = []
    for key, match in sorted(
        closest.items(),
        key=lambda item: (item[1].benchmark, RULES.index(item[1].rule), -item[1].score, item[1].row),
    ):
        dropped = drops(match, section)
        found = Counter(problems=1, rows=len(rows[key]), dropped=len(rows[key]) if dropped else 0)
        counts.setdefault(match.benchmark, {}).setdefault(match.rule, Counter()).update(found)
        pairs.append(asdict(match) | {"rows": len(rows[key]), "dropped": dropped})
    return {"benchmarks": counts, "pairs": pairs}


def markdown(matches: Iterable[Match], section: Decontamination) -> str:
    """What was found by benchmark and rule, and some pairs of each to judge it by."""
    found = report(matches, section)
    if not found["pairs"]:
        return "No question is close to a benchmark question, and no trace quotes one.\n"
    counts = [
        [benchmark, rule, *(f"{count[name]:,}" for name in ("problems", "rows", "dropped"))]
        for benchmark, rules in found["benchmarks"].items()
        for rule, count in rules.items()
    ]
    groups = groupby(found["pairs"], key=itemgetter("benchmark", "rule"))
    turns = sorted(
        ((turn, place, pair) for place, (_, pairs) in enumerate(groups) for turn, pair in enumerate(pairs)),
        key=itemgetter(0, 1),
    )
    some = [[str(pair[name]) for name in COLUMNS] for _, _, pair in turns[:PAIRS_SHOWN]]
    more = (
        f"\n{len(turns) - PAIRS_SHOWN:,} more pairs are in `contamination.json`.\n"
        if len(turns) > PAIRS_SHOWN
        else ""
    )
    heads = ("benchmark", "rule", "problems", "rows", "dropped"), [name.replace("_", " ") for name in COLUMNS]
    return "\n".join([*grid([heads[0], *counts]), "", *grid([heads[1], *some]), more])


def _of_question(row: int, problem: Problem, trace_id: str, close: Close) -> Match:
    shown = problem.question[:TEXT_CHARACTERS]
    return Match(
        row,
        problem.problem_id,
        trace_id,
        "question",
        close.benchmark,
        close.question,
        shown,
        close.rule,
        close.score,
    )


def _of_batch(batch: Sequence[tuple[int, Trace]], benchmarks: Benchmarks) -> Iterator[Match]:
    quoted: dict[int, Quote] = {}
    if benchmarks.quotes:
        texts = Batch([text for _, trace in batch for text in (trace.thinking or "", trace.answer)])
        asked = [trace.problem.question for _, trace in batch for _ in PARTS]
        for quotes in benchmarks.quotes:
            quoted.update(quotes.find(texts, asked))
    for place, (row, trace) in enumerate(batch):
        problem, close = trace.problem, benchmarks.match(trace.problem.question)
        if close is not None:
            yield _of_question(row, problem, trace.id, close)
        for offset, part in enumerate(PARTS):
            quote = quoted.get(len(PARTS) * place + offset)
            if quote is not None and (
                (known := benchmarks.known[quote.number]).question != (close and close.question)
            ):
                yield Match(
                    row,
                    problem.problem_id,
                    trace.id,
                    part,
                    known.benchmark,
                    known.question,
                    quote.passage,
                    "quote",
                    quote.score,
                )


def _bare(question: str) -> str:
    """Operators stay: `26 + 33` and `26 - 33` are two questions."""
    return "".join(question.lower().split()).rstrip(".?!\u3002\uff1f\uff01")


def _facts(question: str) -> Facts:
    """The numbers and operators of a question: with others it is another question, however alike the
    words."""
    return tuple(sorted(reading.quantities(question) + _OPERATOR.findall(question)))


def _fewer(facts: Facts) -> set[Facts]:
    """The facts without one that is no number in digits, for each."""
    return {facts[:place] + facts[place + 1 :] for place, fact in enumerate(facts) if not fact[0].isdigit()}
