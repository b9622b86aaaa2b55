"""Shingles and signatures are those of each text alone, however many texts are worked on together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.text import shingles

CHARACTERS = st.characters(
    codec="utf-8",
    exclude_categories=["Cc", "Zs", "Zl", "Zp"],
    exclude_characters="".join(map(chr, range(0x3000, 0xA000))),
)
TEXTS = st.lists(
    st.text(st.one_of(CHARACTERS, st.sampled_from("aAbB 1.,7\n\u00a0小。")), max_size=90), max_size=6
)


def plain_shingles(text, size):
    """What a shingle is, in plain Python: stretches of words."""
    for one in "小。":
        text = text.replace(one, f" {one} ")
    words = [bytes(word, "utf-8").lower() for word in text.split()]
    return (
        {tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1))}
        if words
        else set()
    )


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from([1, 2, 5]))
def test_two_texts_share_what_their_stretches_of_words_share(texts, size):
    found = list(shingles.sets(texts, size))
    wanted = [plain_shingles(text, size) for text in texts]
    assert [len(one) for one in found] == [len(one) for one in wanted]
    for one, first in zip(found, wanted, strict=True):
        for other, second in zip(found, wanted, strict=True):
            together = len(first | second)
            assert shingles.jaccard(one, other) == (len(first & second) / together if together else 1.0)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_a_text_is_worked_on_as_if_it_were_alone(texts):
    together = shingles.cut(texts)
    signed = shingles.signatures(*shingles.shingles(together, 3))
    for row, text in enumerate(texts):
        alone = shingles.cut([text])
        assert together.identities()[row] == alone.identities()[0]
        assert together.numbers[row] == alone.numbers[0]
        assert (signed[row] == shingles.signatures(*shingles.shingles(alone, 3))[0]).all()


def test_the_numbers_of_a_text_are_a_set():
    texts = [
        "5 and 12.5 make 17.5.",
        "(17.5) is 12.5+5, for 5",
        "5 and 12,5 make 17.5",
        "12.5 5",
        "x5, 12.5 = y17.5",
        "none",
        "",
    ]
    first, *others = shingles.cut(texts).numbers
    assert [number == first for number in others] == [True, False, False, True, False, False]
    assert (
        shingles.cut(["1234567890123", "1234567890124"]).numbers[0]
        != shingles.cut(["1234567890124"]).numbers[0]
    )


def test_words_of_any_length_are_told_apart():
    texts = [("ab" * 40)[:length] for length in range(1, 80)] + ["ba" * 20, "ab" * 20 + "c", "ab" * 20 + "d"]
    assert len(set(shingles.cut(texts).hashes.tolist())) == len(texts)


def test_order_counts_in_a_whole_text():
    one, other, third = shingles.cut(["a b c a", "a c b a", "A  b\tc a"]).identities()
    assert one != other and one == third


def test_signatures_agree_as_often_as_the_sets_do():
    generator = np.random.default_rng(3)
    for size in (5, 20, 200, 2000):
        agreements = []
        for _ in range(40):
            values = np.unique(generator.integers(0, 2**32 - 1, size=size, dtype=np.uint32))
            share = size // 3
            pair = values[:-share], values[share:]
            signed = shingles.signatures(np.concatenate(pair), np.cumsum([0, len(pair[0]), len(pair[1])]))
            agreements.append(float((signed[0] == signed[1]).mean()) - shingles.jaccard(*pair))
        assert abs(float(np.mean(agreements))) < 0.03
