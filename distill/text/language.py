"""Which language a question is in, what share of a text keeps to it (DeepSeek-R1's language consistency), and
where it does not.

`distill.text.scripts` tells Chinese, Russian or Arabic apart from English, `distill.text.latin` languages in
Latin letters, for those that it has lists of. Formulas, code, links and, among Latin letters, identifiers and
short quotations are no words; a lone foreign word is no switch. What another language is, if its script or
its words are those of the text's own, nothing here can say.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from distill.records import Span
from distill.text import latin, scripts
from distill.text.latin import Passage

VERSION = 3
LONE_WORDS = 2.0
"""So many words of another script, each inside a sentence of the text's own language, are a quotation or a
name and no mixing."""
EXCERPT_CHARACTERS = 200
QUOTED_WORDS = 2
"""A question with so many words of another script or language makes that one at home in an answer to it."""

HOME = {
    "zh": {"han"},
    "ja": {"han", "kana"},
    "ko": {"hangul", "han"},
    **{code: {"cyrillic"} for code in ("ru", "uk", "bg", "sr", "be", "mk", "kk", "mn")},
    **{code: {"arabic"} for code in ("ar", "fa", "ur")},
    **{code: {"hebrew"} for code in ("he", "yi")},
    **{code: {"devanagari"} for code in ("hi", "mr", "ne")},
    "th": {"thai"},
    "el": {"greek"},
}
"""Scripts of a language; every other language is taken to be written in Latin letters."""

_LATIN_WORD = re.compile(f"[{scripts.LETTERS['latin'][0]}]{{2}}")
_MARKS = ("$", "\\", "`", "://")
_NO_WORDS = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$\$.*?\$\$"
    r"|\\\((?:[^\\]++|\\[^()\\]|\\\\(?![()]))*+\\?\\\)"
    # `\\[4pt]` is a line break
    r"|\\\[(?:[^\\]++|\\[^\[\]\\]|\\\\(?![\[\]])|\\\\\[-?[.\d][^\[\]\n]{0,8}\])*+\\?\\\]"
    # "$5 and then $7" is money and no formula
    r"|\$(?=\S)[^$\n\u3040-\u9fff]{1,300}(?<=\S)\$(?!\d)|\\[A-Za-z]+",
    re.DOTALL,
)
_NO_PROSE = re.compile(
    r"(?<!\w)\"(?=\S)[^\"\n]{1,80}(?<=\S)\"|\u201c[^\u201d\n]{1,80}\u201d|\u00ab[^\u00bb\n]{1,80}\u00bb|\u00bb[^\u00ab\n]{1,80}\u00ab"
    r"|(?<!\w)'[\w ]{1,20}'(?!\w)|\u201e[^\u201c\u201d\n]{1,80}[\u201c\u201d]|<[^<>\n]{1,80}>"
    r"|^[ \t]*(?:>>>|\.\.\.|import|from|def|class|return|assert|raise|#include) .*|^.{1,120}[{};]$|\b\w++[ "
    r"\t]*[-+*/]?=[ \t]*\w*"
    r"|\b[^\W\d_]*+[\d_]\w*|\b\w++(?:[-.]\w+)+|\b\w++[(\[]|\(\w{1,3}\)\w*|(?<![\w.+-])[\w.+-]++@[\w.-]+|(?:[~.]?/[\w.-]+)+",
    re.MULTILINE,
)
"""Quotations, lines of code, identifiers, compounds and paths: what a text has in it without being written in
another language. Each word is begun at its start only and never given back, and a formula ends at the next
that opens: linear in any text."""


class Measured(NamedTuple):
    """The share of a text's words in its language, 0 to 1 and None without words, and the passages that are
    in another one."""

    share: float | None
    passages: list[Passage]


class Home(NamedTuple):
    """What is at home in an answer: scripts, and languages in Latin letters."""

    scripts: frozenset[str]
    languages: frozenset[str]


def measure(text: str, language: str, question: str = "", everything: bool = False) -> Measured:
    """The share of a text's words in its language, and every passage that is long enough to be a switch, with
    its place.

    A script or a language that the question itself quotes is at home in an answer to it. With `everything`,
    quotations, identifiers and lines of code are read like prose, for texts whose writer would gain from
    hiding something there.
    """
    home = _home(language, question)
    masked = (
        _masked(text) if home.languages and "`" in text else None
    )  # code has many words that look foreign; else masking can wait
    strange = scripts.strange(text, home.scripts)
    suspects = latin.suspects(masked or text, home.languages) if home.languages else []
    if not strange.size and not suspects and "latin" in home.scripts:
        return Measured(1.0 if _LATIN_WORD.search(text) else None, [])
    masked = masked or _masked(text)
    if masked is not text:
        strange = scripts.strange(masked, home.scripts)
    sentences = list(scripts.sentences(masked, strange, home.scripts))
    switches = scripts.switches(sentences, masked, home.scripts)
    prose = masked if everything else _prose(masked, suspects)
    inside = [
        passage
        for start, end in suspects
        for passage in latin.passages(prose[start:end], start, home.languages)
    ]
    passages = [
        *inside,
        *(Passage(start, end, detect(masked[start:end]), words) for start, end, words in switches),
    ]
    return Measured(_share(masked, home, sentences, sum(one.words for one in inside)), _merged(passages))


def share(text: str, language: str, question: str = "", everything: bool = False) -> float | None:
    """The share of a text's words that are in its language, 0 to 1; None when it has no words."""
    return measure(text, language, question, everything).share


