"""A digest tells rows apart, and not how they are cut into tables."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.store import content

SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("count", pa.int64()),
        ("share", pa.float64()),
        ("done", pa.bool_()),
        ("print", pa.binary()),
        ("turns", pa.list_(pa.struct([("role", pa.large_string()), ("content", pa.large_string())]))),
    ]
)
turns = st.lists(
    st.fixed_dictionaries({"role": st.text(max_size=2), "content": st.none() | st.text(max_size=2)}),
    max_size=2,
)
rows = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=3),
        "count": st.none() | st.integers(0, 2),
        "share": st.none() | st.floats(0, 1),
        "done": st.none() | st.booleans(),
        "print": st.none() | st.binary(max_size=2),
        "turns": st.none() | turns,
    }
)


def table(values: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(values, schema=SCHEMA)


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=6), st.data())
def test_cuts_do_not_matter(values: list[dict[str, object]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    whole = content.digest([table(values)])
    assert content.digest([table(values[:cut]), table(values[cut:])]) == whole
    assert content.digest([table(values).slice(0, cut), table(values).slice(cut)]) == whole


@settings(deadline=None)
@given(st.lists(rows, max_size=4), st.lists(rows, max_size=4))
def test_other_rows_are_another_digest(one: list[dict[str, object]], other: list[dict[str, object]]) -> None:
    assert (content.digest([table(one)]) == content.digest([table(other)])) == (one == other)


def test_where_a_text_ends_matters() -> None:
    first, second = [{"text": "ab"}, {"text": "c"}], [{"text": "a"}, {"text": "bc"}]
    assert content.digest([table(first)]) != content.digest([table(second)])
    assert content.digest([table([{"text": None}])]) != content.digest([table([{"text": ""}])])
    assert content.digest([table([{"count": None}])]) != content.digest([table([{"count": 0}])])
