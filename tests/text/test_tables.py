"""Tables: columns line up, and no outside text does anything but be read."""

from hypothesis import given
from hypothesis import strategies as st

from distill.text.tables import aligned, cell, grid, inert

ROWS = [("name", "count", "why"), ("小模型", "7", "7 of | them"), ("b", "1,234", "")]


def test_columns_of_numbers_are_right_aligned_and_texts_that_begin_with_a_digit_are_not() -> None:
    assert aligned(ROWS, numbers=(1,), rule=False).split("\n") == [
        "name    count  why",
        "小模型      7  7 of | them",
        "b       1,234",
    ]
    assert aligned(ROWS, numbers=(1,)).split("\n")[1] == "------  -----  -----------"
    assert grid(ROWS, numbers=(1,)) == [
        "| name | count | why |",
        "| --- | ---: | --- |",
        "| 小模型 | 7 | 7 of &#124; them |",
        "| b | 1,234 |  |",
    ]


@given(st.text(st.characters(codec=None), max_size=60))
def test_a_cell_is_one_line_that_starts_nothing(text: str) -> None:
    shown = cell(text)
    shown.encode()
    assert "|" not in shown and "<" not in shown and "`" not in shown and len(shown.splitlines()) <= 1
    assert inert(inert(text)) == inert(text)


def test_ordinary_text_is_shown_as_it_is() -> None:
    assert cell("max_tokens 4,096: 你好, naïve (70 %) + 1.5") == "max_tokens 4,096: 你好, naïve (70 %) + 1.5"
