"""Whatever happens to a decider, under every policy: its journal replays to the same decisions, all of them."""

from typing import get_args

import pytest
from hypothesis import settings

from balancer.config import Settings
from balancer.core.admission import Limits
from balancer.core.fleet.health import HealthPolicy
from tests.journal.tapes import recorder, replayed
from tests.properties.test_ledger import Ledger

POLICIES = get_args(Settings.model_fields["policy"].annotation)
pytestmark = pytest.mark.timeout(400)
FULL_BYTES = 3000


class Journaled(Ledger):
    def make_decider(self, policy, limits, seed):
        made, self.tape = recorder(self.policy, self.fleet, seed, 40)
        self.tape.most_bytes = FULL_BYTES
        made.configure(HealthPolicy(), limits or Limits(), panic_threshold=0.5, warmup_s=30.0)
        return made

    def teardown(self):
        if hasattr(self, "tape"):
            self.decider.flush()
            counts = replayed(self.tape.events()).counts
            assert counts.first is None, str(counts.first)
            assert counts.decisions == self.decider._scribe.decisions
            assert counts.partial == 0
        super().teardown()


def _case(name):
    machine = type(f"Journaled_{name}", (Journaled,), {"policy": name})
    examples = max(10, settings.default.max_examples // 5)
    machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=50)
    return machine.TestCase


for _name in POLICIES:
    globals()[f"TestUnder_{_name}"] = _case(_name)
