"""Phrases that give a completion away as no attempt of its own: it declines to answer, or it knows a
reference it should not know.

Refusals are found at the start of an answer, decisions to refuse at the end of a thinking, in English,
Chinese, Spanish, French and German; somebody who refuses in a story, and "I cannot simplify this further",
are none. What the question itself speaks of ("the given solution") gives nothing away. A refusal or a leak in
other words is not found.
"""

import re

from distill.records import Trace
from distill.text import boxed, numbers

VERSION = 1
TAIL_CHARACTERS = 300
HEAD_CHARACTERS = 200
WORK_CHARACTERS = 40
"""A first sentence that is the answer is a leak only when so much is written after it: else all of the
thinking is an echo."""

_HELP = r"(?:help|assist|comply|engage|participate)\b(?! (?:but|noticing|myself))"
_TELL = (
    r"(?:provide|answer|respond|continue|discuss|generate|create|write|produce|offer|give|share|fulfil|complete"
    r"|do (?:that|this|so))"
)
_OBJECT = (
    r"(?:to )?(?:this|that|your|such|these) (?:\w+ "
    r")?(?:request|question|content|information|material|task|topic)"
)
_CANNOT = (
    r"i(?:['’]m| am)? (?:can['’]?t|cannot|can not|won['’]t|will not"
    r"|(?:not able|unable) to|(?:must |have to )?(?:decline|refuse) to)"
)
_SORRY = (
    r"(?:(?:i['’]m|i am)(?: (?:very|so|truly))? sorry|sorry|i apologi[sz]e|my apologies|unfortunately"
    r"|as an? (?:ai|artificial intelligence|large language|language)\b[^.,\n]{0,40})[,.!;:]?\s(?:but\s)?"
)
_REFUSAL = re.compile(
    r"[\s*#>_-]{0,20}(?:"
    rf"(?:{_SORRY})?{_CANNOT} {_HELP}|{_SORRY}{_CANNOT} {_TELL}|(?:{_SORRY})?{_CANNOT} {_TELL} {_OBJECT}"
    r"|(?:非常|很|十分)?(?:抱歉|对不起|不好意思)[，,。！! ]*(?:但是?)?我?"
    r"(?:无法|不能|没有办法|没法)(?:为|向|给|帮)?[您你]?"
    r"(?:提供|回答|协助|帮助|满足|完成|处理|继续|讨论|生成|参与)"
    r"|(?:作为(?:一个|一名|一款)?(?:人工智能|AI|语言模型)[^。\n]{0,20}[，,])?我(?:无法|不能|没有办法|没法)(?:为|向|给)?[您你]?"
    r"(?:协助|帮助[您你]|满足|回答(?:这|该|您|你)|提供(?:这|该|此)类)"
    r"|(?:lo siento|disculp[ae]|perd[oó]n)[^.\n]{0,20}\bno (?:puedo|podré|me es posible) "
    r"(?:ayudar|asistir|responder|proporcionar|cumplir|ofrecer|continuar|participar|generar|crear|escribir)"
    r"|(?:je suis )?désolée?[^.\n]{0,20}\bje ne (?:peux|pourrai|suis)[^.\n]{0,30}"
    r"\b(?:aider|assister|répondre|fournir|continuer|participer|générer|créer|écrire)"
    r"|(?:es tut mir (?:sehr )?leid|tut mir "
    r"leid|leider|entschuldigung)[^.\n]{0,20}\b(?:kann|darf)\b[^.\n]{0,60}"
    r"\b(?:helfen|weiterhelfen|unterstützen|beantworten|bereitstellen|nachkommen|erstellen|schreiben)\b"
    r")[^.。\n]{0,80}",
    re.IGNORECASE,
)
_DECISION = re.compile(
    r"\bi(?: should| must| need to| have to| will|['’]ll| am going to)(?: \w+ly)? (?:refuse|decline)"
    r"(?: to (?:help|assist|answer|comply|provide|engage|fulfil+)| (?:this|the|their|the user['’]s) "
    r"(?:request|question)|\s*[.!]?\s*\Z)"
    r"|我(?:应该|必须|需要|得|会)(?:礼貌地)?拒绝(?:回答|提供|这个|该|用户|请求)",
    re.IGNORECASE,
)
_IS = r"\s?(?:is|should be|must be|has to be|will be|=|:)"
_KNOWN = re.compile(
    r"\W{0,3}(?:(?:okay|ok|alright|well|so|hmm|right|now)\b[,.! ]*){0,3}(?P<phrase>(?:i|we) (?:already "
    r")?know (?:that )?)?"
    rf"(?:the |la |die )?(?:final |correct |right )?(?:answer{_IS}"
    rf"|答案[是为：:]|respuesta es|réponse est|antwort "
    r"ist)"
    r"[\s:*$(\\]*(?P<value>boxed\{[^{}\n]{1,60}\}|[^.\n。]{1,60})(?:[.\n。!]|\Z)",
    re.IGNORECASE,
)
_NO_OPTION = "(?! (?:choices|options|format|set))"
_SOURCE = re.compile(
    r"\b(?:the|this|that|a) (reference (?:answer|solution))s?\b"
    rf"|\baccording to the ((?:provided |given |known |expected )?(?:solution|answer))(?: key)?\b{_NO_OPTION}"
    r"|\bthe ((?:provided|given|supplied) (?:answer|solution)) (?:is|says|states|gives|shows|uses|was)\b"
    r"|\b(?:the|an) (answer key|ground[- ]truth)(?: (?:answer|solution))? (?:is|says|states|gives|shows)\b"
    r"|\b(?:i was|i['’]ve been|i have been|we were) (?:told|given)(?: that)? the (?:final |correct "
    r")?(answer|solution)\b"
    rf"{_NO_OPTION}"
    r"|\bthe (expected output) (?:given|provided) (?:is|was)\b"
    r"|(参考答案|标准答案|给定的答案|提供的答案)(?:是|为|给出|说|显示|中)",
    re.IGNORECASE,
)
_NOUNS = ("nswer", "olution")
_BEFORE_NOUN = tuple(
    f"{ending} {letter}" for ending in ("eference", "to the", "ed", "en", "wn") for letter in "asAS"
)
_SOURCE_MARKS = (
    "nswer key",
    "round truth",
    "round-truth",
    "told th",
    "given the a",
    "given the s",
    "utput given",
    "utput provided",
    "答案",
)
"""Parts of what `_SOURCE` finds: nearly all texts have none of them, and to see so is faster than the
search."""


