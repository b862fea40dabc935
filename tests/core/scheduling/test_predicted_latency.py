"""predicted_latency in hand-made situations: what it weighs, when it waits, who goes next, and how it reads replicas."""

from dataclasses import replace

import pytest

from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.speed import PRIOR, Coefficients
from balancer.core.scheduling import Charge
from balancer.core.scheduling.lane import FIRST_SEATS, OPEN_S
from balancer.core.scheduling.predicted_latency import AGEING, PASSED_OVER, PredictedLatency
from balancer.core.types import EngineSample, RouteKind, Usage
from tests.core.scheduling.stage import BLOCK, Stage, asked

LONG = "abcdefghij" * 20
"""12,800 tokens: 0.77 s at the speed that is assumed at first."""


@pytest.fixture
def stage():
    return Stage(lambda index, _: PredictedLatency(index), 2)


def reading(stage, **figures):
    return EngineSample(stage.now, **figures)


def test_the_replica_that_holds_the_prompt_is_sooner(stage):
    stage.hold(LONG, "b")
    decision = stage.choose(LONG + "z")
    assert (decision.replica, decision.reason) == ("b", "cached")
    assert decision.matched_tokens == BLOCK * len(LONG)
    assert [candidate.replica for candidate in decision.candidates] == ["b", "a"]


def test_the_receipt_tells_what_costs_are_made_of(stage):
    stage.hold("sys", "b")
    stage.send(LONG, "a")
    stage.send("sys", "b").first_token(stage.now)
    receipt = {candidate.replica: candidate for candidate in stage.choose("sysq").candidates}
    for candidate in receipt.values():
        assert sum(candidate.parts) == pytest.approx(candidate.cost)
    assert receipt["a"].parts.wait_s > receipt["b"].parts.wait_s == 0
    assert receipt["a"].parts.work_s > receipt["b"].parts.work_s > 0
    assert receipt["b"].parts.harm_s > 0


def test_computing_it_again_beats_a_long_queue(stage):
    stage.hold("abcd", "b")
    stage.send(LONG, "b")
    decision = stage.choose("abcd")
    assert (decision.replica, decision.reason) == ("a", "cached_elsewhere_but_busy")


def test_a_short_queue_is_waited_for(stage):
    stage.hold(LONG, "b")
    stage.send("xyz", "b")
    assert stage.choose(LONG).replica == "b"


def test_what_all_hold_gives_no_preference(stage):
    for name in "ab":
        stage.hold("sys", name)
    stage.send(LONG, "a")
    decision = stage.choose("sysq")
    assert (decision.replica, decision.reason) == ("b", "cached_everywhere")


def test_a_queue_shrinks_while_time_passes(stage):
    stage.send(LONG, "a")
    first = next(c.parts.wait_s for c in stage.choose("q").candidates if c.replica == "a")
    stage.now += 0.3
    later = next(c.parts.wait_s for c in stage.choose("q").candidates if c.replica == "a")
    assert 0 < later < first


def slow_and_fast(slow=4):
    """A replica `a` so many times slower than `b`, and both known as such."""
    stage = Stage(lambda index, _: PredictedLatency(index), 2)
    for turn in range(40):
        for name, speed in (("a", slow), ("b", 1)):
            charge = stage.send(f"{turn:03}{name}xyzuvw", name)
            prefill_s = speed * charge.uncached_tokens * PRIOR.prefill
            charge.first_token(stage.now + speed * PRIOR.base + prefill_s)
            charge.release(stage.now + speed * (31 * PRIOR.base) + prefill_s, Usage(640, 30))
        stage.now += 1
    return stage


def test_a_slow_replica_is_known_after_its_answers():
    stage = slow_and_fast()
    assert stage.often(LONG) == {"b"}
    costs = {c.replica: c.cost for c in stage.choose(LONG).candidates}
    assert costs["a"] > 2.5 * costs["b"]


