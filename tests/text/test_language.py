"""Language shares, passages and detection on planted switches, quotations, names, formulas and code."""

import json
import random
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.records import Span
from distill.text import language, latin

CASES = Path(__file__).parents[1] / "cases"
SWITCHES = [
    json.loads(line) for line in (CASES / "language_switches.jsonl").read_text(encoding="utf-8").splitlines()
]
CLEAN = [
    json.loads(line) for line in (CASES / "language_clean.jsonl").read_text(encoding="utf-8").splitlines()
]
AT_HOME = [
    json.loads(line) for line in (CASES / "language_at_home.jsonl").read_text(encoding="utf-8").splitlines()
]
"""A text, its language, and whether it keeps to it: cases with their neighbours on both sides."""
TEXTS = {
    code: [row["text"] for row in rows] for code, rows in groupby(SWITCHES, key=lambda row: row["language"])
}
ENGLISH = "We start with the first number and add the second one, then we check the result again. "
FORMULAS = (
    r"So \( x^2 = 5 \) and $y = \frac{a}{b}$ with \[ \sum_{i=1}^n a_i = \text{the total} \] give the sum. "
)
CODE = "```python\nfor el in la:\n    print(el)\n```\nThis prints each of them. "


@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case["why"])
def test_what_is_no_switch_has_a_share_of_one(case):
    for text in (
        case["text"],
        ENGLISH + case["text"] + "\n" + ENGLISH,
        ENGLISH * 40 + case["text"] + "\n" + ENGLISH * 40,
    ):
        assert language.measure(text, "en")[:2] == (1.0, [])


@pytest.mark.parametrize("around", [ENGLISH, FORMULAS, CODE], ids=["prose", "formulas", "code"])
@pytest.mark.parametrize("case", SWITCHES, ids=lambda case: f"{case['language']}: {case['text'][:30]}")
def test_a_sentence_in_another_language_is_found_however_long_the_rest_is(case, around):
    text = around * 20 + case["text"] + " " + around * 20
    measured = language.measure(text, "en")
    (passage,) = measured.passages
    start = text.index(case["text"])
    assert start <= passage.start < passage.end <= start + len(case["text"])
    assert measured.share is not None and measured.share < 1.0
    assert passage.words >= 3


def test_nearly_all_passages_have_their_language_s_name():
    found = [
        language.measure(ENGLISH + row["text"], "en").passages[0].language == row["language"]
        for row in SWITCHES
    ]
    assert sum(found) >= 0.9 * len(found)


@pytest.mark.parametrize("code", TEXTS)
def test_a_text_is_clean_in_its_own_language_and_english_in_it_is_found(code):
    own = " ".join(TEXTS[code] * 3)
    assert language.measure(own, code)[:2] == (1.0, [])
    switched = (
        own
        + " Wait, let me check this again because the total number of apples does not look right to me. "
        + own
    )
    (passage,) = language.measure(switched, code).passages
    assert passage.language == "en"
    assert "check this again" in switched[passage.start : passage.end]


def test_switches_are_found_among_others_and_in_order():
    dice = random.Random(0)
    for _ in range(50):
        first, second = dice.sample([row for row in SWITCHES if row["language"] != "th"], 2)
        text = ENGLISH + first["text"] + " " + ENGLISH + second["text"] + " " + ENGLISH
        found = [text[start:end] for start, end, _, _ in language.measure(text, "en").passages]
        assert [
            part in whole for part, whole in zip(found, (first["text"], second["text"]), strict=True)
        ] == [True, True]


def test_mixing_inside_a_sentence_is_found():
    text = (
        ENGLISH + "So we have to sumar los números que quedan en la caja and then divide by two. " + ENGLISH
    )
    (passage,) = language.measure(text, "en").passages
    assert text[passage.start : passage.end] == "sumar los números que quedan en la caja"


def test_what_stands_between_prices_is_read():
    text = "She pays $5 for it. Luego ella gasta siete más en la tienda por $7 and stops."
    assert language.measure(text, "en").passages


def test_the_share_counts_words_of_the_target_language():
    assert language.share("one two three 我们知道它", "en") == pytest.approx(3 / (3 + 5 / 1.5))
    assert language.share("答案是五", "en") == 0.0
    assert language.share("The answer is five.", "zh") == 0.0
    assert language.share("答案是五。", "zh") == 1.0
    assert language.share("It is what we want. Por lo tanto quedan seis.", "en") == pytest.approx(5 / 10)
    assert language.share("Por lo tanto quedan seis manzanas.", "en") == 0.0


def test_text_without_words_has_no_share():
    assert language.share("19 + 9 = 28\n28 + 33 = 61", "zh") is None
    assert language.share(r"\boxed{61}", "zh") is None
    assert language.share("", "en") is None


def test_formulas_units_and_code_are_no_foreign_words_in_chinese():
    text = r"设 $AB = x$,则 BC 等于 5 cm,sin 30 为 0.5。用 `print(x)` 输出。因此 \boxed{\text{five}}。"
    assert language.measure(text, "zh")[:2] == (1.0, [])
    assert language.measure(text * 20, "zh").passages == []


def test_a_script_or_language_that_the_question_quotes_is_at_home():
    question = "Translate the sentence 我喜欢吃苹果 into English."
    thinking = "The sentence says 我喜欢吃苹果. 我 is I. 喜欢 is like. 吃苹果 is eat apples."
    assert language.measure(thinking, "en", question)[:2] == (1.0, [])
    question = "Translate into English: El perro de mi hermana duerme en la cama."
    thinking = "The dog is el perro. Then la cama de mi hermana is my sister's bed."
    assert language.measure(thinking, "en", question)[:2] == (1.0, [])
    assert language.measure(thinking + " Donc il reste trois mots dans la phrase.", "en", question).passages


