"""One normaliser for what models and servers return: the thinking, the answer, and whether the think block
was closed.

Servers mark thinking with tags in the text, with a closing tag only (their template opened the block), or
with a field of its own. All of them come out as the same `Parts`, and nothing is repaired: a block that was
not closed stays unclosed, and a tag in the middle of the thinking stays there for the screens to find. The
tags are `<think>` and `</think>`; those of other models (`think_tags`) are read where a recipe names them,
and in texts of files that are one block of them at the start.
"""

from dataclasses import dataclass

from distill.text.think_tags import CLOSE, OPEN, Tags, detected, rewritten

__all__ = ["CLOSE", "OPEN", "Parts", "Tags", "detected", "join", "split", "split_any", "well_formed"]


@dataclass(frozen=True, slots=True)
class Parts:
    """A completion taken apart; `thinking` and `answer` have no tags at their ends and no outer
    whitespace."""

    thinking: str | None
    """None when there was no think block; empty when there was an empty one."""
    answer: str
    """What follows the last closing tag; empty when the block was not closed."""
    think_closed: bool


def split(content: str | None, reasoning: str | None = None, prefill: str = "", tags: Tags = None) -> Parts:
    """The parts of a completion from the server's text, its field for thinking, and the text that opened the
    turn.

    A field for thinking without content is a block that was not closed: the completion was cut while the
    model thought. `tags` are those of the model, where they are others.
    """
    if content is None and not reasoning:
        return Parts(None, "", True)
    if tags is not None:
        content, reasoning, prefill = (rewritten(part or "", tags) for part in (content, reasoning, prefill))
    text = well_formed(_joined(content or "", reasoning or "", prefill))
    thinking, closed, answer = text.rpartition(CLOSE)
    if closed and OPEN not in answer:
        return Parts(_unopened(thinking), answer.strip(), True)
    if OPEN in text:
        return Parts(_unopened(text), "", False)
    return Parts(None, text.strip(), True)


def split_any(content: str | None, reasoning: str | None = None) -> Parts:
    """The parts of a text whose model is not known: tags of another family are read where they hold one block
    at the start."""
    return split(content, reasoning, tags=None if reasoning else detected(content))


def join(thinking: str | None, answer: str) -> str:
    """The normal form of a completion, as students are trained on it; `split` takes it apart again."""
    return answer if thinking is None else f"{OPEN}\n{thinking}\n{CLOSE}\n\n{answer}"


def well_formed(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD: JSON may carry them, UTF-8 files may not."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _joined(content: str, reasoning: str, prefill: str) -> str:
    """The whole assistant turn as one text with tags in it."""
    if not reasoning:
        return prefill + content
    opened = OPEN + prefill + reasoning
    if not content.strip():
        return opened
    thinking, closed, answer = content.partition(CLOSE)
    if closed and thinking.strip().removeprefix(OPEN).strip() in (
        "",
        reasoning.strip(),
    ):  # the same once more, or an empty block
        content = answer
    return opened.rstrip().removesuffix(CLOSE) + CLOSE + content.lstrip()


def _unopened(text: str) -> str:
    """The text without the opening tags at its start: two of them when the prefill and the model both wrote
    one."""
    text = text.strip()
    while text.startswith(OPEN):
        text = text.removeprefix(OPEN).lstrip()
    return text