def one_at_a_time(stage, prompts, session=None):
    """Where they go, if each has been answered when the next comes."""
    went = []
    for prompt in prompts:
        charge = stage.send(prompt, session=session)
        went.append(charge.replica.id)
        charge.release(stage.now)
    return went


@pytest.mark.parametrize("session", [None, "s"])
def test_an_idle_replica_that_seemed_slow_is_asked_again_soon_however_fast_requests_come(session):
    went = one_at_a_time(slow_and_fast(20), (f"{n:04}xyz" for n in range(200)), session)
    assert 1 < went.count("a") <= 200 / (2 * PASSED_OVER) + 1


def test_what_seemed_slow_is_not_asked_again_while_it_is_busy():
    stage = slow_and_fast(20)
    stage.send(LONG, "a")
    assert one_at_a_time(stage, (f"{n:04}xyz" for n in range(200))) == ["b"] * 200


def test_what_seemed_slow_is_not_asked_again_by_one_that_is_cached_elsewhere():
    stage = slow_and_fast(20)
    stage.hold(LONG, "b")
    assert one_at_a_time(stage, [LONG] * 200) == ["b"] * 200


def test_the_prediction_is_of_the_first_token(stage):
    decision = stage.choose(LONG)
    uncached = BLOCK * len(LONG)
    assert decision.predicted_s == pytest.approx(
        PRIOR.request + PRIOR.base + uncached * PRIOR.prefill + PRIOR.attention * uncached**2 / 2, rel=0.05
    )


def test_a_prior_can_be_given():
    slow = Stage(lambda index, _: PredictedLatency(index, Coefficients(*(3 * x for x in PRIOR))), 2)
    fast = Stage(lambda index, _: PredictedLatency(index), 2)
    assert slow.choose(LONG).predicted_s == pytest.approx(3 * fast.choose(LONG).predicted_s)


# -- homes


def test_a_cold_conversation_has_the_same_home_in_every_balancer():
    stages = [Stage(lambda index, _: PredictedLatency(index), 4) for _ in range(2)]
    homes = [[stage.choose("abc", f"session {n}").replica for n in range(40)] for stage in stages]
    assert homes[0] == homes[1]
    assert len(set(homes[0])) == 4


def test_homes_are_spread_evenly_from_the_start():
    stage = Stage(lambda index, _: PredictedLatency(index), 3)
    for group in "uvwxyz":
        stage.send(group + "abc", session=f"session {group}").release(stage.now)
        stage.now += 1
    assert {state.id: stage.index.held_blocks(state.slot) for state in stage.fleet} == {
        "a": 8,
        "b": 8,
        "c": 8,
    }


def test_a_home_that_is_busy_is_left():
    stage = Stage(lambda index, _: PredictedLatency(index), 4)
    home = stage.choose("abc", "s").replica
    stage.send(LONG, home)
    assert stage.choose("abc", "s").replica != home


# -- late binding


def test_nothing_waits_while_some_replica_has_little_to_do(stage):
    stage.send(LONG, "a")
    assert not stage.choose("q").wait


def test_a_request_waits_for_a_replica_that_has_long_to_go(stage):
    for name in "ab":
        stage.send(LONG, name)
    assert BLOCK * len(LONG) * PRIOR.prefill > OPEN_S
    assert stage.choose("q").wait


def test_a_request_without_a_prompt_never_waits(stage):
    for name in "ab":
        stage.send(LONG, name)
    assert not stage.choose("").wait


def test_a_full_cache_is_waited_for(stage):
    for name in "ab":
        stage.policy.sized(stage[name], 10_000)
        stage.send("abc", name).first_token(stage.now)
        stage[name].sample = reading(stage, kv_usage=0.99)
    assert stage.choose("q").wait
    for name in "ab":
        stage[name].sample = reading(stage, kv_usage=0.5)
    assert not stage.choose("q").wait


