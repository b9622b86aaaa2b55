"""A seeded corpus of traces with planted copies, for benchmarks: what is a copy of what is known.

Sentences are phrases of reasoning, numbers and words of an invented vocabulary with the frequencies of a
natural one. It is easier to compress than real traces and has fewer long words.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

EDIT_RATES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
"""Share of words that are replaced, left out or doubled by another one; 0 is an exact copy."""
COPIES_OF_RATE = 0.025
WORDS = 660
"""In a trace of 4 KB."""
PHRASES = (
    "Let me think about what is asked here.",
    "Wait, I should check that again.",
    "So we have {a} + {b} = {c}, and we go on from there.",
    "The $x$ in \\(x^2 = {a}\\) is \\(\\sqrt{{{a}}}\\).",
    "Therefore the result is {c}.",
    "Hmm, {a} times {b} is {d}, which is more than {c}.",
    "Alternatively, divide {d} by {b} → {a}.",
)
_SYLLABLES = (
    "ba",
    "con",
    "der",
    "fi",
    "gra",
    "in",
    "lo",
    "ment",
    "ne",
    "pro",
    "ra",
    "sta",
    "ti",
    "un",
    "ver",
    "y",
)


@dataclass(frozen=True, slots=True)
class Document:
    """A trace; those of one family are copies of its first member."""

    question: str
    text: str
    family: int
    edit_rate: float | None = None
    """None: an original."""


def corpus(count: int, seed: int = 0, words: int = WORDS) -> list[Document]:
    """So many traces, of them 17.5 % copies, each some way after its original; an original has one copy at
    most."""
    rng = random.Random(seed)
    rates = [rate for rate in EDIT_RATES for _ in range(round(count * COPIES_OF_RATE))]
    originals = []
    for number in range(count - len(rates)):
        question = (
            f"What is left of {rng.randrange(10**6)} {' '.join(vocabulary(rng, 3))} after "
            f"{rng.randrange(10**6)}?"
        )
        originals.append(Document(question, text(rng, words), number))
    chosen = rng.sample(originals, len(rates))
    copies = [
        Document(one.question, edited(one.text, rate, rng), one.family, rate)
        for one, rate in zip(chosen, rates, strict=True)
    ]
    return originals + copies


def templates(count: int, seed: int = 0, words: int = WORDS) -> list[Document]:
    """Problems of one template that differ in their numbers only: no two of them are copies."""
    rng = random.Random(seed)
    frame = text(rng, words)
    rows = []
    for number in range(count):
        a, b = 100 + number, rng.randrange(100, 10_000)
        solution = f"{a} and {b} make {a + b}. {frame} So the sum is {a + b}."
        rows.append(Document(f"A shop has {a} pears and buys {b}. How many are there?", solution, number))
    return rows


def text(rng: random.Random, words: int) -> str:
    """A trace of at least so many words."""
    found: list[str] = []
    count = 0
    while count < words:
        if rng.random() < 0.4:
            a, b = rng.randrange(2, 1000), rng.randrange(2, 1000)
            sentence = rng.choice(PHRASES).format(a=a, b=b, c=a + b, d=a * b)
        else:
            sentence = (
                " ".join(vocabulary(rng, rng.randrange(5, 15))).capitalize()
                + rng.choice(".,:")
                + rng.choice((" ", "\n\n"))
            )
        found.append(sentence)
        count += len(sentence.split())
    return " ".join(found)


def edited(original: str, rate: float, rng: random.Random) -> str:
    """The text with that share of its words replaced, left out or followed by another one."""
    found = []
    for word in original.split(" "):
        if rng.random() >= rate:
            found.append(word)
        else:
            found += rng.choice((vocabulary(rng, 1), [], [word, *vocabulary(rng, 1)]))
    return " ".join(found)


def vocabulary(rng: random.Random, count: int) -> Sequence[str]:
    """So many words, frequent ones more often (Zipf)."""
    return rng.choices(_VOCABULARY, cum_weights=_WEIGHTS, k=count)


def _invented(count: int) -> list[str]:
    rng = random.Random(1)
    return ["".join(rng.choices(_SYLLABLES, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(count)]


_VOCABULARY = _invented(4000)
_WEIGHTS = list(accumulate(1 / (rank + 3) for rank in range(len(_VOCABULARY))))
