"""Which language a question is in, and what share of a text keeps to it (DeepSeek-R1's language consistency).

Only scripts are told apart: Chinese in an English trace is found, Spanish in an English trace is not. Formulas, code and
links are no words. Han and kana count 1.5 characters a word, Thai 4; single letters are variables and no words; in a
language with another script, units and names of functions such as `sin` are no foreign words either.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

VERSION = 1
CHARACTERS_PER_WORD = {"han": 1.5, "kana": 1.5, "thai": 4.0}
"""Mean length of a word in running text, for scripts that are written without spaces."""
LONE_WORDS = 2.0
"""So many foreign words, each inside a sentence of the text's own language, are a quotation or a name and no mixing."""
PASSAGE_WORDS = 1.3
PASSAGE_WORDS_INSIDE = 6.0
"""A switch: so many words of whole foreign sentences, or so many foreign words in a row inside a sentence."""
PASSAGE_WORDS_LATIN = 12.0
"""The same for Latin letters in a text of another script, which has names, code and terms in them and is no less in its language."""

SCRIPTS = {
    "han": r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+",
    "kana": r"[\u3040-\u30ff]+",
    "hangul": r"[\uac00-\ud7af\u1100-\u11ff]+",
    "cyrillic": r"[\u0400-\u052f]{2,}",
    "arabic": r"[\u0600-\u06ff\u0750-\u077f]{2,}",
    "hebrew": r"[\u0590-\u05ff]{2,}",
    "devanagari": r"[\u0900-\u097f]+",
    "thai": r"[\u0e00-\u0e7f]+",
    "greek": r"[\u0370-\u03ff\u1f00-\u1fff]{3,}",
}
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
LANGUAGE = {
    "hangul": "ko",
    "cyrillic": "ru",
    "arabic": "ar",
    "hebrew": "he",
    "devanagari": "hi",
    "thai": "th",
    "greek": "el",
    "latin": "en",
}

_LATIN = r"[A-Za-z\u00c0-\u024f]{2,}"
_WORD = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in SCRIPTS.items()) + f"|(?P<latin>{_LATIN})")
_OTHER = re.compile(r"[\u0400-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[\u0370-\u03ff\u1f00-\u1fff]{3,}")
"""A quick sign of any script but Latin; Thai to Hangul has more than `SCRIPTS`, which costs a closer look and nothing else."""
_LATIN_WORD = re.compile(_LATIN)
_NO_WORDS = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\$\$.*?\$\$|\\\(.*?\\\)|\\\[.*?\\\]|\$[^$\n\u3040-\u9fff]{1,300}\$|\\[A-Za-z]+",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"[.!?;\n\u3002\uff01\uff1f\uff1b]+")
_TECHNICAL = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot)h?|sec|csc|log|ln|lg|exp|lim|max|min|mod|gcd|lcm|det|dim|deg|pi|[kcmn]m|[km]g|ml|kw|hz|[A-Z]{2,}", re.ASCII
)
"""Functions, units and names of points and things: no words of any language."""


class Sentence(NamedTuple):
    """Words of one sentence in its text's language and in another script, and the longest run of the latter."""

    own: float
    foreign: float
    run: float
    run_text: str


def share(text: str, language: str, question: str = "") -> float | None:
    """The share of a text's words that are in its language, 0 to 1; None when it has no words.

    A script that the question itself quotes is at home in an answer to it.
    """
    home = _home(language, question)
    if "latin" in home and (text.isascii() or not _OTHER.search(text)):
        return 1.0 if _LATIN_WORD.search(text) else None
    own = lone = apart = 0.0
    for sentence in _sentences(text, home):
        own += sentence.own
        if sentence.own:
            lone += sentence.foreign
        else:
            apart += sentence.foreign
    if own + lone + apart == 0:
        return None
    if apart == 0 and lone <= LONE_WORDS:
        return 1.0
    return own / (own + lone + apart)


def foreign_passage(text: str, language: str, question: str = "") -> str | None:
    """The first passage in another script that is long enough to be a switch, or None."""
    home = _home(language, question)
    if "latin" in home and (text.isascii() or not _OTHER.search(text)):
        return None
    whole, inside = (PASSAGE_WORDS, PASSAGE_WORDS_INSIDE) if "latin" in home else (PASSAGE_WORDS_LATIN, PASSAGE_WORDS_LATIN)
    passage: list[str] = []
    count = 0.0
    for sentence in _sentences(text, home):
        if sentence.run >= inside:
            return " ".join([*passage, sentence.run_text])
        passage = [] if sentence.own else [*passage, sentence.run_text]
        count = 0.0 if sentence.own else count + sentence.foreign
        if count >= whole:
            return " ".join(passage)
    return None


def detect(text: str) -> str:
    """The language code that the script of a text stands for; `"en"` for Latin letters and for no words."""
    if text.isascii():
        return "en"
    found = _count(_NO_WORDS.sub(" ", text))
    if found.get("kana", 0) > 0.1 * found.get("han", 0):
        found["kana"] += found.pop("han", 0)
    script = max(found, key=lambda name: found[name], default="latin")
    if script == "cyrillic" and re.search("[іїєґІЇЄҐ]", text):
        return "uk"
    if script == "arabic" and re.search("[پچژگ]", text):
        return "fa"
    return {"han": "zh", "kana": "ja", **LANGUAGE}[script]


def _home(language: str, question: str) -> set[str]:
    home = HOME.get(language, {"latin"})
    if "latin" in home and not question.isascii():
        return home | {name for name, words in _count(question).items() if words >= 2}
    return home


def _count(text: str) -> dict[str, float]:
    """Words of a text by script."""
    found: dict[str, float] = {}
    for match in _WORD.finditer(text):
        name = match.lastgroup or "latin"
        found[name] = found.get(name, 0.0) + len(match.group()) / CHARACTERS_PER_WORD.get(name, len(match.group()))
    return found


def _sentences(text: str, home: set[str]) -> Iterator[Sentence]:
    """The sentences of a text that have words at all."""
    for text_of_one in _SENTENCE_END.split(_NO_WORDS.sub(" ", text)):
        sentence = _sentence(text_of_one, home)
        if sentence.own or sentence.foreign:
            yield sentence


def _sentence(text: str, home: set[str]) -> Sentence:
    own = foreign = run = longest = 0.0
    start = 0
    longest_text = ""
    for match in _WORD.finditer(text):
        name, word = match.lastgroup or "latin", match.group()
        count = len(word) / CHARACTERS_PER_WORD.get(name, len(word))
        if name in home:
            own, run = own + count, 0.0
        elif name != "latin" or not _TECHNICAL.fullmatch(word):
            start = start if run else match.start()
            foreign, run = foreign + count, run + count
            if run > longest:
                longest, longest_text = run, text[start : match.end()]
    return Sentence(own, foreign, longest, longest_text)
