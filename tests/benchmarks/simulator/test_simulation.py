"""The simulator as a whole: requests go through the real core to the real engine model and come out accounted for."""

from dataclasses import replace

import pytest

from balancer.core.scheduling import LeastRequests, RoundRobin
from balancer.core.types import Reads
from balancer.embedded.engine import PROFILES
from benchmarks.simulator.arms import ARMS, Arm
from benchmarks.simulator.figures import figures
from benchmarks.simulator.simulation import Fault, Happening, Setting, at_speed, simulate
from benchmarks.simulator.variants import VARIANTS
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.traffic import EMPTY, Session, Traffic, Turn, Writer

H100 = PROFILES["llama-3.1-8b-h100"]
TWO = Setting((H100, H100))
ROUND_ROBIN = ARMS["round_robin"]


def ask(
    arrival_s: float, prompt_tokens: int = 1_000, output_tokens: int = 10, writer: Writer | None = None
) -> Session:
    text = (writer or Writer()).append(EMPTY, prompt_tokens)
    return Session(arrival_s, "somebody", text.keys, (Turn(prompt_tokens, output_tokens),))


def traffic(*sessions: Session, end_s: float = 10.0) -> Traffic:
    return Traffic(list(sessions), 0.0, end_s)


def unlike(count: int, every_s: float, **lengths: int) -> list[Session]:
    writer = Writer()
    return [ask(n * every_s, writer=writer, **lengths) for n in range(count)]


def small(name: str = "agents", load: float = 0.5) -> Traffic:
    whole = WORKLOADS[name].traffic(load, 2, seed=3)
    sessions = [session for session in whole.sessions if session.arrival_s < 60.0]
    return replace(whole, sessions=sessions, start_s=0.0, end_s=60.0)


def summary(run):
    return [
        (r.arrived_s, r.decision.replica, r.first_token_s, r.finished_s, r.cached_tokens)
        for r in run.requests
    ]


def test_a_lone_request_takes_what_the_engine_says():
    run = simulate(ROUND_ROBIN, traffic(ask(1.0, 8_000, 3)), TWO, 1)
    (request,) = run.requests
    prefill_s = H100.step_s(
        prefill_tokens=8_000, attention=8_000 * 4_000, decode_sequences=0, decode_context_tokens=0
    )
    assert request.first_token_s == pytest.approx(1.0 + prefill_s)
    assert request.finished_s == pytest.approx(1.0 + prefill_s + 2 * H100.base_s, rel=0.01)
    assert request.cached_tokens == 0


def test_a_prompt_sent_again_is_found_in_the_cache_of_the_replica_that_has_it():
    writer = Writer()
    first = ask(0.0, 6_400, writer=writer)
    run = simulate(ARMS["cache_aware"], traffic(first, replace(first, arrival_s=5.0)), TWO, 1)
    cold, warm = run.requests
    assert warm.decision.replica == cold.decision.replica
    assert warm.cached_tokens == 6_400 - 64  # its last block is computed, for the first token comes out of it
    assert warm.decision.reason == "cached"


def test_turns_follow_the_answer_after_the_think_time_and_find_the_conversation_cached():
    writer = Writer()
    prompt = writer.append(EMPTY, 3_200)
    answer = writer.append(prompt, 640)
    following = writer.append(answer, 640)
    turns = (Turn(prompt.tokens, 640), Turn(following.tokens, 10, think_s=2.5))
    run = simulate(ARMS["cache_aware"], traffic(Session(0.0, "u", following.keys, turns), end_s=60), TWO, 1)
    first, second = run.requests
    assert second.arrived_s == pytest.approx(first.finished_s + 2.5)
    assert second.cached_tokens == pytest.approx(
        3_840, abs=64
    )  # the answer too, though nobody told the balancer


def test_no_turn_is_begun_after_the_end_of_arrivals():
    session = Session(0.0, "u", (), (Turn(10, 10), Turn(30, 10, think_s=20.0)))
    assert len(simulate(ROUND_ROBIN, traffic(session, end_s=10), TWO, 1).requests) == 1
    assert len(simulate(ROUND_ROBIN, traffic(session, end_s=30), TWO, 1).requests) == 2


def test_a_parent_waits_for_the_last_of_its_sub_agents():
    children = (ask(0.1, 100, 10), ask(0.2, 100, 400))
    parent = Session(0.0, "p", (), (Turn(50, 5, background=children), Turn(80, 5, think_s=1.0)))
    run = simulate(ROUND_ROBIN, traffic(parent, end_s=60), TWO, 1)
    first, one, other, second = sorted(run.requests, key=lambda request: request.arrived_s)
    assert (one.arrived_s, other.arrived_s) == pytest.approx((first.finished_s + 0.1, first.finished_s + 0.2))
    assert other.finished_s > one.finished_s
    assert second.arrived_s == pytest.approx(other.finished_s + 1.0)


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_every_policy_answers_everything_and_a_seed_replays_it(arm):
    setting = Setting((PROFILES["llama-3.1-70b-4xh100"],) * 2)
    run = simulate(arm, small(), setting, 1)
    assert run.requests
    assert all(request.finished_s is not None for request in run.requests)
    assert summary(simulate(arm, small(), setting, 1)) == summary(run)
    if arm.name != "prefix_hash":  # whose one home for prompts that begin alike is its point
        assert {request.decision.replica for request in run.requests} == {"r0", "r1"}


