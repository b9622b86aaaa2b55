"""Which language a question is in, what share of a text keeps to it (DeepSeek-R1's language consistency), and
where it does not.

`distill.text.scripts` tells Chinese, Russian or Arabic apart from English, `distill.text.latin` languages in
Latin letters, for those that it has lists of. No words are formulas, code and links, among Latin letters
identifiers and short quotations, and in a text of another script the words of programs and names.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

from distill.records import Span
from distill.text import latin, scripts
from distill.text.latin import Passage

VERSION = 5
LONE_WORDS = 2
"""So many lone words are let pass: a quotation or a name, and no mixing. More of them count as words in
another language, every one."""
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
    r"|\\\[(?!-?[.\d]+ ?(?:[a-z]{2}|\\[a-z]+)\])(?:[^\\]++|\\[^\[\]\\]|\\\\(?![\[\]])"
    r"|\\\\\[-?[.\d][^\[\]\n]{0,8}\])*+\\?\\\]"
    # "$5 and then $7" is money and no formula
    r"|\$(?=\S)[^$\n\u3040-\u9fff]{1,300}(?<=\S)\$(?!\d)"
    # a differential: the `da` of `\,da` is no word of Danish
    r"|\\[,;:!>] ?[A-Za-z]{1,2}\b|\\[A-Za-z]+",
    re.DOTALL,
)
_ENVIRONMENT = re.compile(
    r"\\(begin|end)\{(?:(?:fl|x?x?)?align(?:ed|at|edat)?|[bpvVB]?matrix|smallmatrix|(?:d|r)?cases|equation|eqnarray"
    r"|gather(?:ed)?|multlined|multline|(?:displayed)?math|displaymath|split|array|subarray|dmath|IEEEeqnarray"
    r"|verbatim|lstlisting|minted|tikzpicture|asy)\*?\}"
)
"""Environments of formulas and code; those of text (`itemize`, `proof`, `tabular`) hold prose."""
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


_FOREIGN_LETTERS = "\u0370-\u1dff\u2e80-\ua4ff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
_STRETCH = re.compile(
    rf"[A-Za-z_\u00c0-\u024f](?:[^{_FOREIGN_LETTERS}\n.!?]|[.!?](?![\s\"')]|\Z|[{_FOREIGN_LETTERS}]))*"
)
"""From a Latin letter to the next word of another script, the end of the line or of the sentence."""
_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|(?:#|//).*")
_OPERATOR = r"(?:[-+*/%&|^]=|==?|!=|<=?|>=?|->|=>|\+\+|--|&&|\|\|)"
_CODE_MARK = re.compile(
    rf"[A-Za-z_)\]]\d* ?{_OPERATOR} ?[\w\[({{\"'-]|\w ?{_OPERATOR} ?[A-Za-z_\[({{\"']"
    r"|\w[(\[]|[A-Za-z]\.[A-Za-z]|\w_\w|[{};]"
    r"|\b(?:SELECT|FROM|WHERE|JOIN|INSERT|UPDATE|GROUP BY|ORDER BY)\b"
    r"|^(?:def|class|return|import|from \w+ import|elif|for \w+ in|while|if|print)\b"
    r"|^(?:async|const|fn|func|function|#include)\b"
)
"""What only code has; `60 + 57 = 117` is arithmetic, which stands in prose as well."""
_WORDS_BESIDE_CODE = 3
"""A stretch with code in it is prose if it has so many different words of a language: fewer may be names of
variables."""
_TERM_WORDS = 4
"""A term of a field has at most so many small words in a row (`longest common subsequence`)."""
_SMALL_WORDS = re.compile(rf"(?:\b[a-z\u00df-\u00ff][\w\u2019'-]*(?:\s+|\Z|(?=\W))){{{_TERM_WORDS + 1}}}")


class Measured(NamedTuple):
    """The share of a text's words in its language, 0 to 1 and None without words, the passages that are in
    another one, and how many lone words of another script stand beside them."""

    share: float | None
    passages: list[Passage]
    lone: int = 0


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
    # code has many words that look foreign; else masking can wait
    masked = _masked(text) if home.languages and "`" in text else None
    strange = scripts.strange(text, home.scripts)
    suspects = latin.suspects(masked or text, home.languages) if home.languages else []
    if not strange.size and not suspects and "latin" in home.scripts:
        return Measured(1.0 if _LATIN_WORD.search(text) else None, [])
    masked = masked or _masked(text)
    if "latin" not in home.scripts and not everything:
        masked = _STRETCH.sub(_without_terms, masked)
    if masked is not text:
        strange = scripts.strange(masked, home.scripts)
    sentences = list(scripts.sentences(masked, strange, home.scripts))
    switches, lone = scripts.switches(sentences, masked, home.scripts)
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
    mixed = sum(one.words for one in inside)
    own = scripts.words(masked, home.scripts) - mixed
    apart = mixed + sum(sentence.foreign for sentence in sentences) - lone.size
    if own + apart + lone.size == 0:
        return Measured(None, _merged(passages))
    foreign = apart if own and lone.whole <= LONE_WORDS else apart + lone.size
    return Measured(own / (own + foreign) if foreign else 1.0, _merged(passages), lone.whole)


def share(text: str, language: str, question: str = "", everything: bool = False) -> float | None:
    """The share of a text's words that are in its language, 0 to 1; None when it has no words."""
    return measure(text, language, question, everything).share


def spans(part: Literal["thinking", "answer"], text: str, measured: Measured) -> Iterator[Span]:
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
    if not any(mark in text for mark in _MARKS):
        return text
    return _NO_WORDS.sub(_blank, _without_environments(text) if "\\begin{" in text else text)


def _without_environments(text: str) -> str:
    r"""A text of the same length with blanks for each `\begin{align*} ... \end{align*}`, with what is nested
    in it; one that is not closed before the next blank line stays."""
    pieces: list[str] = []
    last = start = depth = place = 0
    for match in _ENVIRONMENT.finditer(text):
        if text.find("\n\n", place, match.start()) >= 0:
            depth = 0
        place = match.end()
        if match.group(1) == "begin":
            start, depth = start if depth else match.start(), depth + 1
        elif depth:
            depth -= 1
            if not depth:
                pieces += text[last:start], " " * (place - start)
                last = place
    return "".join([*pieces, text[last:]])


def _without_terms(match: re.Match[str]) -> str:
    """Blanks for a stretch of Latin letters in a text of another script, if it is code, a name or a term,
    and no prose."""
    stretch = match.group()
    plain = _QUOTED.sub(" ", stretch)
    if _CODE_MARK.search(stretch):
        prose = latin.speaks(plain, _WORDS_BESIDE_CODE)
    else:
        prose = latin.speaks(plain, 1) or _SMALL_WORDS.search(plain) is not None
    return stretch if prose else " " * len(stretch)


def _blank(match: re.Match[str]) -> str:
    return " " * (match.end() - match.start())
