"""A journal of requests whose tier was chosen: each is chosen again, shares, conversations and money and all."""

import pytest

from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health
from balancer.journal import kinds
from balancer.journal.opening import policy_of
from balancer.journal.recorder import Recorder
from benchmarks.joint.prompts import WORKLOADS, spread, traffic
from benchmarks.joint.simulation import ARMS_OF_TIERS, POOL, _Tiered
from tests.journal.tapes import Tape, replayed


class Recorded(_Tiered):
    tape = None

    def _decider(self, surroundings):
        facts = {"run": "x", "policy": "predicted_latency", "seed": 1, "index_max_blocks": 1_000_000}
        states = [
            ReplicaState(replica, "", health=Health.UNKNOWN, models=frozenset({model}))
            for replica, model in zip(surroundings.replicas, POOL, strict=True)
        ]
        made = self.recorder = Recorder(Fleet(states), policy_of(facts), HealthPolicy(), self.tape, facts)
        made.tier({})
        return made


@pytest.mark.parametrize("arm", ["joint", "turns"])
def test_tiers_are_chosen_again(arm):
    tape = Tape(20_000)
    made, asked = traffic(WORKLOADS["documents"], 4.0, 1, 60, 20)
    simulation = type("Recorded", (Recorded,), {"tape": tape})(
        ARMS_OF_TIERS[arm], made, asked, 0.3, spread() * ARMS_OF_TIERS[arm].band, 1
    )
    simulation.run()
    simulation.recorder.flush()
    events = tape.events()
    chosen = [event[-1] for event in events if event[0] == kinds.CHOOSE]
    assert len(chosen) > 200
    assert {outcome[0] for outcome in chosen if not isinstance(outcome, int)} == {"small", "large"}
    if arm == "joint":
        assert {outcome[1] for outcome in chosen} >= {"band", "score", "sticky"}
    counts = replayed(events).counts
    assert counts.first is None, str(counts.first)
    assert counts.partial == 0
    assert counts.decisions >= len(chosen)
