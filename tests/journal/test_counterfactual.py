"""What a replay says of another policy, against what the simulator says of it: the same requests, really sent as it has them."""

from functools import cache, partial

import numpy as np
import pytest

from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health
from balancer.embedded.engine import PROFILES
from balancer.journal.counterfactual import Counterfactual, Outcomes
from balancer.journal.opening import policy_of
from balancer.journal.recorder import Recorder
from balancer.journal.report import compared, told_of_other
from benchmarks.simulator.arms import ARMS
from benchmarks.simulator.simulation import Setting, Simulation
from benchmarks.workloads import WORKLOADS
from tests.core.states import replicas
from tests.journal.tapes import Tape, recorder, replayed
from tests.journal.test_files import a_life_of

REPLICAS = 4
WORKLOAD = WORKLOADS["fresh_questions"]


class Recorded(Simulation):
    tape = None

    def _decider(self, surroundings):
        if self.tape is None:
            return super()._decider(surroundings)
        states = (ReplicaState(replica, "", health=Health.UNKNOWN) for replica in self._replicas)
        facts = {"run": "x", "policy": self._arm.name, "seed": 1, "index_max_blocks": 1_000_000}
        self.recorder = Recorder(Fleet(states), policy_of(facts), HealthPolicy(), self.tape, facts)
        return self.recorder


def simulated(policy, tape=None):
    """TTFTs, and the share of the prompts that was cached."""
    traffic = WORKLOAD.at(0.7 * WORKLOAD.capacity * REPLICAS, REPLICAS, 1, duration_s=60, settle_s=20)
    made = type("Recorded", (Recorded,), {"tape": tape})
    simulation = made(ARMS[policy], traffic, Setting((PROFILES[WORKLOAD.hardware],) * REPLICAS), 1)
    requests = [each for each in simulation.run().requests if each.first_token_s is not None]
    if tape is not None:
        simulation.recorder.flush()
    cached = sum(each.cached_tokens or 0 for each in requests)
    hits = cached / sum(each.view.prompt_tokens for each in requests)
    return np.array([each.first_token_s - each.arrived_s for each in requests]), hits


@cache
def journal_of(policy):
    tape = Tape()
    return simulated(policy, tape), tuple(tape.events())


def other_of(events, recorded, other):
    outcomes = Outcomes()
    for event in events:
        outcomes.feed(event)
    replay = Counterfactual(policy_of, partial(policy_of, name=other), outcomes)
    for event in events:
        if event[0] == 0:
            event[1]["follows"] = False
        replay.feed(event)
    assert replay.counts.first is None, str(replay.counts.first)
    return compared(replay.rows, recorded, other)


@pytest.mark.parametrize("policy", ["round_robin", "predicted_latency"])
def test_a_simulated_journal_replays_the_same(policy):
    counts = replayed(journal_of(policy)[1]).counts
    assert counts.first is None, str(counts.first)
    assert counts.decisions > 1200


def test_of_a_policy_that_is_better_it_says_how_much():
    (ttft, _), events = journal_of("round_robin")
    found = other_of(events, "round_robin", "predicted_latency")
    true_ttft, true_hits = simulated("predicted_latency")
    assert found["compared"] == len(ttft)
    assert found["moved"] / found["compared"] == pytest.approx(0.75, abs=0.1)
    known, modelled, other = found["ttft_s"].values()
    assert known["mean"] == pytest.approx(ttft.mean())
    assert modelled["p50"] == pytest.approx(known["p50"], rel=0.3)
    assert other["mean"] == pytest.approx(true_ttft.mean(), rel=0.2)
    assert other["p90"] == pytest.approx(np.percentile(true_ttft, 90), rel=0.2)
    assert found["hit_share"]["other_modelled"] == pytest.approx(true_hits, abs=0.02)


def test_of_a_policy_that_is_worse_it_says_that_it_is_but_not_how_far_it_would_have_gone():
    (ttft, hits), events = journal_of("predicted_latency")
    found = other_of(events, "predicted_latency", "round_robin")
    true_ttft, true_hits = simulated("round_robin")
    known, modelled, other = found["ttft_s"].values()
    assert known["mean"] == pytest.approx(ttft.mean())
    assert modelled["mean"] == pytest.approx(known["mean"], rel=0.15)
    assert found["hit_share"]["recorded_known"] == pytest.approx(hits)
    assert found["hit_share"]["other_modelled"] == pytest.approx(true_hits, abs=0.04)
    assert 2 * known["mean"] < other["mean"] < true_ttft.mean()


def test_of_the_same_policy_it_says_the_same_though_not_of_each_request():
    _, events = journal_of("predicted_latency")
    found = other_of(events, "predicted_latency", "predicted_latency")
    _, modelled, other = found["ttft_s"].values()
    assert other["mean"] == pytest.approx(modelled["mean"], rel=0.05)
    assert found["hit_share"]["other_modelled"] == pytest.approx(
        found["hit_share"]["recorded_modelled"], abs=0.01
    )


def test_replicas_that_fail_leave_and_come_are_the_others_too():
    made, tape = recorder("cache_aware")
    for state in replicas(3):
        made.join(state)
        made.probed(state, 0.5, 0.5)
    a_life_of(made, 5)
    first, second, third = made.fleet
    made.failed(first, "refused", 10.0, refused=True)
    a_life_of(made, 5, 11.0)
    made.leave(second)
    a_life_of(made, 5, 21.0, keys=(7, 8, 9))
    made.drain(third, draining=True, now=31.0)
    a_life_of(made, 3, 32.0)
    made.flush()
    found = other_of(tape.events(), "cache_aware", "round_robin")
    assert (found["requests"], found["compared"], found["refused"]) == (18, 18, {"recorded": 0, "other": 0})


def test_it_is_told_in_words():
    _, events = journal_of("round_robin")
    said = told_of_other(other_of(events, "round_robin", "session"))
    assert "requests (" in said
    assert "would have gone to another replica under session." in said
    assert "prompt tokens cached" in said
    assert all(len(line) <= 100 for line in said.splitlines())
    assert "no request to compare" in told_of_other(compared([], "round_robin", "session"))
