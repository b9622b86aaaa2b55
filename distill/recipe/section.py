"""The ground of all recipes: frozen models that know which of their fields decide what comes out.

A field declared with `place()` says where or how fast something runs; it is no part of a fingerprint, so
changing it never makes anything again.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class RecipeError(ValueError):
    """A recipe that cannot be used; the message says which key and what to write instead."""


def place(default: Any = ..., **constraints: Any) -> Any:
    """A field that says where or how fast something runs, never what comes out."""
    return Field(default, json_schema_extra={"place": True}, **constraints)


def later(default: Any = None, **constraints: Any) -> Any:
    """A field that came when keys were in use already: it is part of what comes out only where it is set."""
    return Field(default, json_schema_extra={"later": True}, **constraints)


class Section(BaseModel):
    """One frozen part of a recipe; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def identity(self) -> dict[str, Any]:
        """The plain values that decide what comes out, of nested sections too: no `place()` field, a
        `later()` one where it is set."""
        kept: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            marks = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            value = _identity(getattr(self, name))
            if not marks.get("place") and not (marks.get("later") and value in (None, [], {})):
                kept[name] = value
        return kept


def _identity(value: Any) -> Any:
    if isinstance(value, Section):
        return value.identity()
    if isinstance(value, (list, tuple)):
        return [_identity(item) for item in value]
    return value