def test_a_language_without_lists_is_told_by_its_script_alone():
    assert language.measure(
        "Kwanza tunahesabu jumla ya matunda. The rest of it is in English, as one can see.", "sw"
    )[:2] == (1.0, [])
    assert language.measure("Kwanza tunahesabu jumla. 首先,我们计算苹果的总数。", "sw").passages


def test_a_norwegian_text_is_read_as_danish():
    assert latin.known("nb") == {"da"}
    assert language.measure(
        "Først regner vi ut hvor mange epler som er igjen. Så legger vi sammen de to tallene.", "nb"
    )[:2] == (1.0, [])


def test_what_is_hidden_in_quotations_and_lines_of_code_is_read_on_demand():
    text = ENGLISH + "\ndef sumamos los números que quedan en la caja\n" + ENGLISH
    assert language.share(text, "en") == 1.0
    assert language.share(text, "en", everything=True) < 1.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from([ENGLISH, FORMULAS, CODE, *(row["text"] for row in SWITCHES)]),
        ),
        max_size=8,
    )
)
def test_any_text_has_a_share_and_passages_inside_it_apart_from_one_another(parts):
    text = " ".join(parts)
    for code in ("en", "es", "zh", "sw"):
        share, passages, _ = language.measure(text, code)
        assert share is None or 0 <= share <= 1
        places = [0, *(place for passage in passages for place in passage[:2]), len(text)]
        assert places == sorted(places)


def test_spans_show_where_a_passage_stands():
    text = ENGLISH + "Entonces quedan tres manzanas en la caja, " * 20 + "."
    (span,) = language.spans("answer", text, language.measure(text, "en"))
    assert span == Span("answer", span.start, span.end, "es", span.words, text[span.start : span.start + 200])
    assert span.start == len(ENGLISH) and span.end == text.rindex("caja") + len("caja")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((" ".join(texts), code) for code, texts in TEXTS.items()),
        ("What is 2 + 2?", "en"),
        ("Qu'est-ce que c'est? Déjà vu", "fr"),
        ("¿Cuánto es 2 + 2?", "es"),
        ("Solve for $x$: $x^2 = 4$.", "en"),
        ("Juan de la Cruz and Vincent van Gogh buy 4 apples. How many are left?", "en"),
        ("小丽有34个杯子。现在有多少个?", "zh"),
        ("用 Python 写一个函数,计算 n 的阶乘", "zh"),
        ("りんごは全部で何個ありますか。", "ja"),
        ("사과는 모두 몇 개입니까?", "ko"),
        ("Сколько яблок у Анны?", "ru"),
        ("Скільки яблук їй дали?", "uk"),
        ("كم عدد التفاحات؟", "ar"),
        ("Find the angle α if Δ = 5°", "en"),
        ("The word 苹果 is Chinese for apple, is it not?", "en"),
        ("", "en"),
    ],
)
def test_the_script_and_the_words_tell_the_language(text, code):
    assert language.detect(text) == code


def test_each_list_of_function_words_is_read_and_each_language_has_one() -> None:
    files = {file.stem for file in Path(latin.__file__).with_name("function_words").glob("*.txt")}
    assert files == {*latin.LANGUAGES, "shared", "identifiers"}
    assert all(latin.known(language) for language in latin.LANGUAGES)
    assert {"die", "sin", "elif"} <= latin._SHARED


@pytest.mark.parametrize("case", AT_HOME, ids=lambda case: f"{case['language']}: {case['why']}")
def test_code_names_terms_and_formulas_are_at_home_and_a_sentence_of_prose_is_not(case):
    share, passages, _ = language.measure(case["text"], case["language"])
    assert share is not None and (share >= 0.9 and not passages) is case["kept"]
    if case["kept"]:
        longer = (case["text"] + " ") * 5
        assert language.measure(longer, case["language"]).passages == []


@pytest.mark.parametrize("between", ["", ENGLISH, ENGLISH * 20, "\n5 = 5\n"])
@pytest.mark.parametrize("words", [["因此", "所以"], ["在", "是"], ["значит", "ответ"], ["민수", "영희"]])
def test_two_lone_words_are_let_pass_however_near_they_stand_and_are_counted(words, between):
    text = f"The value {words[0]} is five. {between} And then {words[1]} is six."
    assert language.measure(text, "en") == (1.0, [], 2)


@pytest.mark.parametrize("between", [" ", ENGLISH, "\n5 = 5\n"])
def test_words_by_themselves_are_lone_below_a_sentence_s_length_however_near_they_stand(between):
    assert language.measure(f"{ENGLISH} Да. {between} Нет. {ENGLISH}", "en") == (1.0, [], 2)
    assert language.measure(f"{ENGLISH} Это верно. {between} {ENGLISH}", "en").passages


def test_lone_words_beyond_two_count_every_one_and_those_of_a_passage_are_not_lone():
    text = "So 因此 it is 5 and 所以 it is 6 and 李明 has it."
    share, passages, lone = language.measure(text, "en")
    assert (share, passages, lone) == (pytest.approx(9 / (9 + 4)), [], 3)
    assert language.measure(ENGLISH + "首先,我们计算苹果的总数。The word 苹果 is apple.", "en").lone == 1


def test_text_that_is_hidden_as_code_in_another_script_is_read_on_demand():
    text = "首先我们读题,然后写出答案。总是 def f(first, second): return first + second 这样。"
    assert language.share(text, "zh") == 1.0
    assert language.share(text, "zh", everything=True) < 1.0
