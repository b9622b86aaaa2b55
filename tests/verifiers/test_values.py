r"""What is decided without symbolic algebra: never a verdict that exact arithmetic contradicts."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.recipe import Verification
from distill.records import Problem, Verdict
from distill.text import boxed
from distill.verifiers import math
from distill.verifiers.math import compare, parse, values
from distill.verifiers.math.tree import Leaf

SMALL = st.integers(-30, 30)
COEFFICIENTS = st.lists(SMALL, min_size=1, max_size=5)


def polynomial(coefficients: list[int]) -> str:
    return "".join(f"{value:+d}x^{{{power}}}" for power, value in enumerate(coefficients))


def horner(coefficients: list[int]) -> str:
    text = f"({coefficients[-1]})"
    for value in reversed(coefficients[:-1]):
        text = f"(x*{text}{value:+d})"
    return text


def same(gold: str, answer: str) -> bool | None:
    return values.compare(Leaf(gold), Leaf(answer))


@settings(deadline=None)
@given(COEFFICIENTS, COEFFICIENTS)
def test_polynomials_are_equal_exactly_when_their_coefficients_are(first, second):
    assert same(polynomial(first), horner(first)) is True
    longest = max(len(first), len(second))
    padded = [one + [0] * (longest - len(one)) for one in (first, second)]
    assert same(polynomial(first), horner(second)) is (padded[0] == padded[1])


@settings(deadline=None)
@given(SMALL, st.integers(1, 30), st.integers(2, 50), st.integers(1, 9))
def test_a_factor_may_stand_inside_a_root_or_before_it(numerator, denominator, radicand, factor):
    inside = rf"{numerator}\sqrt{{{radicand * factor**2}}}/{denominator}"
    assert same(rf"\frac{{{numerator * factor}\sqrt{{{radicand}}}}}{{{denominator}}}", inside) is True
    assert same(rf"\frac{{{numerator * factor}\sqrt{{{radicand}}}+1}}{{{denominator}}}", inside) is False


def test_what_agrees_in_many_digits_and_not_in_all_is_different():
    assert same(r"\sqrt{2}", r"\sqrt{2}+\frac{1}{10^{30}}") is False
    assert same(r"\pi", r"\frac{355}{113}") is False
    assert same(r"\sqrt{8}-2\sqrt{2}+x", "x") is True


@pytest.mark.parametrize(
    "text",
    [
        *(
            "f(x)",
            "1/2x",
            r"2\frac{x}{3}",
            "2 3x",
            "x=3",
            "x2",
            "e^{2}",
            "3i",
            r"\sin x",
            "x!",
            "|x|",
            r"x^{y}",
            r"\sqrt{-1}",
            r"\frac{1}{0}",
        ),
        *(
            "x^{1/2}",
            "x^{999}",
            "x_1",
            "+",
            "(x",
            "x)",
            r"\frac{1}{2}^{2}",
            "{" * 100 + "x" + "}" * 100,
            "x" * 300,
            "10^{40}x",
            "2^{2}^{3}",
        ),
    ],
)
def test_what_has_no_value_or_two_readings_is_left_to_symbolic_algebra(text):
    assert same(text, "x+1") is None
    assert same("x+1", text) is None


@settings(deadline=None)
@given(st.text(alphabet=r"\{}()^_,.=+-/ *|x2y3 frac sqrt pi", max_size=40))
def test_any_text_has_a_value_or_none_and_nothing_raises(text):
    assert values.compare(Leaf(text), Leaf("x+1")) in (True, False, None)


@settings(deadline=None)
@given(
    st.integers(-(10**9), 10**9),
    st.integers(0, 4),
    st.sampled_from((0, 1)),
    st.sampled_from(("{}", r"\${}", "${}")),
)
def test_plain_numbers_with_separators_are_judged_by_their_value(number, places, shift, form):
    exact = Fraction(number, 10**places)
    sign, digits = "-" * (number < 0), str(abs(number)).rjust(places + 1, "0")
    whole, decimals = (digits[:-places], "." + digits[-places:]) if places else (digits, "")
    for separator in ("", ",", r"{,}", r"\,", r",\!"):
        written = form.format(sign + f"{int(whole):,}".replace(",", separator) + decimals)
        reference = str(float(exact)) if places else str(number + shift)
        if "e" in reference:
            continue
        verdict = math.judge(
            Problem("p", "s", "math", "q", reference), rf"So it is \boxed{{{written}}}.", Verification()
        )
        assert isinstance(verdict, Verdict)
        assert verdict.outcome == ("correct" if Fraction(reference) == exact else "wrong")
        read = parse.compare(parse.read(reference), parse.read(written), compare.by_spelling)
        assert read is (verdict.outcome == "correct"), written


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from((r"\boxed{", r"\fbox{", "}", "{", "1", " and ", "\\", "boxed", r"\{", " ", "$"))
    ).map("".join)
)
def test_the_short_way_to_the_last_box_finds_the_same(text):
    try:
        expected = boxed.last_boxed(text)
    except ValueError:
        with pytest.raises(ValueError, match="never closed"):
            math.last_boxed(text)
    else:
        assert math.last_boxed(text) == expected
