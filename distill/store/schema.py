"""Records in Arrow: the schema derived from a record's annotations, and records as rows.

In Arrow the nesting is flat: every field name is unique across the nesting, and the column has the field's
name.
"""

import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import pyarrow as pa

from distill.records import ADDED
from distill.store.keys import digest

R = TypeVar("R")


def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record type: nested records flattened, `large_string` for text."""
    return pa.schema([pa.field(name, arrow_type(kind), nullable=True) for name, kind in columns(record)])


def fingerprint(record: type) -> str:
    """A short hash of a record's Arrow schema without the columns in `ADDED`, so that a changed record is a
    changed key."""
    found = schema(record)
    for name in ADDED.intersection(found.names):
        found = found.remove(found.get_field_index(name))
    return digest(str(found))[:8]


def columns(record: Any) -> tuple[tuple[str, Any], ...]:
    """(column name, annotation) of a record type, nested records flattened in order."""
    return tuple((path.rpartition(".")[2], hint) for path, hint in _paths(record))


def arrow_type(annotation: Any) -> pa.DataType:
    """The Arrow type of one field annotation; raises TypeError for a type that records may not have."""
    plain = {
        str: pa.large_string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        bytes: pa.binary(),
    }
    if annotation in plain:
        return plain[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return arrow_type(type(arguments[0]))
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return arrow_type(inner)
    if origin is list:
        return pa.list_(arrow_type(arguments[0]))
    if is_dataclass(annotation) and isinstance(annotation, type):
        return pa.struct([pa.field(name, arrow_type(kind)) for name, kind in columns(annotation)])
    raise TypeError(f"no Arrow type for {annotation}")


def to_row(record: Any) -> dict[str, Any]:
    """A record as one flat row: column name to plain value (for JSON and Parquet alike)."""
    names, values, lists = _getter(typing.cast(Any, type(record)))
    row = dict(zip(names, values(record), strict=True))
    for name in lists:
        if row[name] is not None:
            row[name] = [to_row(item) if is_dataclass(item) else item for item in row[name]]
    return row


@cache
def _getter(record: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[str, ...]]:
    """Column names of a record type, what gets their values out of a record, and which of them may be
    lists."""
    paths, named = [path for path, _ in _paths(record)], columns(record)
    return (
        tuple(name for name, _ in named),
        attrgetter(*paths),
        tuple(name for name, hint in named if "list[" in str(hint)),
    )


def _paths(record: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, annotation) of each column of a record type, in order."""
    for name, hint, _ in _parts(record):
        if is_dataclass(hint):
            yield from _paths(hint, f"{within}{name}.")
        else:
            yield within + name, hint


def from_row(record: type[R], row: Mapping[str, Any]) -> R:
    """A record from a flat row; an absent column takes the field's default, KeyError when it has none."""
    values: dict[str, Any] = {}
    for name, hint, required in _parts(typing.cast(Any, record)):
        if is_dataclass(hint) and isinstance(hint, type):
            values[name] = from_row(hint, row)
        elif name in row:
            values[name] = _value(hint, row[name])
        elif required:
            raise KeyError(name)
    return record(**values)


@cache
def _parts(record: type) -> tuple[tuple[str, Any, bool], ...]:
    """(field, annotation, has no default) of a record type."""
    hints = typing.get_type_hints(record)
    return tuple(
        (f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(record)
    )


def _value(hint: Any, value: Any) -> Any:
    """A column's value as the field's type: lists of structs become lists of records."""
    if typing.get_origin(hint) is types.UnionType:
        (hint,) = (argument for argument in typing.get_args(hint) if argument is not type(None))
    if typing.get_origin(hint) is list and value is not None:
        (inner,) = typing.get_args(hint)
        if is_dataclass(inner) and isinstance(inner, type):
            return [from_row(inner, item) for item in value]
    return value
