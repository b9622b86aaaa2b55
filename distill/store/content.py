"""A digest of rows, column by column: equal for equal rows in equal order, however they are cut into files
and row groups."""

import hashlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

DIGITS = 16


def digest(tables: Iterable[pa.Table]) -> str:
    """SHA-256 over all rows of some tables, 16 hex digits; all have the same columns."""
    found: dict[str, Any] = {}
    for table in tables:
        for name in table.column_names:
            for chunk in table[name].chunks:
                _add(found, name, chunk)
    whole = hashlib.sha256()
    for name in sorted(found):
        whole.update(f"{name}\n{found[name].hexdigest()}\n".encode())
    return whole.hexdigest()[:DIGITS]


def _add(found: dict[str, Any], name: str, values: pa.Array) -> None:
    """Adds the values of one column to its own digests: one of lengths or nulls, one of the content."""
    kind = values.type
    if pa.types.is_struct(kind):
        for number, field in enumerate(kind):
            _add(found, f"{name}.{field.name}", pc.struct_field(values, [number]))
        return
    shape = found.setdefault(f"{name}#", hashlib.sha256())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        shape.update(_plain(pc.list_value_length(values), -1))
        _add(found, f"{name}[]", pc.list_flatten(values))
    elif pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        shape.update(_plain(pc.binary_length(values), -1))
        content = found.setdefault(name, hashlib.sha256())
        for part in _runs(pc.drop_null(values)):
            content.update(part)
    else:
        shape.update(_plain(values.is_valid(), 0))
        found.setdefault(name, hashlib.sha256()).update(_plain(values, 0))


def _plain(values: pa.Array, instead_of_null: int) -> bytes:
    """Numbers or truth values as 64-bit bytes."""
    kind = pa.float64() if pa.types.is_floating(values.type) else pa.int64()
    whole: bytes = (
        pc.fill_null(pc.cast(values, kind), instead_of_null).to_numpy(zero_copy_only=False).tobytes()
    )
    return whole


def _runs(values: pa.Array) -> Iterable[memoryview]:
    """The bytes of texts without nulls, end to end."""
    wide = pc.cast(values, pa.large_binary())
    if len(wide):
        offsets, content = wide.buffers()[1], wide.buffers()[2]
        ends = memoryview(offsets).cast("q")
        yield (
            memoryview(content)[ends[wide.offset] : ends[wide.offset + len(wide)]]
            if content is not None
            else memoryview(b"")
        )