def refusal(trace: Trace) -> str | None:
    """The words that decline to answer, at the start of the answer or the end of the thinking."""
    if found := _REFUSAL.match(trace.answer):
        return found.group().strip()
    tail = (trace.thinking or "")[-TAIL_CHARACTERS:]
    if ("efuse" in tail or "ecline" in tail or "拒绝" in tail) and (decision := _DECISION.search(tail)):
        return decision.group().strip()
    return None


def answer_leak(trace: Trace) -> str | None:
    """The passage that names a hidden reference, or states the reference as known before any work; None for
    none."""
    text = trace.answer if trace.thinking is None else trace.thinking
    found = _source(text, trace.problem.question.lower())
    if found is None and trace.thinking is not None and trace.problem.reference:
        return _known(text, trace.problem.reference.strip(), trace.problem.question)
    return found


def _source(text: str, question: str) -> str | None:
    """The passage that names a reference; what the question speaks of is no secret."""
    if not _suspect(text):
        return None
    for found in _SOURCE.finditer(text):
        noun = next(group for group in found.groups() if group).lower()
        if noun not in question and ("solution" not in noun or "solution" not in question):
            return text[max(0, found.start() - 20) : found.end() + 60]
    return None


def _suspect(text: str) -> bool:
    for noun in _NOUNS:
        place = text.find(noun)
        while place >= 0:
            if text.endswith(_BEFORE_NOUN, 0, place):
                return True
            place = text.find(noun, place + 1)
    return any(mark in text for mark in _SOURCE_MARKS)


def _known(thinking: str, reference: str, question: str) -> str | None:
    """The first sentence, when it is the reference and much comes after it; a short reference may be guessed,
    one asked about copied."""
    found = _KNOWN.match(thinking[:HEAD_CHARACTERS])
    if found is None or len(thinking) - found.end() < WORK_CHARACTERS:
        return None
    by_chance = len(reference) < 2 or reference in question
    stated = boxed.any_boxed("\\" + found["value"]) or found["value"].strip(" $*()[]\\")
    return found.group().strip() if _same(stated, reference) and (found["phrase"] or not by_chance) else None


def _same(one: str, other: str) -> bool:
    left, right = (numbers.plain(text.replace(",", "")) for text in (one, other))
    return one.casefold() == other.casefold() if left is None or right is None else left == right
