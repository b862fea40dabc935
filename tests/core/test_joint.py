"""Tier and replica in one choice, through the decider's door."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.core.admission import Limits
from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import RoundRobin
from balancer.core.scheduling.predicted_latency import PredictedLatency
from balancer.core.tiering.memory import Tiering
from balancer.core.tiering.types import Ask, Fallback, Tier, Trouble
from balancer.core.types import Health, ReplicaId, RouteKind, Usage
from tests.core.states import replica, request
from tests.core.tiering.plans import HUGE, LARGE, SMALL, TIERS, plan, virtual

NOBODY = frozenset()
ANY = frozenset(Trouble)


def latency():
    return PredictedLatency(PrefixIndex(10_000))


def decider(*states, policy=None, tiers=TIERS, **limits):
    fleet = states or (replica("s0", models=["small-model"]), replica("l0", models=["large-model"]))
    made = policy or latency()
    return Decider(Fleet(fleet), made, HealthPolicy(), Limits(**limits), Tiering(tiers))


def chosen(made, asked=None, *, view=None, tried=NOBODY, now=0.0, **rest):
    return made.choose(asked or plan(**rest), view or request(1, 2, 3, model="auto"), frozenset(tried), now)


def told(choice):
    return choice.tier.name, choice.decision.replica, choice.reason


def body(model, text="What is it? " * 100, **rest):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **rest}).encode()


# -- what is sent


@pytest.mark.parametrize("salt", [{}, {"cache_salt": "s"}])
def test_the_request_is_asked_of_the_tiers_model_as_if_it_had_named_it(salt):
    made = decider()
    view = made.understand(RouteKind.CHAT, body("auto", **salt), None)
    view.tenant = "t"
    sent = chosen(made, plan(0.9), view=view).request
    direct = made.understand(RouteKind.CHAT, body("large-model", **salt), None)
    assert (sent.model, sent.block_keys, sent.prompt_tokens) == (
        "large-model",
        direct.block_keys,
        direct.prompt_tokens,
    )
    assert sent.tenant == "t"
    assert view.model == "auto"


def test_tokens_are_those_of_the_tiers_model():
    made = decider()
    for _ in range(50):
        made.tokens.observe("large-model", 2000, 1000)
    view = made.understand(RouteKind.CHAT, body("auto"), None)
    assert chosen(made, plan(0.9), view=view).request.prompt_tokens > 1.5 * view.prompt_tokens


def test_a_prompt_is_kept_only_where_tiers_are_configured():
    plain = Decider(Fleet([replica("a")]), latency(), HealthPolicy())
    assert plain.understand(RouteKind.CHAT, body("m"), None).prompt is None
    assert decider().understand(RouteKind.CHAT, body("m"), None).prompt is not None


def test_what_was_sent_is_cached_for_who_names_the_model():
    made = decider()
    view = made.understand(RouteKind.CHAT, body("auto"), None)
    choice = chosen(made, plan(0.9), view=view)
    made.ended(made.dispatch(choice.request, choice.decision, 0.0), 1.0, Usage(300, 10))
    direct = made.decide(made.understand(RouteKind.CHAT, body("large-model"), None), NOBODY, 2.0)
    assert direct.matched_tokens > 0
    assert chosen(made, plan(0.9), view=view, now=2.0).offers[1].uncached_tokens < 100


def test_the_receipt_tells_what_each_tier_offered():
    choice = chosen(decider(), plan(0.9))
    assert [offer.tier.name for offer in choice.offers] == ["small", "large"]
    for offer in choice.offers:
        assert offer.usd > 0
        assert offer.cost_s > 0
        assert offer.ttft_s > 0
    assert choice.offers[1].usd > choice.offers[0].usd
    assert choice.threshold == pytest.approx(0.7, abs=0.02)
    assert choice.decision.candidates[0].replica == "l0"


def test_an_answer_that_the_request_bounds_costs_no_more_than_that():
    made = plan(0.9)
    made.text = made.text.__class__("x", 1, answer_tokens=4)
    bounded, free = chosen(decider(), made), chosen(decider(), plan(0.9))
    assert bounded.offers[1].usd < free.offers[1].usd


def test_a_policy_that_counts_in_no_seconds_is_asked_once_and_of_the_tier_alone():
    policy = RoundRobin()
    states = [replica(f"{name}{n}", models=[f"{name}-model"]) for name in ("small", "large") for n in (0, 1)]
    made = decider(*states, policy=policy)
    found = [chosen(made, plan(0.9)).decision.replica for _ in range(4)]
    assert found == ["large0", "large1", "large0", "large1"]
    assert chosen(made, plan(0.9)).offers == ()


# -- replicas of a tier


def among(name, *ids):
    return Tier(name, "m", replicas=frozenset(ReplicaId(each) for each in ids), price=SMALL.price)


def test_a_tier_may_be_some_replicas_of_a_model():
    cheap, fast = among("cheap", "a", "b"), among("fast", "c")
    made = decider(*(replica(each) for each in "abc"), tiers={"cheap": cheap, "fast": fast})
    of = virtual(cheap, fast, default="cheap")
    assert told(chosen(made, plan(0.9, of=of, options=(cheap, fast))))[:2] == ("fast", "c")
    assert chosen(made, plan(0.1, of=of, options=(cheap, fast))).decision.replica in {"a", "b"}


@pytest.mark.parametrize("policy", [RoundRobin, latency], ids=["round_robin", "predicted_latency"])
def test_who_waits_for_a_tier_goes_to_its_replicas(policy):
    cheap, fast = among("cheap", "a"), among("fast", "b")
    states = [replica("a", max_in_flight=1), replica("b", max_in_flight=1)]
    made = decider(*states, policy=policy(), tiers={"cheap": cheap, "fast": fast})
    of = virtual(cheap, fast, default="cheap")
    charges, waiting = {}, {}
    for score, name in [(0.1, "a"), (0.9, "b"), (0.1, "a"), (0.9, "b")]:
        choice = chosen(made, plan(score, of=of, options=(cheap, fast)))
        if choice.decision.wait:
            waiting[made.line.join(choice.request, choice.decision, 0.0)] = name
        else:
            charges[name] = made.dispatch(choice.request, choice.decision, 0.0)
    assert sorted(waiting.values()) == ["a", "b"]
    assert list(made.line.release(1.0)) == []
    made.ended(charges["b"], 1.0, None)
    ((found, decision),) = made.line.release(1.0)
    assert (waiting[found], decision.replica) == ("b", "b")


def test_a_full_line_of_one_tier_is_not_anothers():
    cheap, fast = among("cheap", "a"), among("fast", "b")
    states = [replica("a", max_in_flight=1), replica("b", max_in_flight=1)]
    made = decider(*states, tiers={"cheap": cheap, "fast": fast}, max_waiting=1)
    of = virtual(cheap, fast, default="cheap")
    for _ in range(2):
        choice = chosen(made, plan(0.1, of=of, options=(cheap, fast)))
        if choice.decision.wait:
            made.line.join(choice.request, choice.decision, 0.0)
        else:
            made.dispatch(choice.request, choice.decision, 0.0)
    asked = plan(0.1, of=of, options=(cheap, fast))
    assert told(chosen(made, asked)) == ("fast", "b", "fallback")
    assert asked.left == [("cheap", Trouble.SATURATED)]


# -- trouble


def test_a_tier_that_nobody_serves_is_left_for_the_next():
    asked = plan(0.9)
    made = decider(
        replica("s0", models=["small-model"]), replica("l0", models=["large-model"], draining=True)
    )
    assert told(chosen(made, asked)) == ("small", "s0", "fallback")
    assert asked.left == [("large", Trouble.FAILING)]


def test_a_chain_goes_before_the_other_options_for_its_troubles_alone():
    states = [
        replica("s0", models=["small-model"]),
        replica("l0", models=["large-model"], draining=True),
        replica("h0", models=["huge-model"]),
    ]
    failing = plan(0.9, chain=(Fallback("huge", frozenset({Trouble.FAILING})),))
    assert told(chosen(decider(*states), failing)) == ("huge", "h0", "fallback")
    saturated = plan(0.9, chain=(Fallback("huge", frozenset({Trouble.SATURATED})),))
    assert told(chosen(decider(*states), saturated)) == ("small", "s0", "fallback")


def test_the_stronger_options_go_before_the_weaker():
    states = [
        replica("s0", models=["small-model"]),
        replica("l0", models=["large-model"], draining=True),
        replica("h0", models=["huge-model"]),
    ]
    asked = plan(0.8, of=virtual(SMALL, LARGE, HUGE), options=(SMALL, LARGE, HUGE))
    assert told(chosen(decider(*states), asked))[0] == "huge"


def test_nobody_falls_back_who_did_not_want_to():
    made = decider(
        replica("s0", models=["small-model"]), replica("l0", models=["large-model"], draining=True)
    )
    chain = (Fallback("huge", ANY),)
    with pytest.raises(Refused) as refused:
        chosen(made, plan(0.9, ask=Ask("auto", allow_fallbacks=False)))
    assert refused.value.status == 503
    with pytest.raises(Refused):
        chosen(made, plan(0.9, options=(LARGE,), of=virtual(), chain=chain))


def test_a_tier_that_is_only_full_is_taken_where_nobody_else_is_left():
    made = decider(
        replica("s0", models=["small-model"], draining=True),
        replica("l0", models=["large-model"], max_in_flight=1),
        max_waiting=0,
    )
    first = chosen(made, plan(0.9))
    made.dispatch(first.request, first.decision, 0.0)
    choice = chosen(made, plan(0.9))
    assert told(choice) == ("large", "l0", "score")
    with pytest.raises(Refused) as refused:
        made.line.join(choice.request, choice.decision, 0.0)
    assert refused.value.retry_after_s is not None


def test_a_wait_that_is_longer_than_it_may_be_is_trouble():
    states = [replica("s0", models=["small-model"]), replica("l0", models=["large-model"])]
    made = decider(*states, max_wait_s=1.0)
    for number in range(60):
        view = request(*range(1000 * number, 1000 * number + 500), model="large-model")
        made.dispatch(view, made.decide(view, NOBODY, 0.0), 0.0)
    asked = plan(0.9)
    assert told(chosen(made, asked)) == ("small", "s0", "fallback")
    assert asked.left == [("large", Trouble.SATURATED)]


# -- another attempt


def test_another_attempt_is_made_in_the_same_tier_on_another_replica():
    states = [replica(each, models=["large-model"]) for each in ("l0", "l1")]
    made, asked = decider(replica("s0", models=["small-model"]), *states), plan(0.9)
    first = chosen(made, asked)
    second = chosen(made, asked, tried={first.decision.replica})
    assert second.tier.name == "large"
    assert {first.decision.replica, second.decision.replica} == {"l0", "l1"}
    assert second.reason == first.reason
    third = chosen(made, asked, tried={"l0", "l1"})
    assert told(third) == ("small", "s0", "fallback")
    assert asked.left == [("large", Trouble.FAILING)]
    with pytest.raises(Refused):
        chosen(made, asked, tried={"l0", "l1", "s0"})


def test_who_says_that_a_tier_was_left_gets_the_next_of_its_chain():
    asked = plan(0.9, chain=(Fallback("huge", frozenset({Trouble.TIMEOUT})),))
    made = decider(
        replica("s0", models=["small-model"]),
        replica("l0", models=["large-model"]),
        replica("h0", models=["huge-model"]),
    )
    assert told(chosen(made, asked))[0] == "large"
    asked.left.append(("large", Trouble.TIMEOUT))
    assert told(chosen(made, asked)) == ("huge", "h0", "fallback")
    asked.left.append(("huge", Trouble.LIMITED))
    assert told(chosen(made, asked)) == ("small", "s0", "fallback")


@given(troubles=st.lists(st.sampled_from(Trouble), min_size=6, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_tier_is_asked_twice_whatever_goes_wrong(troubles, seed):
    rng = Random(seed)
    states = [
        replica(tier.name, models=[tier.model], draining=rng.random() < 0.3) for tier in (SMALL, LARGE, HUGE)
    ]
    chain = tuple(Fallback(rng.choice(["small", "large", "huge", "gone"]), ANY) for _ in range(4))
    asked, seen = plan(rng.random(), chain=chain), []
    made = decider(*states)
    for trouble in troubles:
        try:
            seen.append(chosen(made, asked).tier.name)
        except Refused:
            break
        asked.left.append((seen[-1], trouble))
    assert len(seen) == len(set(seen))
    left = [name for name, _ in asked.left]
    assert len(left) == len(set(left))


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=8), trouble=st.sampled_from(Trouble))
@settings(max_examples=30, deadline=None)
def test_nobody_goes_below_the_tiers_that_rules_left(scores, trouble):
    """Whatever it costs, whatever goes wrong, in whatever conversation."""
    made = decider(*(replica(tier.name, models=[tier.model]) for tier in (SMALL, LARGE, HUGE)))
    of = virtual(SMALL, LARGE, HUGE)
    for turn, score in enumerate(scores, 1):
        asked = plan(score, of=of, options=(LARGE, HUGE), spread=0.2, turn=turn, says=f"Question {turn}?")
        assert chosen(made, asked).tier.name in {"large", "huge"}
        asked.left.append((asked.choice.tier.name, trouble))
        assert chosen(made, asked).tier.name in {"large", "huge"}


def test_the_share_counts_where_a_request_really_went():
    def chance(*, leaves):
        made = decider()
        for number in range(60):
            asked = plan(0.9, conversation=b"%d" % number)
            if chosen(made, asked).tier.name == "large" and leaves:
                asked.left.append(("large", Trouble.TIMEOUT))
                chosen(made, asked)
        return made.tiering.steps(plan()).cut(1).chance(0.9, 0.0)

    assert chance(leaves=True) > chance(leaves=False)


def test_an_ejected_tier_is_not_offered_while_another_is():
    state = replica("l0", models=["large-model"], health=Health.ASLEEP)
    assert chosen(decider(replica("s0", models=["small-model"]), state), plan(0.9)).tier.name == "small"


# -- nothing but the choice changes anything


class Quoted(PredictedLatency):
    """Asks for quotes that nobody takes, before each choice."""

    def choose(self, request, replicas, now):
        for asked in (replicas, replicas[:1], replicas[1:] or replicas):
            self.quote(request, asked, now)
        return super().choose(request, replicas, now)


def play(policy, steps):
    """Everything that was decided."""
    made = Decider(Fleet([replica(f"r{n}") for n in range(4)]), policy, HealthPolicy())
    now, running, found = 0.0, [], []
    for kind, number, passed in steps:
        now += passed
        if kind < 6:
            view = request(*range(number, number + 1 + number % 7))
            decision = made.decide(view, NOBODY, now)
            found.append((decision._replace(candidates=()), list(decision.candidates)))
            if decision.wait:
                made.line.join(view, decision, now)
            else:
                running.append(made.dispatch(view, decision, now))
        elif running and kind < 8:
            running[number % len(running)].first_token(now)
        elif running:
            made.ended(running.pop(number % len(running)), now, Usage(64, 10))
        for waiting, decision in made.line.release(now):
            found.append(decision._replace(candidates=()))
            running.append(made.dispatch(waiting.request, decision, now))
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.floats(0, 0.5)), min_size=10, max_size=120)
)
def test_quotes_change_no_decision(steps):
    index = PrefixIndex(10_000), PrefixIndex(10_000)
    assert play(PredictedLatency(index[0]), steps) == play(Quoted(index[1]), steps)
