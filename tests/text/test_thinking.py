from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distill.recipe import Teacher
from distill.recipe.think_tags import FamilyName
from distill.records import Problem, Trace
from distill.text import form, think_tags
from distill.text import thinking as normalise
from distill.text.thinking import Parts, split, split_any

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


@given(
    st.one_of(st.none(), st.text()),
    st.one_of(st.none(), st.text()),
    st.sampled_from(["", "<think>\n", "Well, "]),
)
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


ANALYSIS = "<|channel|>analysis<|message|>"
SAMPLES = {
    "think": '<THINK mode="long">\n1\n</THINK>\n\n2',
    "thinking": "<thinking>\n1\n</thinking>\n\n2",
    "reasoning": "<reasoning>1</reasoning>2",
    "thought": "<Thought>1</Thought>\n2",
    "scratchpad": "<scratchpad>1</scratchpad> 2",
    "reflection": "<reflection>1</reflection>\n\n2",
    "mistral": "[THINK]1[/THINK]2",
    "kimi": "◁think▷1◁/think▷2",
    "seed": "<seed:think>\n1\n</seed:think>2",
    "longcat": "<longcat_think>1</longcat_think>2",
    "harmony": "<|channel|>analysis<|message|>1<|end|><|start|>assistant<|channel|>final<|message|>2<|return|>",
    "gemma": "<|channel>thought\n1\n<channel|>2<turn|>",
    "medgemma": "<unused94>thought\n1<unused95>2",
    "cohere": "<|START_THINKING|>1<|END_THINKING|><|START_RESPONSE|>2<|END_RESPONSE|>",
    "begin_of_thought": "<|begin_of_thought|>\n1\n<|end_of_thought|>\n\n<|begin_of_solution|>\n2\n<|end_of_solution|>",
}


def test_every_family_that_a_recipe_can_name_is_known_and_has_a_sample_here():
    assert list(get_args(FamilyName)) == list(think_tags.FAMILIES) == list(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_family_is_read_by_its_name_and_found_in_a_file_and_suspected_of_a_teacher(name):
    text = SAMPLES[name]
    assert split(text, tags=name) == split_any("\n" + text) == Parts("1", "2", True)
    assert think_tags.suspected(text) == think_tags.detected(text) == name
    assert split(text) != Parts("1", "2", True)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_block_of_a_family_that_was_cut_is_not_closed_and_a_second_one_shows(name):
    opened, closed = SAMPLES[name].split("1")[0], SAMPLES[name].split("1")[1].split("2")[0]
    assert split(f"{opened}1", tags=name) == Parts("1", "", False)
    assert split_any(f"{opened}1") == Parts(None, f"{opened}1".strip(), True)
    twice = split(f"{opened}1{closed}2{opened}C{closed}D", tags=name)
    assert form.fault(trace(twice)) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("analysisWe add.assistantfinalIt is 4.", Parts("We add.", "It is 4.", True)),
        ("<|channel|>final<|message|>It is 4.<|return|>", Parts(None, "It is 4.", True)),
        (
            f"{ANALYSIS}One.<|end|><|start|>assistant{ANALYSIS}Two.<|end|><|start|>assistant<|channel|>final<|message|>It is 4.",
            Parts("One.\n\nTwo.", "It is 4.", True),
        ),
        ("<|start|>assistant<|channel|>analysis<|message|>One.", Parts("One.", "", False)),
    ],
)
def test_the_channels_of_harmony_come_apart(text, expected):
    assert split(text, tags="harmony") == expected


def test_a_pair_of_the_recipe_is_read_with_a_prefill_and_a_field():
    tags = ("<plan>", "</plan>")
    assert (
        split("A</plan>B", None, "<plan>\n", tags)
        == split("<plan>A</plan>B", tags=tags)
        == Parts("A", "B", True)
    )
    assert split("B", "<plan>A</plan>", "", tags) == Parts("A", "B", True)


@pytest.mark.parametrize(
    "text",
    [
        "Use <reasoning>tags</reasoning> so.",
        "[THINK]a[/THINK]b[THINK]c[/THINK]d",
        "<thinking>a</thinking>",
        "<thinking>a<think>b</think></thinking>c",
        "analysis of the question is final",
        "[1, 2]",
    ],
)
def test_a_file_s_text_that_is_not_one_block_of_a_family_is_left_as_it_is(text):
    assert split_any(text) == split(text)


@pytest.mark.parametrize(
    "tag",
    [
        "<thinking>",
        "</reasoning>",
        "[THINK]",
        "[/THINK]",
        "◁think▷",
        "</seed:think>",
        "<|channel>",
        "<THINK>",
    ],
)
def test_a_tag_of_another_family_is_a_stray_one(tag):
    assert form.fault(trace(Parts("a", f"b {tag} c", True))) == f"{tag} inside the answer"
    assert form.fault(trace(Parts(f"a {tag}", "b", True))) == f"{tag} inside the thinking"


def test_thinking_that_came_twice_is_kept_once():
    assert (
        split("<think>\na\n</think>\n\nb", "a")
        == split("a</think>b", "a")
        == split("<think>\n\n</think>b", "a")
        == Parts("a", "b", True)
    )
    assert split("<think>other</think>b", "a").thinking != "a"


@given(st.text(max_size=200), st.sampled_from([*SAMPLES, ("<a>", "</a>")]))
def test_any_text_comes_apart_with_any_tags(text, tags):
    split(text, text, "", tags)
    split_any(text)


@pytest.mark.parametrize("tags", [("<a>", "<a>"), ("", "</a>"), ("<a>",), "unknown"])
def test_tags_that_say_nothing_are_refused(tags):
    with pytest.raises(ValidationError):
        Teacher(model="m", think_tags=tags)


def trace(parts):
    return Trace(
        Problem("p", "s", "math", "q", "1"), "t", 0, parts.thinking, parts.answer, parts.think_closed, "stop"
    )