@pytest.mark.parametrize("arm", ["least_requests", "predicted_latency"])
def test_the_ledger_is_empty_when_all_is_answered(arm):
    states = []

    def keep(around):
        policy = ARMS[arm].make(around)
        joined = policy.joined
        policy.joined = lambda replica: (states.append(replica), joined(replica))
        return policy

    simulate(Arm("kept", keep), small(), replace(TWO, routers=2), 1)
    assert len(states) == 4
    assert [(state.in_flight, state.pending_tokens) for state in states] == [(0, 0)] * 4


def test_the_first_token_releases_the_pending_tokens_and_the_answer_the_request():
    seen = []

    class Watching(LeastRequests):
        reads = Reads.PROMPT

        def choose(self, request, replicas, now):
            seen.append([(r.in_flight, r.pending_tokens) for r in replicas])
            return super().choose(request, replicas, now)._replace(uncached_tokens=request.prompt_tokens)

    run = simulate(
        Arm("watching", lambda _: Watching()),
        traffic(ask(0.0, 3_200, 1_000), ask(0.01, 100, 10), ask(2.0, 100, 10), ask(50.0, 100, 10), end_s=60),
        Setting((H100,)),
        1,
    )
    assert run.requests[0].first_token_s < 2.0 < run.requests[0].finished_s < 50.0
    assert seen == [[(0, 0)], [(1, 3_200)], [(1, 0)], [(0, 0)]]


def samples_of(setting: Setting, at_s: float):
    """What a policy that chooses at that time sees of the one replica's last reading."""
    seen = []

    class Watching(RoundRobin):
        def choose(self, request, replicas, now):
            seen.append(replicas[0].sample)
            return super().choose(request, replicas, now)

    busy = ask(0.5, 1_000, 5_000)
    simulate(Arm("watching", lambda _: Watching()), traffic(busy, ask(at_s), end_s=60), setting, 1)
    return seen[-1]


def test_metrics_are_as_old_as_the_setting_says():
    one = Setting((H100,), sample_every_s=2.0)
    assert samples_of(one, 5.5).taken_at == 4.0
    assert samples_of(one, 5.5).running == 1
    late = replace(one, sample_delay_s=3.0)
    assert samples_of(late, 5.5).taken_at == 2.0
    faults = (Fault(4.5, 0, Happening.STOP), Fault(4.75, 0, Happening.START))
    assert samples_of(replace(one, faults=faults), 7.0).process_start_time_s == 4.75
    assert (
        samples_of(replace(one, capacity_factor=0.5), 5.5).kv_capacity_tokens == H100.kv_capacity_tokens // 2
    )


def test_a_replica_that_dies_loses_the_answers_it_had_begun_and_the_others_go_elsewhere():
    begun, waiting = ask(0.0, 1_000, 5_000), ask(4.99, 8_000, 10)
    faults = (Fault(5.0, 0, Happening.STOP),)
    run = simulate(
        ROUND_ROBIN,
        traffic(begun, ask(0.1, 100, 10), waiting, ask(6.0), ask(7.0)),
        replace(TWO, faults=faults),
        1,
    )
    lost, other, retried, *later = run.requests
    assert lost.lost == "broken in the middle"
    assert other.finished_s is not None
    assert retried.tried == {"r0", "r1"}
    assert [request.decision.replica for request in (retried, *later)] == ["r1"] * 3
    assert all(request.finished_s is not None for request in (retried, *later))
    told = figures(run, 0.0, 10.0, 2)
    assert (told.requests, told.lost, told.unfinished) == (5, 1, 0)


@pytest.mark.parametrize("back_s", [7.5, 5.5], ids=["noticed", "between two probes"])
@pytest.mark.parametrize("arm", ["round_robin", "cache_aware", "predicted_latency"])
def test_a_replica_that_restarts_is_used_again_with_an_empty_cache(arm, back_s):
    writer = Writer()
    same = ask(0.0, 6_400, writer=writer)
    faults = (Fault(5.0, 0, Happening.STOP), Fault(back_s, 0, Happening.START))
    sessions = [replace(same, arrival_s=at_s) for at_s in (1.0, 9.0)]
    before, after = simulate(ARMS[arm], traffic(*sessions), Setting((H100,), faults=faults), 1).requests
    assert (before.cached_tokens, after.cached_tokens) == (0, 0)
    assert after.finished_s is not None
    assert after.decision.matched_tokens == 0  # the policy was told of the restart


def test_with_all_replicas_dead_a_request_is_lost_and_counted():
    faults = (Fault(1.0, 0, Happening.STOP),)
    run = simulate(ROUND_ROBIN, traffic(ask(2.0), ask(3.0)), Setting((H100,), faults=faults), 1)
    assert all(request.lost for request in run.requests)
    assert figures(run, 0.0, 10.0, 1).lost == 2


