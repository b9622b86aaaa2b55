"""Language shares and detection on planted switches, quotations, formulas and code."""

import pytest

from distill import language

ENGLISH = "We start with the first number and add the second one, then we check the result again. "


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH * 5,
        ENGLISH + r"So \[ x = \frac{1}{2} \text{ 因此 } \] and $y = 5$.",
        ENGLISH + "```python\n# 计算结果\nprint('你好,世界')\n```",
        ENGLISH + "We are given that她在 January saved 10.",
        ENGLISH + "The name 李明 means nothing here.",
        ENGLISH + "The angle is απ/2 and Δx → 0, so ∀ε > 0 ∃δ.",
        "Größe, naïve café: l'été à la plage",
    ],
)
def test_what_is_no_switch_has_a_share_of_one(text):
    assert language.share(text, "en") == 1.0
    assert language.foreign_passage(text, "en") is None


@pytest.mark.parametrize(
    "switch",
    [
        "首先,我们计算总数。然后减去三。所以答案是五。",
        "Сначала мы складываем числа. Потом вычитаем три.",
        "まず合計を計算します。",
        "먼저 합계를 계산합니다. 그런 다음 뺍니다.",
        "أولا نحسب المجموع ثم نطرح ثلاثة تفاحات",
        "因此我们可以知道最终的答案就是",
    ],
)
def test_a_switch_in_the_middle_is_found_however_long_the_rest_is(switch):
    text = ENGLISH * 100 + switch + " " + ENGLISH * 100
    share = language.share(text, "en")
    assert share is not None and share < 1.0
    assert language.foreign_passage(text, "en") is not None


def test_the_share_counts_words_of_the_target_language():
    assert language.share("one two three 我们知道它", "en") == pytest.approx(3 / (3 + 5 / 1.5))
    assert language.share("答案是五", "en") == 0.0
    assert language.share("The answer is five.", "zh") == 0.0
    assert language.share("答案是五。", "zh") == 1.0


def test_text_without_words_has_no_share():
    assert language.share("19 + 9 = 28\n28 + 33 = 61", "zh") is None
    assert language.share(r"\boxed{61}", "zh") is None
    assert language.share("", "en") is None


def test_formulas_units_and_code_are_no_foreign_words_in_chinese():
    text = r"设 $AB = x$,则 BC 等于 5 cm,sin 30 为 0.5。用 `print(x)` 输出。因此 \boxed{\text{five}}。"
    assert language.share(text, "zh") == 1.0
    assert language.foreign_passage(text * 20, "zh") is None


def test_a_long_english_passage_in_chinese_is_a_switch():
    text = (
        "我们先算总数。" * 50 + "Wait, let me check this again because the total number of apples does not look right to me." + "所以是五。"
    )
    assert language.foreign_passage(text, "zh") is not None


def test_a_script_that_the_question_quotes_is_at_home():
    question = "Translate the sentence 我喜欢吃苹果 into English."
    thinking = "The sentence says 我喜欢吃苹果. 我 is I. 喜欢 is like. 吃苹果 is eat apples."
    assert language.share(thinking, "en", question) == 1.0
    assert language.foreign_passage(thinking, "en", question) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is 2 + 2?", "en"),
        ("Qu'est-ce que c'est? Déjà vu", "en"),
        ("小丽有34个杯子。现在有多少个?", "zh"),
        ("用 Python 写一个函数,计算 n 的阶乘", "zh"),
        ("りんごは全部で何個ありますか。", "ja"),
        ("사과는 모두 몇 개입니까?", "ko"),
        ("Сколько яблок у Анны?", "ru"),
        ("Скільки яблук їй дали?", "uk"),
        ("كم عدد التفاحات؟", "ar"),
        ("כמה תפוחים יש?", "he"),
        ("कितने सेब हैं?", "hi"),
        ("มีแอปเปิ้ลกี่ลูก", "th"),
        ("Πόσα μήλα έχει η Άννα;", "el"),
        ("Find the angle α if Δ = 5°", "en"),
        ("The word 苹果 is Chinese for apple, is it not?", "en"),
        ("", "en"),
    ],
)
def test_the_script_tells_the_language(text, code):
    assert language.detect(text) == code
