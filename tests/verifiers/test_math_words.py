"""The tables of `words.toml` say what they do, and hold nothing that does nothing."""

import pytest

from distill.verifiers.math import normalise, words
from distill.verifiers.math.normalise import RULES, Rule


def written(rule: Rule) -> str:
    return rule.pattern.pattern[:60]


@pytest.mark.parametrize("rule", RULES, ids=written)
def test_a_rule_of_spelling_makes_of_its_example_what_it_says(rule: Rule) -> None:
    assert rule.needed in rule.example
    assert rule.pattern.sub(rule.replacement, rule.example) == rule.result != rule.example


@pytest.mark.parametrize("rule", RULES, ids=written)
def test_no_rule_of_spelling_could_be_left_out(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = normalise.clean(rule.example)
    monkeypatch.setattr(normalise, "RULES", [other for other in RULES if other is not rule])
    assert normalise.clean(rule.example) != whole


def test_a_spelling_is_of_one_unit_and_no_word_is_both_filler_and_qualifier() -> None:
    spellings = [spelling for row in words.TABLE["units"].values() for spelling in row.split()]
    assert len(spellings) == len(set(spellings))
    assert not words.FILLER & words.QUALIFIERS
    terms = {word for term in words.TABLE["terms"].values() for word in term.split()} - {"beats"}
    assert all(map(words.measure, terms | set(words.TABLE["powers_before"])))


def test_no_symbol_of_a_unit_with_its_prefix_is_that_of_another() -> None:
    rows = words.TABLE["prefixed"]
    assert len(words.SYMBOLS) == len(set(words.SYMBOLS))
    for symbol, (spellings, names, _) in rows.items():
        assert {words.measure(spelling) for spelling in spellings.split()} == {symbol}
        assert {words.measure(name) for name in names.split()} == {symbol}
    assert words.measure("mW") != words.measure("MW") != words.measure("W")
    assert words.measure("mw") is None