def test_a_reading_that_is_too_old_says_nothing(stage):
    for name in "ab":
        stage.policy.sized(stage[name], 10_000)
        stage.send("abc", name).first_token(stage.now)
        stage[name].sample = reading(stage, kv_usage=0.99)
    assert stage.choose("q").wait
    stage.now += 60
    for name in "ab":
        stage.send("a", name).release(stage.now)
    assert not stage.choose("q").wait


def test_seats_are_counted_where_the_engine_shows_them(stage):
    for name in "ab":
        for _ in range(20):
            stage.send("a", name).first_token(stage.now)
    assert not stage.choose("q").wait
    for _ in range(5):  # the same 16 run while others wait, and there is memory
        for name in "ab":
            stage[name].sample = reading(stage, kv_usage=0.3, running=16, waiting=4)
        stage.choose("q")
    assert stage.choose("q").wait


def test_more_seats_than_were_believed_are_seen(stage):
    lane = stage.policy._lanes[stage["a"].slot]
    stage["a"].sample = reading(stage, kv_usage=0.3, running=FIRST_SEATS + 1, waiting=0)
    stage.choose("q")
    assert lane.seats > FIRST_SEATS + 1


class Waiters:
    """A stage whose replicas are busy, and its line."""

    def __init__(self, stage):
        self.stage = stage
        self.line = Line(Fleet(stage.fleet), stage.policy)
        self.busy = {name: stage.send(LONG + name, name) for name in "ab"}

    def join(self, text, **standing):
        request = replace(asked(text), **standing)
        decision = self.stage.policy.choose(request, self.stage.fleet, self.stage.now)
        assert decision.wait
        return self.line.join(request, decision, self.stage.now)

    def free(self, name):
        self.busy.pop(name).release(self.stage.now)

    def released(self):
        """Who goes now, in order, each sent before the next is asked for."""
        gone = []
        for waiting, decision in self.line.release(self.stage.now):
            gone.append(waiting)
            Charge(waiting.request, self.stage[decision.replica], decision, self.stage.policy, self.stage.now)
        return gone


def test_least_work_goes_first(stage):
    waiters = Waiters(stage)
    long, short = waiters.join("x" + LONG), waiters.join("xyz")
    assert waiters.released() == []
    for name in "ab":
        waiters.free(name)
    stage.now += 0.2
    assert waiters.released() == [short, long]
    assert len(waiters.line) == 0


def test_turns_go_before_least_work(stage):
    waiters = Waiters(stage)
    short, long = waiters.join("xyz"), waiters.join("x" + LONG, deadline=1e6)
    urgent = waiters.join("y" + LONG, priority=-1)
    for name in "ab":
        waiters.free(name)
    gone = []
    for _ in range(3):
        stage.now += 20
        gone += waiters.released()
        for state in stage.fleet:
            state.pending_tokens = 0
    assert gone == [urgent, long, short]


def test_a_limit_holds_and_an_idle_replica_is_no_worse_for_being_small(stage):
    for state in stage.fleet:
        state.max_in_flight = 1
    stage.send("x", "a").first_token(stage.now)
    assert stage.choose("x").replica == "b"
    stage.send("y", "b").first_token(stage.now)
    assert stage.choose("x").wait
    promptless = asked("")
    assert not promptless.prompt_tokens
    assert stage.policy.choose(promptless, stage.fleet, stage.now).wait


def test_who_has_waited_long_goes_before_less_work(stage):
    waiters = Waiters(stage)
    long = waiters.join("x" + LONG)
    stage.now += 2 * BLOCK * len(LONG) * PRIOR.prefill / AGEING
    for charge in list(waiters.busy.values()):
        charge.release(stage.now)
    for name in "ab":
        waiters.busy[name] = stage.send(LONG + name + "w", name)
    short = waiters.join("xyz")
    for name in "ab":
        waiters.free(name)
    assert waiters.released() == [long, short]