@pytest.mark.parametrize("arm", ["least_requests", "cache_aware", "predicted_latency"])
def test_a_replica_that_joins_gets_its_share_from_then_on_only(arm):
    setting = replace(TWO, faults=(Fault(5.0, 1, Happening.START),))
    run = simulate(ARMS[arm], traffic(*unlike(100, 0.1, prompt_tokens=6_400)), setting, 1)
    early = {r.decision.replica for r in run.requests if r.dispatched_s < 5.0}
    late = [r.decision.replica for r in run.requests if r.arrived_s > 6.0]
    assert early == {"r0"}
    assert late.count("r1") > 0.3 * len(late)


def test_a_replica_that_is_throttled_takes_longer_from_then_on():
    setting = Setting((H100,), faults=(Fault(5.0, 0, Happening.SLOW, 0.5),))
    before, after = simulate(ROUND_ROBIN, traffic(*unlike(2, 6.0)), setting, 1).requests
    assert after.finished_s - after.arrived_s == pytest.approx(2 * (before.finished_s - before.arrived_s))


def test_a_slower_replica_is_slower_in_everything():
    slow = at_speed(H100, 0.5, kv_share=0.25)
    work = {"prefill_tokens": 100, "attention": 1e6, "decode_sequences": 3, "decode_context_tokens": 9_000}
    assert slow.step_s(**work) == pytest.approx(2 * H100.step_s(**work))
    assert slow.kv_capacity_tokens == H100.kv_capacity_tokens // 4


def test_routers_take_turns_and_each_knows_its_own_requests_alone():
    seen = []

    class Watching(RoundRobin):
        def choose(self, request, replicas, now):
            seen.append(sum(replica.in_flight for replica in replicas))
            return super().choose(request, replicas, now)

    long = unlike(4, 0.01, output_tokens=1_000)
    simulate(Arm("watching", lambda _: Watching()), traffic(*long), replace(TWO, routers=2), 1)
    assert seen == [0, 0, 1, 1]


def test_the_oracle_finds_a_prompt_wherever_it_was_computed():
    writer = Writer()
    session = ask(0.0, 6_400, 2_000, writer=writer)
    again = [replace(session, arrival_s=at_s) for at_s in (3.0, 3.001)]
    run = simulate(ARMS["oracle2"], traffic(session, *again), TWO, 1)
    assert {request.decision.replica for request in run.requests} == {"r0", "r1"}
    assert [request.cached_tokens for request in run.requests] == [0, 6_336, 6_336]


def test_the_oracle_that_sees_steps_goes_round_one_that_has_just_begun():
    busy = [ask(0.0, 100, 2_000), ask(0.05, 100, 2_000)]
    prefill, late = ask(1.0, 8_000, 2), ask(1.02, 100, 2)

    def together(arm):
        *_, first, second = simulate(ARMS[arm], traffic(*busy, prefill, late), TWO, 1).requests
        return first.decision.replica == second.decision.replica

    assert not together("oracle3")


def test_the_oracle_refuses_faults():
    with pytest.raises(ValueError, match="expected no faults"):
        simulate(ARMS["oracle2"], traffic(ask(0.0)), replace(TWO, faults=(Fault(1.0, 0, Happening.STOP),)), 1)


def test_late_binding_sends_the_short_work_before_the_long():
    writer = Writer()
    first = [ask(0.0, 60_000, 10, writer), ask(0.001, 60_000, 10, writer)]
    long, short = ask(0.002, 50_000, 10, writer), ask(0.003, 9_000, 10, writer)

    def run(arm):
        return simulate(ARMS[arm], traffic(*first, long, short, end_s=30), Setting((H100,)), 1).requests

    held, pushed = run("predicted_latency"), run("cache_aware")
    assert held[3].first_token_s < held[2].first_token_s
    assert pushed[3].first_token_s > pushed[2].first_token_s
    assert held[2].dispatched_s > held[2].arrived_s


def test_traffic_that_follows_begins_when_all_before_it_is_answered():
    then = replace(traffic(ask(0.5), end_s=1.0), name="second")
    run = simulate(
        ROUND_ROBIN, replace(traffic(ask(0.0, 1_000, 3_000), end_s=1.0), name="first", then=then), TWO, 1
    )
    first, second = run.requests
    assert first.finished_s > 5.0
    assert second.arrived_s == pytest.approx(first.finished_s + 0.5)
    assert run.windows["second"] == pytest.approx((first.finished_s, first.finished_s + 1.0))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name or "plain")
def test_every_circumstance_can_be_run_to_its_end(variant):
    plain = small()
    run = simulate(ARMS["predicted_latency"], variant.traffic(plain), variant.setting(H100, 4, plain), 1)
    assert run.requests
    assert all(request.lost or request.finished_s is not None for request in run.requests)
    assert set(run.windows) == ({"", "after", "later"} if variant.parted or variant.faults else {""})
