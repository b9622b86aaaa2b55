r"""Words behind a formula about its letters: "for all real x", "where c is a constant", "for integer k".

One side may leave such words out. Where both have them, they must say the same, or the texts stay as they
are. Words about a letter that the formula does not have are not read.
"""

import re
from typing import Literal, NamedTuple

Says = Literal["", "all", "free", "integer"]

MOST_CHARACTERS = 400
"""A longer text is left alone."""
_TEXT = re.compile(r"\\(?:text(?:rm|it|bf|normal)?|mathrm|mbox)\s*\{([^{}]*)\}")
_SPACE = re.compile(r"\\[,;:!> ]|\\q?quad\b|[~$\s]+")
_JOIN = r"[\s,;.(]*"
_NUMBERS = (
    r"(?P<numbers>(?:(?:positive|negative|non-?negative|nonzero|non-zero|natural|real|whole|rational|complex|all"
    r"|odd|even)\s+)*(?:integers?|reals?|numbers?|values?(?: of)?|positive|negative|natural))?"
)
_LETTER = r"(?P<letter>(?<![A-Za-z\\])[A-Za-z](?![A-Za-z]))"
_LIMIT = r"(?P<limit>(?:\\(?:in|geq?|leq?|neq?|gt|lt)\b|[∈≥≤≠<>]).{1,40}?)?"
_END = r"\s*\)?\.?\s*$"
_ALL = re.compile(
    rf"(?i){_JOIN}(?:holds\s+)?(?:for\s+(?:all|every|each|any)\b|\\forall\b|∀)\s*{_NUMBERS}\s*(?:{_LETTER}\s*{_LIMIT})?"
    rf"{_END}"
)
_WHAT = (
    r"(?:an?\s+|any\s+|some\s+)*(?P<what>(?:(?:arbitrary|real|fixed|free|any)\s+)*"
    r"(?:constant|real(?:\s+number)?|parameter)s?)"
)
_FREE = (
    re.compile(rf"(?i){_JOIN}(?:for|where|with)\s+{_WHAT}\s+{_LETTER}{_END}"),
    re.compile(
        rf"(?i){_JOIN}(?:where|with|and|for)?\s*(?<![A-Za-z\\]){_LETTER}\s+(?:is\s+|being\s+)?{_WHAT}{_END}"
    ),
    re.compile(rf"{_JOIN}{_LETTER}\s*(?:\\in|∈)\s*\\mathbb\s*\{{?R\}}?{_END}"),
)
_WHOLE = r"(?:an?\s+|any\s+|some\s+|all\s+|every\s+|each\s+)*integers?"
_INTEGER = (
    re.compile(rf"(?i){_JOIN}(?:for|where|with)\s+{_WHOLE}\s+{_LETTER}\s*{_LIMIT}{_END}"),
    re.compile(
        rf"(?i){_JOIN}(?:where|with|and|for)?\s*(?<![A-Za-z\\]){_LETTER}\s+(?:is\s+|being\s+)?{_WHOLE}{_END}"
    ),
)


class Clause(NamedTuple):
    """A formula, and what the words behind it say of one of its letters."""

    formula: str
    kind: Says = ""
    letter: str = ""
    limit: str = ""

    @property
    def of_integers(self) -> str:
        """The formula with its letter as an integer."""
        return rf"{self.formula}, {self.letter} \in \mathbb{{Z}}"


def settle(reference: str, answer: str) -> tuple[str, str]:
    """Both texts without words that only one of them has, or that say the same in both."""
    if not (_may_speak(reference) or _may_speak(answer)):
        return reference, answer
    wanted, given = clause(reference), clause(answer)
    way = _both if wanted.kind and given.kind else _alone
    return way(wanted, given, reference, answer), way(given, wanted, answer, reference)


def _may_speak(text: str) -> bool:
    """Whether a text has a word that some clause has: a quick look, because few have one."""
    return "for" in text or "nteger" in text or "real" in text or "onstant" in text or "∀" in text


def clause(text: str) -> Clause:
    """The clause at the end of a text; without a kind where there is none that is read."""
    if len(text) > MOST_CHARACTERS:
        return Clause(text)
    flat = _SPACE.sub(" ", _TEXT.sub(r" \1 ", text)).strip()
    for kind, patterns in _KINDS:
        for pattern in patterns:
            for found in pattern.finditer(flat):
                letter = found.group("letter") or ""
                formula = flat[: found.start()].rstrip(" ,;.(")
                limit = f"{found.groupdict().get('numbers') or ''} {found.groupdict().get('limit') or ''}"
                if _speaks_of(formula, kind, letter):
                    return Clause(formula, kind, letter, " ".join(limit.split()))
    return Clause(text)


_KINDS: tuple[tuple[Says, tuple[re.Pattern[str], ...]], ...] = (
    ("integer", _INTEGER),
    ("all", (_ALL,)),
    ("free", _FREE),
)


def _speaks_of(formula: str, kind: Says, letter: str) -> bool:
    """Whether a formula has the letter: defines a function or sequence in it, or uses it."""
    if kind != "all":
        return letter in re.sub(r"\\[A-Za-z]+", " ", formula)
    variable = re.escape(letter) if letter else "[A-Za-z]"
    defined = rf"\s*[A-Za-z]\s*(?:\(\s*{variable}\s*\)|_\{{?\s*{variable}\s*\}}?)\s*="
    return re.match(defined, formula) is not None


def _both(own: Clause, other: Clause, text: str, other_text: str) -> str:
    """The text of one side where both have words."""
    if own[1:] == other[1:] and own.kind != "integer":
        return own.formula
    return text if own.kind != "integer" or own.limit else own.of_integers


def _alone(own: Clause, other: Clause, text: str, other_text: str) -> str:
    """The text of one side where the other has no words that are read."""
    if not own.kind:
        return text
    if own.kind == "integer" and re.search(r"\\in\b|∈|[<>≤≥]|\\[gl]eq?\b", other_text):
        return text if own.limit else own.of_integers
    return own.formula
