"""What is remembered from one choice to the next."""

from dataclasses import replace
from random import Random

import pytest

from balancer.core.tiering.choice import pick
from balancer.core.tiering.memory import Tiering
from balancer.core.tiering.share import Calibrated
from balancer.core.tiering.types import Ask, QualityFloor, StrongShare, Threshold
from tests.core.tiering.plans import HUGE, LARGE, SMALL, TIERS, bid, plan, virtual


def play(tiering, makes, count=5000, bids=None):
    """The tiers that so many requests went to."""
    found = []
    for number in range(count):
        made = makes(number)
        now = 0.1 * number
        picked = pick(
            made, bids or [None] * len(made.options), tiering.steps(made), tiering.sticky.of(made), now
        )
        tier = made.options[picked.option].name
        tiering.took(made, picked, tier, 100, now)
        found.append(tier)
    return found


def share(found, *names):
    late = found[2000:]
    return sum(each in names for each in late) / len(late)


def test_the_share_is_held_with_conversations_rules_and_what_is_not_known():
    rng, of = Random(1), virtual(explore=0.03)

    def makes(number):
        kind = number % 10
        if kind == 0:
            return plan(rng.random(), of=of, options=(LARGE,), rule="images")
        if kind == 1:
            return plan(None, of=of, conversation=b"%d" % number)
        turn = 1 + number % 4
        return plan(
            rng.random(),
            of=of,
            spread=0.1,
            says=f"Question {number}?",
            turn=turn,
            draw=rng.random(),
            conversation=b"%d" % (number // 4),
        )

    assert share(play(Tiering(TIERS), makes), "large") == pytest.approx(0.3, abs=0.03)


def test_the_share_is_held_where_costs_decide():
    rng = Random(2)
    of = virtual()

    def makes(number):
        return plan(rng.random(), of=of, spread=0.25, conversation=b"%d" % number)

    tiering, found = Tiering(TIERS), []
    for number in range(6000):
        made = makes(number)
        busy = number // 500 % 2
        bids = [bid(SMALL, usd=0.001), bid(LARGE, usd=0.003, cost_s=2.0 * busy * rng.random())]
        picked = pick(made, bids, tiering.steps(made), None, 0.1 * number)
        tiering.took(made, picked, made.options[picked.option].name, 100, 0.1 * number)
        found.append((busy, picked.option))
    late = found[2000:]
    assert sum(option for _, option in late) / len(late) == pytest.approx(0.3, abs=0.03)
    busy, idle = ([option for was, option in late if was == now] for now in (1, 0))
    assert sum(busy) / len(busy) < sum(idle) / len(idle) - 0.05


def test_three_tiers():
    rng, of = Random(3), virtual(SMALL, LARGE, HUGE, target=StrongShare(0.4))
    found = play(
        Tiering(TIERS),
        lambda number: plan(rng.random(), of=of, options=(SMALL, LARGE, HUGE), conversation=b"%d" % number),
    )
    assert share(found, "large", "huge") == pytest.approx(0.4, abs=0.03)
    assert share(found, "huge") == pytest.approx(0.16, abs=0.03)


def test_what_was_asked_for_by_name_is_nobodys_share():
    tiering, rng, of = Tiering(TIERS), Random(4), virtual()
    threshold = tiering.steps(plan(of=of)).cut(1).threshold(0.0)
    play(
        tiering, lambda number: plan(rng.random(), of=of, options=(LARGE,), conversation=b"%d" % number), 500
    )
    assert tiering.steps(plan(of=of)).cut(1).threshold(0.0) == threshold


def test_a_threshold_that_the_request_names():
    tiering = Tiering(TIERS)
    made = plan(0.5, ask=Ask("router-auto-0.4", threshold=0.4))
    found = pick(made, [None, None], tiering.steps(made), None, 0.0)
    assert (found.option, found.threshold) == (1, 0.4)
    tiering.took(made, found, "large", 100, 0.0)
    assert tiering.steps(plan()).cut(1).threshold(0.0) == pytest.approx(0.7, abs=0.02)


def test_a_shadow_learns_what_it_would_have_held():
    rng, tiering, of = Random(5), Tiering(TIERS), virtual(shadow=True)
    wanted = []
    for number in range(5000):
        made = plan(rng.random() ** 4, of=of, conversation=b"%d" % number)
        found = pick(made, [None, None], tiering.steps(made), None, 0.1 * number)
        tiering.took(made, found, "small", 100, 0.1 * number)
        wanted.append(made.options[found.wanted].name)
        assert found.option == 0
    assert share(wanted, "large") == pytest.approx(0.3, abs=0.03)


def test_a_request_that_left_its_tier_counts_where_it_went():
    tiering, made = Tiering(TIERS), plan(0.9)
    cut = tiering.steps(made).cut(1)
    for _ in range(50):
        found = pick(made, [None, None], tiering.steps(made), None, 0.0)
        tiering.took(made, found, "large", 100, 0.0)
    before = cut.threshold(0.0)
    for _ in range(50):
        tiering.moved(made, "large", "small")
    assert cut.threshold(0.0) < before
    tiering.moved(made, "large", "hosted elsewhere")


def test_a_floor_has_the_share_that_its_classifier_was_found_to_need():
    of = virtual(target=QualityFloor(0.95))
    assert Tiering(TIERS, lambda _: Calibrated(0.6, 0.4)).steps(plan(of=of)).cut(1).threshold(
        0.0
    ) == pytest.approx(0.4, abs=0.02)
    assert Tiering(TIERS).steps(plan(of=of)).cut(1).threshold(0.0) == pytest.approx(0.0, abs=0.02)


def test_a_floor_that_is_calibrated_anew_holds_at_once_and_shares_stay():
    tiering = Tiering(TIERS)
    floor, shared = plan(of=virtual(target=QualityFloor(0.95))), plan(of=replace(virtual(), name="other"))
    cuts = tiering.steps(floor).cut(1), tiering.steps(shared).cut(1)
    assert cuts[0].threshold(0.0) == pytest.approx(0.0, abs=0.02)
    tiering.calibrated(lambda _: Calibrated(0.4, 0.5))
    assert tiering.steps(floor).cut(1).threshold(0.0) == pytest.approx(0.5, abs=0.02)
    assert tiering.steps(shared).cut(1) is cuts[1]


def test_a_reload_keeps_what_was_learned_where_the_target_stays():
    tiering = Tiering(TIERS)
    cut = tiering.steps(plan(of=virtual())).cut(1)
    assert tiering.steps(plan(of=virtual(sticky=False))).cut(1) is cut
    other = tiering.steps(plan(of=virtual(target=Threshold(0.5)))).cut(1)
    assert other is not cut
    assert other.threshold(0.0) == 0.5


def test_an_escalated_conversation_does_not_go_below():
    tiering, of = Tiering(TIERS), virtual()
    bids = [bid(SMALL, usd=0.0), bid(LARGE, usd=9.0)]

    def turn(number, score, says):
        made = plan(score, of=of, turn=number, says=says)
        found = pick(made, bids, tiering.steps(made), tiering.sticky.of(made), 0.0)
        tiering.took(made, found, made.options[found.option].name, 100, 0.0)
        return made.options[found.option].name, found.reason

    assert turn(1, 0.1, "How many?") == ("small", "score")
    assert turn(2, None, "That is wrong.") == ("large", "escalated")
    assert turn(3, 0.1, "And how many now?") == ("large", "sticky")
    assert turn(4, 0.1, "And now?") == ("large", "sticky")