def spans(part: str, text: str, measured: Measured) -> Iterator[Span]:
    """The passages that were found in one part of a completion, for a person to look at."""
    for start, end, code, words in measured.passages:
        yield Span(part, start, end, code, words, text[start : min(end, start + EXCERPT_CHARACTERS)])


def detect(text: str) -> str:
    """The language code that the script of a text stands for, in Latin letters the one whose words it has;
    `"en"` for no words."""
    masked = _masked(text)
    found = None if text.isascii() else scripts.language(masked)
    if found is not None:
        return found
    counts = latin.spoken(masked)
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] >= QUOTED_WORDS and counts[best] > counts["en"] else "en"


def _prose(text: str, parts: list[tuple[int, int]]) -> str:
    """A text of the same length with blanks for what is no prose in some parts of it."""
    pieces: list[str] = []
    last = 0
    for start, end in parts:
        for match in _NO_PROSE.finditer(text, start, end):
            pieces += text[last : match.start()], _blank(match)
            last = match.end()
    return "".join([*pieces, text[last:]])


def _merged(passages: list[Passage]) -> list[Passage]:
    """The passages in order; one that begins inside another, in another script, becomes a part of it."""
    merged: list[Passage] = []
    for passage in sorted(passages):
        if merged and passage.start < merged[-1].end:
            longer = max(merged[-1], passage, key=lambda one: one.words)
            last = merged.pop()
            passage = Passage(
                last.start, max(last.end, passage.end), longer.language, last.words + passage.words
            )
        merged.append(passage)
    return merged


def _share(text: str, home: Home, sentences: list[scripts.Sentence], mixed: float) -> float | None:
    """Words at home by all words, with so many words of Latin passages as foreign ones; lone words of another
    script are let pass."""
    own = scripts.words(text, home.scripts) - mixed
    apart = mixed + sum(sentence.foreign for sentence in sentences if not sentence.own)
    lone = sum(sentence.foreign for sentence in sentences if sentence.own)
    if own + apart + lone == 0:
        return None
    return 1.0 if apart == 0 and lone <= LONE_WORDS else own / (own + apart + lone)


@lru_cache(1024)
def _home(language: str, question: str) -> Home:
    at_home = frozenset(HOME.get(language, {"latin"}))
    if "latin" not in at_home:
        return Home(at_home, frozenset())
    languages = latin.known(language)
    if languages:
        languages |= latin.quoted(question, languages, QUOTED_WORDS)
    if not question.isascii():
        at_home |= {name for name, words in scripts.counts(question).items() if words >= QUOTED_WORDS}
    return Home(at_home, languages)


def _masked(text: str) -> str:
    """A text of the same length with blanks for formulas, code and links."""
    return _NO_WORDS.sub(_blank, text) if any(mark in text for mark in _MARKS) else text


def _blank(match: re.Match[str]) -> str:
    return " " * (match.end() - match.start())
