"""Contamination: is a question one of a benchmark's, or so close to one that an evaluation would be worth nothing?

Equal text (letter case, white space and end punctuation apart), or half of the shorter question's word 8-grams in common.
One shared 8-gram alone, the rule of s1 and Open-R1, flags 53 of GSM8K's 7,473 training questions against half of its test
questions, for phrases such as "how much does she need to pay for"; none of them is a test question. Paraphrases and
translations are not found, and a question of fewer than 8 words is compared as a whole only.
"""

from collections import Counter
from collections.abc import Iterable

from distill.words import plain_words

VERSION = 1
GRAM_WORDS = 8
MIN_SHARED = 0.5


class Benchmarks:
    """The questions of benchmarks, indexed by their word 8-grams."""

    def __init__(self, questions: Iterable[str]) -> None:
        self.exact: dict[str, str] = {}
        self.grams: dict[tuple[str, ...], list[str]] = {}
        self.sizes: dict[str, int] = {}
        for question in questions:
            if question in self.sizes:
                continue
            self.exact.setdefault(_bare(question), question)
            found = _grams(question)
            self.sizes[question] = len(found)
            for gram in found:
                self.grams.setdefault(gram, []).append(question)

    def match(self, question: str) -> str | None:
        """The benchmark question that this one repeats, or None."""
        if not self.sizes:
            return None
        if (same := self.exact.get(_bare(question))) is not None:
            return same
        found = _grams(question)
        shared = Counter(benchmark for gram in found for benchmark in self.grams.get(gram, ()))
        for benchmark, count in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
            if count >= MIN_SHARED * min(len(found), self.sizes[benchmark]):
                return benchmark
        return None


def _bare(question: str) -> str:
    """Operators stay: `26 + 33` and `26 - 33` are two questions."""
    return "".join(question.lower().split()).rstrip(".?!\u3002\uff1f\uff01")


def _grams(question: str) -> set[tuple[str, ...]]:
    found = plain_words(question)
    return set(zip(*(found[start:] for start in range(GRAM_WORDS)), strict=False))
