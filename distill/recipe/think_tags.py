"""What a recipe may say about the tags around a model's thinking; what they look like is in
`distill/text/think_tags.py`."""

from typing import Annotated, Literal

from pydantic import AfterValidator

FamilyName = Literal[
    "think",
    "thinking",
    "reasoning",
    "thought",
    "scratchpad",
    "reflection",
    "mistral",
    "kimi",
    "seed",
    "longcat",
    "harmony",
    "gemma",
    "medgemma",
    "cohere",
    "begin_of_thought",
]


def _two_tags(tags: FamilyName | tuple[str, str] | None) -> FamilyName | tuple[str, str] | None:
    """A pair says where thinking begins and where it ends."""
    if isinstance(tags, tuple) and (not all(tag.strip() for tag in tags) or tags[0] == tags[1]):
        raise ValueError("name two different tags, the opening and the closing one")
    return tags


ThinkTags = Annotated[FamilyName | tuple[str, str] | None, AfterValidator(_two_tags)]
