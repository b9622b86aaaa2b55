r"""What is wrong with a prompt before it is paid for.

A finding stops its problem where no completion could be worth anything: nothing is asked (`empty`), nothing
fits behind the prompt (`prompt_too_long`), the answer stands in the question (`contains_reference`: whatever
is written then is a copy of it), or the server would read another question (`control_tokens`: it takes
`<|im_end|>` in a question for the end of the turn). It only warns where the server may still do well: prompt
and `max_tokens` together are longer than the context, which some servers refuse and others cut.

Every rule is slow to speak. A number that merely occurs gives nothing away, nor does an option among options;
lengths are bounds that hold for every tokenizer that keeps words apart. So a finding is nearly certain, and a
prompt without one may still be a bad one.
"""

import re
from dataclasses import dataclass

from distill.engines import ENGINES
from distill.recipe import Teacher
from distill.records import Message, Problem
from distill.text import boxed, numbers
from distill.verifiers import rules

VERSION = 1
EMPTY, PROMPT_TOO_LONG = "empty", "prompt_too_long"
CONTAINS_REFERENCE, CONTROL_TOKENS = "contains_reference", "control_tokens"
PROGRAM_CHARACTERS = 60
"""A reference program that is shorter may stand in its question by chance, white space not counted."""
HINT_CHARACTERS = 40
TAIL_CHARACTERS = 80
"""No more than this follows a box that gives the answer away: before a question it is an example."""
LAST_CHARACTERS = 400
"""Where an answer that is stated in words is looked for."""

_VISIBLE = re.compile(r"[^\s\u00ad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_NAMES = (
    r"(?:im|fim|vision|object_ref|box|quad|tool_call|tool_response|file|repo|cot|ipython|python|message|header)_\w{2,20}"
    r"|(?:begin|end|start)_?of_?(?:text|turn|prompt|thought|sentence|message)|(?:start|end)_header_id|e[om]t?_?id"
    r"|finetune_right_pad_id|reserved_special_token_\d+|endoftext|startoftext|endofprompt"
    r"|system|user|assistant|observation|channel|message|constrain|return|call|end|start|pad|eos|bos"
)
_CONTROL = re.compile(rf"<\|(?:{_NAMES})\|>|<｜[^｜<>\n]{{1,40}}｜>|<(?:start|end)_of_turn>|\[/?INST\]")
_MARKS = ("<|", "<｜", "_of_turn>", "INST]")
"""Nearly all texts have none of them, and to see so is faster than the search."""
_STATED = re.compile(
    r".*(?:####[ \t]*|(?:\banswer\b(?:[ \t*]{0,5}(?:is\b|=|:|：))+|答案[是为]?[:：]?)[\s*$(\\\[]*)"
    r"(?P<value>[^\n]{1,200}?)[\s*$).\\\]。]*\Z",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = ("nswer", "NSWER", "答案", "####")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_EXAMPLE = re.compile(r"(?i)(?:e\.\s?g|example|instance|such as|like|form(?:at)?|例如|比如)[^\n]*\Z")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one prompt."""

    reason: str
    """`"empty"`, `"prompt_too_long"`, `"contains_reference"` or `"control_tokens"`."""
    detail: str
    """What exactly, for a person to read."""
    stops: bool = True
    """Whether the problem should not be asked; else it is a warning."""


def check(
    problem: Problem,
    messages: tuple[Message, ...],
    teacher: Teacher,
    max_tokens: int,
    context_tokens: int | None = None,
) -> Finding | None:
    """The first thing that is wrong with a prompt, what stops it before what warns; None: nothing certain."""
    if _VISIBLE.search(problem.question) is None:
        return Finding(EMPTY, "the question has no visible character")
    if ENGINES[teacher.engine].served and (token := _control_token(messages)):
        detail = f"a server takes {token} in the prompt for a control token, and reads another question"
        return Finding(CONTROL_TOKENS, detail)
    if given := _given_away(problem):
        return Finding(CONTAINS_REFERENCE, given)
    return None if context_tokens is None else _too_long(messages, max_tokens, context_tokens)


def least_tokens(text: str) -> int:
    """A text's least number of tokens: tokenizers that split at white space never join two words."""
    return len(text.split())


def _too_long(messages: tuple[Message, ...], max_tokens: int, context_tokens: int) -> Finding | None:
    characters = sum(len(message.content) for message in messages)
    if characters // 2 + 1 + max_tokens <= context_tokens:  # words and the spaces between them
        return None
    least = sum(least_tokens(message.content) for message in messages)
    if least >= context_tokens:
        return Finding(PROMPT_TOO_LONG, f"at least {least:,} tokens, and the context has {context_tokens:,}")
    if least + max_tokens > context_tokens:
        detail = (
            f"at least {least:,} tokens and max_tokens {max_tokens:,} are more than the context's "
            f"{context_tokens:,}"
        )
        return Finding(PROMPT_TOO_LONG, detail, stops=False)
    return None


def _control_token(messages: tuple[Message, ...]) -> str | None:
    for message in messages:
        if any(mark in message.content for mark in _MARKS) and (found := _CONTROL.search(message.content)):
            return found.group()
    return None


def _given_away(problem: Problem) -> str | None:
    """How the question tells its reference, for a person; an option among options tells nothing."""
    reference, question = (problem.reference or "").strip(), problem.question.rstrip()
    if not reference or problem.kind == "choice":
        return None
    if rules(problem.kind).runs_program:
        program = "".join(reference.split())
        if len(program) < PROGRAM_CHARACTERS or program not in "".join(question.split()):
            return None
        characters = f"{len(program)} characters without white space"
        return f"the whole reference program ({characters}) stands in the question"
    boxed = _last_box(question)
    if boxed is not None and _same(boxed, reference):
        return f"the question ends with the reference in a box: {question[-TAIL_CHARACTERS:]}"
    stated = _stated(question)
    if stated is not None and _same(stated, reference):
        return f"the question ends with the reference: {question[-TAIL_CHARACTERS:]}"
    return None


def _last_box(question: str) -> str | None:
    """What a question's last box holds, when next to nothing follows and it shows no form of answer."""
    start = max(question.rfind("\\boxed"), question.rfind("\\fbox"))
    if start < 0 or _EXAMPLE.search(question[max(0, start - HINT_CHARACTERS) : start]):
        return None
    held = boxed.any_boxed(question[start:])
    rest = question[start:].partition(held)[2] if held else ""
    return held if held and len(rest) <= TAIL_CHARACTERS and not {"?", "？"} & set(rest) else None


def _stated(question: str) -> str | None:
    """What a question names as the answer in its last words."""
    tail = question[-LAST_CHARACTERS:]
    found = _STATED.match(tail) if any(word in tail for word in _WORDS) else None
    return found["value"] if found else None


def _same(one: str, other: str) -> bool:
    left, right = (text.strip(" $*\\()[].。") for text in (one, other))
    values = [numbers.plain(_THOUSANDS.sub("", text)) for text in (left, right)]
    return left.casefold() == right.casefold() != "" if None in values else values[0] == values[1]
