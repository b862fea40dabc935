"""Whatever happens to a decider, under every policy: its journal replays to the same decisions, all of them."""

from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from balancer.config import Settings
from balancer.core.admission import Limits
from balancer.core.errors import Refused
from balancer.core.fleet.gpu import Condition, GpuState
from balancer.core.fleet.health import HealthPolicy
from tests.core.scheduling.stage import asked
from tests.journal.tapes import recorder, replayed
from tests.properties.test_ledger import Ledger, which

POLICIES = get_args(Settings.model_fields["policy"].annotation)
pytestmark = pytest.mark.timeout(400)
FULL_BYTES = 3000


class Journaled(Ledger):
    def make_decider(self, policy, limits, seed):
        made, self.tape = recorder(self.policy, self.fleet, seed, 40)
        self.tape.most_bytes = FULL_BYTES
        made.configure(HealthPolicy(), limits or Limits(), panic_threshold=0.5, warmup_s=30.0)
        return made

    @rule(text=st.text("pqr", max_size=5))
    def is_asked_about(self, text):
        with suppress(Refused):
            self.decider.preview(asked(text), self.now)

    @rule(
        number=which,
        state=st.builds(GpuState, st.sampled_from(Condition), slow=st.floats(1, 3), share=st.floats(0.1, 1)),
    )
    def its_gpus_are_read(self, number, state):
        self.decider.saw_gpus(self.some(number), state, self.now)

    @rule(number=which, models=st.sets(st.sampled_from("no")), most=st.none() | st.integers(1, 3))
    def is_told_anew(self, number, models, most):
        replica = self.some(number)
        self.decider.serves(replica, frozenset({"m", *models}))
        self.decider.bound(replica, most)

    @rule(number=which, retry_after_s=st.none() | st.floats(0, 20), answered=st.booleans())
    def declines_and_cannot_be_read(self, number, retry_after_s, answered):
        self.decider.declined(self.some(number), self.now, retry_after_s)
        self.decider.unread(self.some(number), self.now, answered=answered)

    @rule(wait=st.floats(0.1, 50), panic=st.floats(0, 1))
    def other_rules_hold(self, wait, panic):
        limits = Limits(2, wait)
        self.decider.configure(HealthPolicy(2), limits, panic_threshold=panic, warmup_s=wait)

    def teardown(self):
        if hasattr(self, "tape"):
            self.decider.flush()
            counts = replayed(self.tape.events()).counts
            assert counts.first is None, str(counts.first)
            assert counts.decisions == self.decider._scribe.decisions
            assert counts.partial == 0
            for state in self.decider.fleet:
                self.decider.saw_gpus(state, GpuState(), self.now)
        super().teardown()


def _case(name):
    machine = type(f"Journaled_{name}", (Journaled,), {"policy": name})
    examples = max(10, settings.default.max_examples // 5)
    machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=50)
    return machine.TestCase


for _name in POLICIES:
    globals()[f"TestUnder_{_name}"] = _case(_name)
