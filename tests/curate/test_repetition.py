"""What repeats, on texts that are caught in a loop and on sound ones that look much like it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.curate import repetition
from distill.text.words import words


def measured(text):
    (found,) = repetition.measure([text])
    return found


def varied(seed, count):
    generator = random.Random(seed)
    return " ".join(
        f"{generator.choice(['we', 'so', 'then', 'but'])} {generator.randrange(999)} gives"
        for _ in range(count)
    )


def naive(text):
    pieces = words(text)
    grams = [tuple(pieces[start : start + 8]) for start in range(len(pieces) - 7)]
    return 1 - len(set(grams)) / len(grams) if len(pieces) >= 16 else 0.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["so", "x = 5.", "Then", "we\n", "add", "\\(7\\)", "\tagain", "é"]), max_size=200
    )
)
def test_repetition_is_the_share_of_8_word_stretches_that_stood_before(parts):
    text = " ".join(parts)
    assert measured(text).repetition == pytest.approx(naive(text))


def test_what_is_measured_of_a_text_does_not_depend_on_its_company():
    texts = [
        varied(1, 200),
        "",
        "haha" * 900,
        varied(2, 30) + " so the answer is 5 and" * 40,
        "一二三四五六七八九十" * 20,
        "\ud800 lone",
    ]
    texts += [varied(seed, seed * 7) for seed in range(150)]
    assert repetition.measure(texts) == [measured(text) for text in texts]
    assert repetition.measure(texts[::-1]) == repetition.measure(texts)[::-1]
    assert repetition.measure([]) == []


LOOPS = [
    "Wait, that is not right. Let me think again. ",
    "so the answer is 5 and ",
    "所以答案是五,再检查一下。",
    "\\[ 6 - x = 13 - x \\]\nSimplify: \\( 6 = 13 \\)\n\n",
    "haha",
]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_repeats_itself_and_is_shown(loop):
    found = measured(varied(1, 30) + " " + loop * 900)
    assert found.repetition > 0.5 and found.compression < 0.1
    assert found.loop is not None and "times: " in found.loop


def test_an_endless_decimal_repeats_itself():
    assert measured(varied(1, 30) + " 0." + "3" * 9000).repetition > 0.5


def test_a_loop_is_found_where_it_is_a_small_part_of_the_trace():
    found = measured(varied(1, 800) + " So the answer is five. Wait, let me check it again." * 20)
    assert repetition.LOOP_SUSPECT < found.repetition < 0.5
    assert found.loop == "20 times: So the answer is five. Wait, let me check it again."


NEAR_LOOPS = [
    "Step {n}: Let me check the calculation again, since I may have missed something. ",
    (
        "Attempt {n}. I still do not see why the sum should be smaller, so I try it once more from the "
        "start.\n\n"
    ),
    "Wait, {n} is not what we want, so let me go back to the equation and solve it again. ",
    "第{n}步：让我再检查一下这个计算，也许我漏掉了什么。",
]


@pytest.mark.parametrize("round_", NEAR_LOOPS)
def test_a_loop_whose_rounds_are_counted_is_one(round_):
    for numbers in (range(1, 90), random.Random(0).sample(range(10_000), 60)):
        found = measured(varied(1, 40) + " " + "".join(round_.format(n=n) for n in numbers))
        assert found.loop is not None and "but for a number" in found.loop


def enumerations():
    """Sound parts of reasoning that say the same words many times."""
    tries = range(1, 120)
    yield "a multiplication table", "\n".join(f"{n} times 7 is {7 * n}, so far so good." for n in tries)
    yield (
        "a list of tries",
        "\n".join(f"Try n = {n}: {n}^2 + 3 = {n * n + 3}, which is not divisible by 11." for n in tries),
    )
    yield (
        "a search with an outcome",
        "\n".join(f"If a = {n}, then b = {120 - n} and a * b = {n * (120 - n)}, too small." for n in tries),
    )
    yield (
        "cases",
        " ".join(
            f"Case {n}: the first digit is {n}, so there are {10 - n} choices for the second one."
            for n in range(1, 10)
        ),
    )
    yield (
        "a check of each digit",
        " ".join(f"The digit in place {n} is {n * 7 % 10}, plus {n % 2} carried." for n in range(30)),
    )
    yield "a table of zeros", "| 0 | 0 | 0 | 0 |\n" * 50
    yield "a grid", "\n".join(" ".join(random.Random(n).choices("WB.", k=12)) for n in range(40))
    yield "a running sum", " ".join(f"After day {n} there are {n * (n + 1) // 2} coins." for n in tries)
    yield (
        "what a loop of a program prints",
        "```\n" + "\n".join(f"i = {n}, total = {3 * n}, done = False" for n in tries) + "\n```",
    )
    yield (
        "items one by one",
        " ".join(f"The {name} costs {n} dollars." for n, name in enumerate(words(varied(3, 60)), 2)),
    )


@pytest.mark.parametrize(("name", "text"), list(enumerations()))
def test_an_enumeration_is_no_loop(name, text):
    assert measured(varied(1, 60) + "\n" + text + "\n" + varied(2, 60)).loop is None
    assert measured(text).loop is None


def test_a_counted_list_that_is_a_part_of_the_trace_is_no_loop():
    counted = "".join(NEAR_LOOPS[0].format(n=n) for n in range(40))
    assert measured(varied(1, 300) + counted).loop is None
    assert measured("".join(NEAR_LOOPS[0].format(n=n) for n in range(24))).loop is None


def test_reasoning_that_checks_itself_is_no_repetition():
    step = "First I add the two numbers and get {n} apples. Let me check that again: the two numbers add up to {n} apples. "
    thinking = "".join(step.format(n=n) for n in range(20)) + varied(2, 100)
    once_more = varied(3, 120) + " Let me verify this from the start. " + varied(4, 120) + varied(3, 60)
    for text in (thinking, once_more):
        assert measured(text).repetition < 0.5
        assert measured(text).loop is None


def test_short_texts_do_not_repeat():
    assert measured("") == repetition.Repeats(0.0, 0.0, None, None)
    assert measured("yes " * 15).repetition == 0.0


def test_lines_that_stood_before_are_counted_by_their_characters():
    assert measured("abcd\n\nabcd\nef\n\n").line_repetition == pytest.approx(4 / 10)
    assert measured("one\n\n\n\ntwo").line_repetition == 0.0


def test_paragraphs_and_code_blocks_are_counted():
    assert repetition.paragraph_words("one two\nthree\n \nfour " + "five " * 6) == 7
    assert repetition.paragraph_words("") == 0
    assert repetition.code_blocks("a\n```python\nx\n```\nb\n```\ny") == 2
    assert repetition.code_blocks("no `code` here") == 0
