"""The tables of `words.toml` say what they do, and hold nothing that does nothing."""

import pytest

from distill.verifiers.math import normalise, units, words
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
    assert not units.FILLER & units.QUALIFIERS
    named = {name for ratio in words.TABLE["ratios"].values() for name in ratio.split()} | set(
        words.TABLE["powers_before"]
    )
    assert named <= set(words.TABLE["units"])
