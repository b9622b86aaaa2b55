"""Contamination: is a question one of a benchmark's, or so close to one that an evaluation would be worth nothing?

Four rules, the first that holds is told, with the pair and a score:

    exact    equal text; letter case, white space and end punctuation apart
    ngram    so large a share of the shorter question's word n-grams in common
    similar  the same numbers and operators, and words that are nearly the same in nearly the same order
    digits   equal text but for the digits; another problem, so it is told and not dropped unless the recipe says so

One shared 8-gram alone, the rule of s1 and Open-R1, flags 53 of GSM8K's 7,473 training questions against half of its test
questions, for phrases such as "how much does she need to pay for"; none of them is a test question. Paraphrases and
translations are not found, and a question of fewer than eight words is compared as a whole only.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from distill.recipe import Decontamination
from distill.words import plain_words, quantities

VERSION = 2
DEFAULTS = Decontamination()
MIN_WORDS = 8
PHRASE_WORDS = 3
COMMON_PHRASE = 50
"""A phrase of more benchmark questions than this leads to none of them."""
SUSPECTS = 5
"""So many benchmark questions, those with the most phrases in common, are compared word by word."""

Rule = Literal["exact", "ngram", "similar", "digits"]
Gram = tuple[str, ...]

_OPERATOR = re.compile(r"[+*/^=<>\u00d7\u00f7\u2212]|(?<![a-z])-|-(?![a-z])", re.IGNORECASE)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Match:
    """A question with the benchmark question that it is, or is close to."""

    question: str
    benchmark_question: str
    rule: Rule
    score: float
    """Shared n-grams (`ngram`) or words in equal order (`similar`), of 1; 1 for the others."""
    drop: bool
    """Whether the recipe drops such a question."""

    def __str__(self) -> str:
        return f"benchmark question: {self.benchmark_question} ({self.rule}, {self.score:.2f})"


@dataclass(frozen=True, slots=True)
class Known:
    """A benchmark question, cut up."""

    question: str
    words: list[str]
    grams: int
    facts: Counter[str]


class Benchmarks:
    """The questions of benchmarks, indexed by what the rules compare."""

    def __init__(self, questions: Iterable[str], section: Decontamination = DEFAULTS) -> None:
        self.section = section
        self.known: list[Known] = []
        self.exact: dict[str, int] = {}
        self.digits: dict[str, int] = {}
        self.grams: dict[Gram, list[int]] = {}
        self.phrases: dict[Gram, list[int]] = {}
        self.last: tuple[str, Match | None] | None = None
        for question in dict.fromkeys(questions):
            self._add(question)

    def match(self, question: str) -> Match | None:
        """The benchmark question that this one repeats or is close to, or None."""
        if self.last is None or self.last[0] != question:
            self.last = (question, self._match(question) if self.known else None)
        return self.last[1]

    def _add(self, question: str) -> None:
        number, found = len(self.known), plain_words(question)
        grams = _stretches(found, self.section.gram_words)
        self.known.append(Known(question, found, len(grams), _facts(question)))
        self.exact.setdefault(_bare(question), number)
        self.digits.setdefault(_DIGITS.sub("0", _bare(question)), number)
        for gram in grams:
            self.grams.setdefault(gram, []).append(number)
        for phrase in _stretches(found, PHRASE_WORDS):
            self.phrases.setdefault(phrase, []).append(number)

    def _match(self, question: str) -> Match | None:
        bare, found = _bare(question), plain_words(question)
        if (number := self.exact.get(bare)) is not None:
            return Match(question, self.known[number].question, "exact", 1.0, True)
        score, number = self._shared(found)
        if score:
            return Match(question, self.known[number].question, "ngram", score, True)
        score, number = self._similar(question, found)
        if score:
            return Match(question, self.known[number].question, "similar", score, True)
        if (number := self.digits.get(_DIGITS.sub("0", bare))) is not None:
            return Match(question, self.known[number].question, "digits", 1.0, self.section.drop_other_digits)
        return None

    def _shared(self, found: list[str]) -> tuple[float, int]:
        """The largest share of n-grams in common and whose it is; 0 when it is too small."""
        grams = _stretches(found, self.section.gram_words)
        shared = Counter(number for gram in grams for number in self.grams.get(gram, ()))
        scores = ((count / min(len(grams), self.known[number].grams), -number) for number, count in shared.items())
        score, number = max(scores, default=(0.0, 0))
        return (score, -number) if score >= self.section.min_shared else (0.0, 0)

    def _similar(self, question: str, found: list[str]) -> tuple[float, int]:
        """The highest similarity and whose it is; 0 when it is too small."""
        if self.section.min_similarity is None or len(found) < MIN_WORDS:
            return 0.0, 0
        meetings = (self.phrases.get(phrase, ()) for phrase in _stretches(found, PHRASE_WORDS))
        shared = Counter(number for numbers in meetings if len(numbers) <= COMMON_PHRASE for number in numbers)
        mine, best = _facts(question), (0.0, 0)
        for number, _ in sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:SUSPECTS]:
            if self.known[number].facts == mine:
                score = SequenceMatcher(None, self.known[number].words, found, autojunk=False).ratio()
                best = max(best, (score, number))
        return best if best[0] >= self.section.min_similarity else (0.0, 0)


def matches(questions: Iterable[str], benchmarks: Benchmarks) -> Iterator[Match]:
    """Every distinct question that is close to a benchmark's with that one, for a report; also those that are not dropped."""
    return (match for question in dict.fromkeys(questions) if (match := benchmarks.match(question)) is not None)


def _bare(question: str) -> str:
    """Operators stay: `26 + 33` and `26 - 33` are two questions."""
    return "".join(question.lower().split()).rstrip(".?!\u3002\uff1f\uff01")


def _facts(question: str) -> Counter[str]:
    """The numbers and operators of a question: with others it is another question, however alike the words."""
    return Counter(quantities(question) + _OPERATOR.findall(question))


def _stretches(found: list[str], size: int) -> set[Gram]:
    return set(zip(*(found[start:] for start in range(size)), strict=False))
