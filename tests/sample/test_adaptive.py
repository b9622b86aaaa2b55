from hypothesis import given
from hypothesis import strategies as st

from distill.recipe import Adaptive, Sampling
from distill.sample.adaptive import DrawPlan


def asked(sampling, outcomes, order):
    """Every try of a problem whose draws end as `outcomes` says (how often each is cut, then whether it is
    right)."""
    rounds = DrawPlan(sampling)
    under_way, tried = rounds.first(), rounds.first()
    while under_way:
        one = under_way.pop(order.randrange(len(under_way)))
        cuts, right = outcomes[one[0]]
        outcome = "cut" if rounds.budgets.index(one[1]) < cuts else "right" if right else "other"
        following = rounds.tell(one, outcome)
        under_way += following
        tried += following
        assert rounds.settled() == (not under_way)
    return rounds, sorted(tried)


def recipes():
    return st.builds(
        lambda n, enough, more, budgets: Sampling(
            n=n, max_tokens=100, adaptive=Adaptive(enough=enough, most=max(n, enough) + more, budgets=budgets)
        ),
        st.integers(1, 6),
        st.integers(1, 4),
        st.integers(0, 3),
        st.sampled_from([(), (200,), (200, 400), (400, 200)]),
    )


ENDINGS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=9, max_size=9)


@given(recipes(), ENDINGS, st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_what_is_asked_depends_on_outcomes_and_not_on_their_order(sampling, outcomes, one, other):
    assert asked(sampling, outcomes, one)[1] == asked(sampling, outcomes, other)[1]


@given(recipes(), ENDINGS, st.randoms(use_true_random=False))
def test_a_problem_has_enough_or_has_used_up_its_draws(sampling, outcomes, order):
    rounds, tried = asked(sampling, outcomes, order)
    adaptive, larger = sampling.adaptive, len(rounds.budgets)
    whole = {index for index, budget in tried if rounds.budgets.index(budget) >= outcomes[index][0]}
    right = sum(outcomes[index][1] for index in whole)
    assert len(set(tried)) == len(tried)
    assert {index for index, _ in tried} == set(range(rounds.drawn))
    if right < adaptive.enough:
        assert rounds.drawn == adaptive.most
        assert all(
            index in whole or (index, rounds.budgets[larger - 1]) in tried for index in range(rounds.drawn)
        )
    else:
        assert rounds.drawn <= adaptive.most


@given(recipes(), ENDINGS, st.randoms(use_true_random=False))
def test_no_draw_beyond_the_first_is_asked_in_vain(sampling, outcomes, order):
    rounds, tried = asked(sampling, outcomes, order)
    extra = [one for one in tried if one[0] >= max(sampling.n, sampling.adaptive.enough)]
    right = sum(
        outcomes[index][1] for index, budget in tried if rounds.budgets.index(budget) >= outcomes[index][0]
    )
    assert not extra or right <= sampling.adaptive.enough


def test_without_adaptive_there_are_n_draws_whatever_comes_back():
    rounds = DrawPlan(Sampling(n=3, max_tokens=8))
    assert rounds.first() == [(0, 8), (1, 8), (2, 8)]
    assert [rounds.tell(one, "other") for one in rounds.first()] == [[], [], []]
    assert rounds.settled()


def test_a_problem_that_no_rule_judges_gets_n_draws():
    rounds = DrawPlan(
        Sampling(n=1, max_tokens=8, adaptive=Adaptive(enough=3, most=9, budgets=(16,))), adaptive=False
    )
    assert rounds.first() == [(0, 8)] and rounds.tell((0, 8), "cut") == []


def test_a_cut_draw_is_asked_again_before_a_new_one():
    rounds = DrawPlan(Sampling(n=2, max_tokens=8, adaptive=Adaptive(enough=2, most=4, budgets=(16,))))
    assert rounds.tell((1, 8), "cut") == [(1, 16)]
    assert rounds.tell((0, 8), "other") == [(2, 8)]
    assert rounds.tell((1, 16), "cut") == [(3, 8)]
