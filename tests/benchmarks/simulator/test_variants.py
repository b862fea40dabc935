"""Circumstances: what each changes, and that it changes nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.speed import PRIOR
from balancer.core.scheduling import LeastRequests
from balancer.embedded.engine import PROFILES
from benchmarks.simulator.arms import ARMS, Arm, Surroundings
from benchmarks.simulator.simulation import Fault, Happening, Setting, simulate
from benchmarks.simulator.variants import AFTER_S, VARIANTS
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.traffic import EMPTY, Session, Traffic, Turn, Writer, rising

H100 = PROFILES["llama-3.1-8b-h100"]


@given(st.lists(st.floats(0, 100), max_size=50).map(sorted), st.floats(0.01, 0.99))
def test_a_rising_rate_keeps_number_order_and_range(arrivals, first):
    warped = rising(arrivals, end_s=100.0, first=first)
    assert warped == sorted(warped)
    assert len(warped) == len(arrivals)
    assert all(-1e-9 <= arrival <= 100.0 + 1e-9 for arrival in warped)


def test_a_rising_rate_grows_evenly_from_its_first_share_to_the_whole():
    warped = rising([n / 100 for n in range(10_000)], end_s=100.0, first=0.25)
    by_tenth = [sum(low <= arrival < low + 10 for arrival in warped) for low in range(0, 100, 10)]
    growth = [later - earlier for earlier, later in zip(by_tenth, by_tenth[1:], strict=False)]
    assert max(growth) - min(growth) <= 4
    assert by_tenth[0] / by_tenth[-1] == pytest.approx(0.2875 / 0.9625, rel=0.01)


@pytest.mark.parametrize("first", [0.0, 1.0, -1.0])
def test_a_rate_that_does_not_rise_is_refused(first):
    with pytest.raises(ValueError, match="first: expected"):
        rising([1.0], end_s=2.0, first=first)


def test_a_ramp_ends_at_the_load_it_is_named_by():
    ramp, workload = VARIANTS["ramp"], WORKLOADS["all_unique"]
    traffic = ramp.traffic(workload.traffic(ramp.share * 1.0, 8, 1))
    last = sum(session.arrival_s >= 0.9 * traffic.end_s for session in traffic.sessions)
    assert last / (0.1 * traffic.end_s) == pytest.approx(0.9625 * 8 * workload.capacity, rel=0.12)


def test_join_and_its_reference_meet_the_same_arrivals_in_the_same_windows():
    join, joined = VARIANTS["join"], VARIANTS["joined"]
    plain = WORKLOADS["all_identical"].traffic(join.share, 8, 1)
    assert join.share == joined.share
    assert join.traffic(plain) == joined.traffic(plain)
    start_s, end_s = join.traffic(plain).stages["after"]
    assert end_s - start_s == AFTER_S
    assert {fault.at_s for fault in join.setting(H100, 8, plain).faults} == {start_s}
    assert joined.setting(H100, 8, plain) == Setting((H100,) * 8)


@pytest.mark.parametrize(("variant", "factor"), [("told_3x_speed", 3.0), ("told_third_speed", 1 / 3)])
def test_a_policy_that_learns_speeds_begins_from_wrong_ones(variant, factor):
    plain = WORKLOADS["all_identical"].traffic(0.1, 2, 1)
    setting = VARIANTS[variant].setting(H100, 2, plain)
    seen = []

    def make(around):
        seen.append(around.told_speed)
        return LeastRequests()

    simulate(Arm("watching", make), Traffic([], 0.0, 1.0), setting, 1)
    assert seen == [pytest.approx(factor)]


def test_told_speeds_are_those_of_every_cost(monkeypatch):
    told = []
    monkeypatch.setattr("benchmarks.simulator.arms.PredictedLatency", lambda _, prior: told.append(prior))
    ARMS["predicted_latency"].make(Surroundings({}, lambda: 0.5, 2.0))
    assert told == [pytest.approx([cost / 2 for cost in PRIOR])]


def ask(arrival_s: float, output_tokens: int) -> Session:
    text = Writer().append(EMPTY, 1_000)
    return Session(arrival_s, "somebody", text.keys, (Turn(1_000, output_tokens),))


def watched(setting: Setting, *sessions: Session):
    """What in-flight requests had told of their first token when the last one came, and the run."""
    told, charges = [], []

    class Watching(LeastRequests):
        def dispatched(self, charge, now):
            told[:] = [(before.first_token_at, before.pending_tokens) for before in charges]
            charges.append(charge)
            super().dispatched(charge, now)

    run = simulate(Arm("watching", lambda _: Watching()), Traffic(list(sessions), 0.0, 60.0), setting, 1)
    return told, charges, run


def test_a_balancer_hears_no_first_token_of_answers_in_one_piece():
    silent = VARIANTS["silent"].setting(H100, 1, Traffic([], 0.0, 1.0))
    told, charges, run = watched(silent, ask(0.0, 2_000), ask(5.0, 2))
    assert [first for first, _ in told] == [None]
    assert all(charge.ended_at is not None and charge.first_token_at is None for charge in charges)
    assert [request.view.stream for request in run.requests] == [False, False]
    assert run.requests[0].first_token_s < 1.0  # the engine's own, still measured
    told, *_ = watched(replace(silent, streaming=True), ask(0.0, 2_000), ask(5.0, 2))
    assert told[0][0] is not None


def test_an_answer_in_one_piece_whose_replica_dies_is_asked_for_again():
    faults = (Fault(5.0, 0, Happening.STOP),)
    _, _, run = watched(Setting((H100, H100), streaming=False, faults=faults), ask(0.0, 2_000))
    (request,) = run.requests
    assert not request.lost
    assert request.first_token_s > 5.0
    assert request.decision.replica == "r1"
