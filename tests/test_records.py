import json
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.records import (
    ADDED,
    Candidate,
    Example,
    Measures,
    Message,
    Opinions,
    Problem,
    Span,
    Trace,
    Verdict,
)
from distill.store import digest, schema, shards

GOLDEN = Path(__file__).parent / "golden" / "schemas.txt"
STORED = (Problem, Trace, Candidate, Example)

text = st.text(st.characters(codec="utf-8"), max_size=20)
maybe_text = st.none() | text
counts = st.none() | st.integers(0, 2**40)
shares = st.none() | st.floats(0, 1)
problems = st.builds(
    Problem, text, text, text, text, maybe_text, maybe_text, text, text, maybe_text, maybe_text
)
traces = st.builds(
    Trace,
    problems,
    text,
    st.integers(0, 99),
    maybe_text,
    text,
    st.booleans(),
    text,
    counts,
    counts,
    counts,
    counts,
    counts,
    text,
    counts,
    shares,
    maybe_text,
)
verdicts = st.builds(Verdict, text, maybe_text, text, st.floats(0, 10), text)
opinions = st.builds(Opinions, maybe_text, maybe_text, maybe_text, maybe_text, shares)
spans = st.none() | st.lists(st.builds(Span, text, counts, counts, text, shares, text), max_size=3)
prints = st.none() | st.binary(min_size=4, max_size=4)
measures = st.builds(
    Measures,
    thinking_characters=counts,
    structure=maybe_text,
    language_share=shares,
    language_spans=spans,
    code_blocks=counts,
    text_hash=st.none() | st.integers(-(2**63), 2**63 - 1),
    minhash=prints,
)
candidates = st.builds(
    Candidate, traces, verdicts, opinions, measures, maybe_text, maybe_text, maybe_text, maybe_text
)
turns = st.lists(st.builds(Message, text, text), max_size=3)
examples = st.builds(
    Example, text, text, text, text, text, turns, turns, turns, counts, counts, shares, text, text
)


def schemas() -> str:
    return "".join(f"{record.__name__}\n{schema.schema(record)}\n\n" for record in STORED)


def test_schemas_are_those_of_the_golden_file() -> None:
    """A changed schema changes fingerprints and orphans what users have made: change the file knowingly."""
    assert schemas() == GOLDEN.read_text(encoding="utf-8"), (
        f"write the new schemas with `PYTHONPATH=. python {__file__}`"
    )


@given(problems | traces | candidates | examples)
def test_a_record_survives_its_row(record: object) -> None:
    assert schema.from_row(type(record), schema.to_row(record)) == record


@given(candidates)
def test_a_row_has_the_columns_of_its_schema_and_is_plain_json(candidate: Candidate) -> None:
    row = schema.to_row(candidate)
    assert list(row) == schema.schema(Candidate).names
    plain = {name: value for name, value in row.items() if name != "minhash"}  # bytes
    assert json.loads(json.dumps(plain)) == plain


def test_no_two_fields_of_a_nesting_share_a_column() -> None:
    for record in STORED:
        names = schema.schema(record).names
        assert len(names) == len(set(names))


def test_text_columns_cannot_overflow_32_bit_offsets() -> None:
    for record in STORED:
        assert pa.string() not in schema.schema(record).types


def test_an_absent_column_takes_its_default_and_a_required_one_is_an_error() -> None:
    row = {"problem_id": "1", "source": "s", "kind": "math", "question": "q", "reference": "r"}
    assert schema.from_row(Problem, row) == Problem("1", "s", "math", "q", "r")
    del row["question"]
    with pytest.raises(KeyError, match="question"):
        schema.from_row(Problem, row)


def test_columns_that_were_added_are_no_part_of_a_schema_s_digest_and_rows_without_them_are_read(
    tmp_path: Path,
) -> None:
    stored = schema.schema(Candidate)
    for name in ADDED:
        stored = stored.remove(stored.get_field_index(name))
    assert schema.fingerprint(Candidate) == digest(str(stored))[:8]
    candidate = Candidate(
        Trace(Problem("p", "s", "math", "q", "4"), "t", 0, "x", "4", True, "stop"), Verdict("wrong")
    )
    row = {name: value for name, value in schema.to_row(candidate).items() if name not in ADDED}
    pq.write_table(pa.Table.from_pylist([row], schema=stored), tmp_path / "0.parquet")
    assert list(shards.read(Candidate, str(tmp_path / "0.parquet"))) == [candidate]


def test_a_type_without_an_arrow_type_is_refused() -> None:
    with pytest.raises(TypeError, match="no Arrow type"):
        schema.arrow_type(dict[str, int])


def test_records_are_frozen_and_slotted() -> None:
    for record in (*STORED, Verdict, Opinions, Message):
        assert "__slots__" in vars(record)
        assert record.__dataclass_params__.frozen
        assert fields(record)


if __name__ == "__main__":
    GOLDEN.write_text(schemas(), encoding="utf-8")