def test_a_replica_that_opens_takes_what_waits_for_another(stage):
    stage.hold("abcd", "a")
    waiters = Waiters(stage)
    waiting = waiters.join("abcdq")
    placed = waiting.decision.replica
    waiters.free("b" if placed == "a" else "a")
    stage.now += 0.15
    assert waiters.released() == [waiting]
    assert waiting.decision.replica != placed


def test_who_waits_for_a_replica_that_is_gone_is_placed_anew(stage):
    waiters = Waiters(stage)
    waiting = waiters.join("xyz")
    gone = waiting.decision.replica
    stage.fleet = [state for state in stage.fleet if state.id != gone]
    waiters.line = Line(Fleet(stage.fleet), stage.policy)
    waiters.line.join(waiting.request, waiting.decision, stage.now)
    waiters.free("b" if gone == "a" else "a")
    (moved,) = waiters.released()
    assert moved.decision.replica != gone


# -- answers that do not stream


def test_a_socket_that_stays_open_makes_no_replica_look_late(stage):
    stage.send("", "a")
    stage.now += 3600
    costs = {c.replica: c.cost for c in stage.choose("q").candidates}
    assert costs["a"] < costs["b"] + 0.1


def test_an_embedding_teaches_the_speed_of_prefill(stage):
    for turn in range(60):
        request = asked(f"{turn:03}xyzuvw" * 10)
        request.route, request.stream = RouteKind.EMBEDDINGS, False
        decision = stage.policy.choose(request, [stage["a"]], stage.now)
        charge = Charge(request, stage["a"], decision, stage.policy, stage.now)
        stage.now += 5 * charge.uncached_tokens * PRIOR.prefill
        charge.release(stage.now, Usage(request.prompt_tokens, 0))
    assert stage.policy._lanes[stage["a"].slot].speed.now.prefill > 3 * PRIOR.prefill


def test_replicas_learn_from_those_of_their_model_alone():
    stage = Stage(lambda index, _: PredictedLatency(index), 3)
    stage["c"].models = frozenset({"other"})
    for turn in range(40):
        charge = stage.send(f"{turn:03}xyzuvw" * 20, "a")
        stage.now += 6 * charge.uncached_tokens * PRIOR.prefill
        charge.first_token(stage.now)
        charge.release(stage.now, Usage(640, 1))
    stage.send("q", "b").release(stage.now)
    stage.send("q", "c").release(stage.now)
    cost = {c.replica: c.parts.work_s for c in stage.choose(LONG).candidates}
    assert cost["b"] > 3 * cost["c"]


def test_a_silent_answer_is_taken_to_decode_when_its_first_token_was_due(stage):
    request = asked(LONG)
    request.stream = False
    decision = stage.policy.choose(request, [stage["a"]], stage.now)
    Charge(request, stage["a"], decision, stage.policy, stage.now)
    assert stage["a"].pending_tokens == BLOCK * len(LONG)
    stage.now += 2 * decision.predicted_s
    stage.choose("q")
    assert stage["a"].pending_tokens == 0
    assert stage["a"].in_flight == 1


def test_silent_answers_teach_speed_too():
    stage = Stage(lambda index, _: PredictedLatency(index), 2)
    for turn in range(60):
        for name, speed in (("a", 4), ("b", 1)):
            request = asked(f"{turn:03}{name}xyzuvw")
            request.stream = False
            decision = stage.policy.choose(request, [stage[name]], stage.now)
            charge = Charge(request, stage[name], decision, stage.policy, stage.now)
            stage.policy.choose(asked("q"), stage.fleet, stage.now + 5)
            charge.release(
                stage.now + speed * (charge.uncached_tokens * PRIOR.prefill + 300 * PRIOR.base),
                Usage(640, 300),
            )
        stage.now += 14
    costs = {c.replica: c.cost for c in stage.choose("q").candidates}
    assert costs["a"] > 1.5 * costs["b"]
