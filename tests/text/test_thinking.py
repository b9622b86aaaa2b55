import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.text import thinking as normalise
from distill.text.thinking import Parts, split

texts = st.text(max_size=200).map(str.strip).filter(lambda text: "think>" not in text)


@given(texts, texts)
def test_the_normal_form_comes_apart_into_what_it_was_made_of(thinking, answer):
    assert split(normalise.join(thinking, answer)) == Parts(thinking, answer, True)


@given(texts, texts.filter(bool), st.sampled_from(["", "<think>", "<think>\n"]))
def test_a_prefill_makes_no_difference(thinking, answer, prefill):
    whole = normalise.join(thinking, answer)
    assert split(whole.removeprefix(prefill), None, prefill) == split(whole)
    assert split(whole, None, prefill) == split(whole)


@given(texts.filter(bool), texts.filter(bool))
def test_a_field_for_thinking_gives_what_tags_give(thinking, answer):
    assert split(answer, thinking) == split(normalise.join(thinking, answer))


@given(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()), st.sampled_from(["", "<think>\n", "Well, "]))
def test_any_completion_comes_apart_into_text_that_files_can_hold(content, reasoning, prefill):
    parts = split(content, reasoning, prefill)
    (parts.answer + (parts.thinking or "")).encode()
    assert parts.think_closed or not parts.answer


@pytest.mark.parametrize(
    ("content", "reasoning", "prefill", "expected"),
    [
        ("<think>\na\n</think>\n\nb", None, "", Parts("a", "b", True)),
        ("a\n</think>\nb", None, "", Parts("a", "b", True)),
        ("<think><think>\na</think>b", None, "", Parts("a", "b", True)),
        ("<think>\na</think>b", None, "<think>\n", Parts("a", "b", True)),
        ("<think>\na \\boxed{1}", None, "", Parts("a \\boxed{1}", "", False)),
        ("a \\boxed{1}", None, "<think>\n", Parts("a \\boxed{1}", "", False)),
        ("<think>a</think>b<think>c", None, "", Parts("a</think>b<think>c", "", False)),
        ("<think>a</think>b</think>c", None, "", Parts("a</think>b", "c", True)),
        ("Sure.<think>a</think>b", None, "", Parts("Sure.<think>a", "b", True)),
        ("<think>\n\n</think>\n\nb", None, "", Parts("", "b", True)),
        ("b", None, "", Parts(None, "b", True)),
        ("", None, "", Parts(None, "", True)),
        (None, None, "<think>\n", Parts(None, "", True)),
        ("b", "a", "", Parts("a", "b", True)),
        ("\n\nb", "a\n", "<think>\n", Parts("a", "b", True)),
        ("b", "<think>a</think>", "", Parts("a", "b", True)),
        ("</think>\n\nb", "a", "", Parts("a", "b", True)),
        (None, "a", "", Parts("a", "", False)),
        ("", "a", "", Parts("a", "", False)),
        (None, "a</think>b", "", Parts("a", "b", True)),
        ("b", "", "", Parts(None, "b", True)),
        ("half \ud800 of a pair", None, "", Parts(None, "half \ufffd of a pair", True)),
    ],
)
def test_known_ways_to_mark_thinking(content, reasoning, prefill, expected):
    assert split(content, reasoning, prefill) == expected


def test_an_unclosed_block_is_never_an_answer():
    parts = split("<think>\nthe answer is \\boxed{4}")
    assert not parts.think_closed
    assert parts.answer == ""
