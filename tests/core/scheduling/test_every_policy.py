"""What every policy owes, whatever happens around it."""

import random
from dataclasses import dataclass, field
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config import Settings
from balancer.config.build import make_policy
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge, Policy
from balancer.core.scheduling.reasons import REASONS
from balancer.core.types import Usage
from tests.core.scheduling.stage import asked
from tests.core.states import replica, sample

POLICIES = get_args(Settings.model_fields["policy"].annotation)

number = st.integers(0, 7)


def unknown_or(values):
    return st.none() | values


events = st.one_of(
    st.tuples(st.just("ask"), st.text("pqr", max_size=5), st.sets(number), unknown_or(st.sampled_from("st"))),
    st.tuples(st.just("first_token"), number),
    st.tuples(st.just("release"), number, unknown_or(st.builds(Usage, number, number, st.none()))),
    st.tuples(st.just("join")),
    st.tuples(st.just("leave"), number),
    st.tuples(st.just("restart"), number),
    st.tuples(st.just("size"), number, st.integers(0, 1000)),
    st.tuples(
        st.just("reading"),
        number,
        unknown_or(st.integers(0, 9)),
        unknown_or(st.floats(0, 1, allow_nan=False)),
    ),
    st.tuples(st.just("wait"), st.floats(0, 100)),
)


@dataclass
class World:
    policy: Policy
    fleet: list[ReplicaState] = field(default_factory=list)
    gone: list[ReplicaState] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    decisions: list[object] = field(default_factory=list)
    now: float = 1000.0
    previews: bool = False

    def happen(self, what, *how):
        getattr(self, what)(*how)

    def ask(self, text, offered, session):
        replicas = [self.fleet[place] for place in sorted(offered) if place < len(self.fleet)] or self.fleet
        request = asked(text, session)
        if self.previews:
            before = [self.policy.preview(request, replicas, self.now) for _ in range(2)]
        decision = self.policy.choose(request, replicas, self.now)
        if self.previews:
            assert [each[:4] + each[5:] for each in before] == [decision[:4] + decision[5:]] * 2
        by_id = {state.id: state for state in replicas}
        assert decision.replica in by_id
        assert decision.reason in REASONS
        assert 0 <= decision.matched_tokens <= request.prompt_tokens
        assert 0 <= decision.uncached_tokens <= max(1, request.prompt_tokens)
        considered = [candidate.replica for candidate in decision.candidates]
        assert len(considered) == len(set(considered))
        assert set(considered) <= by_id.keys()
        self.decisions.append(decision._replace(candidates=tuple(decision.candidates)))
        self.charges.append(Charge(request, by_id[decision.replica], decision, self.policy, self.now))

    def first_token(self, which):
        if self.charges:
            self.charges[which % len(self.charges)].first_token(self.now)

    def release(self, which, usage):
        if self.charges:
            charge = self.charges.pop(which % len(self.charges))
            charge.release(self.now, usage, output_events=which)
            charge.release(self.now, usage)

    def join(self):
        state = replica(f"r{len(self.fleet) + len(self.gone)}")
        self.policy.joined(state)
        self.fleet.append(state)

    def leave(self, which):
        if len(self.fleet) > 1:
            state = self.fleet.pop(which % len(self.fleet))
            self.policy.left(state)
            self.gone.append(state)

    def restart(self, which):
        self.policy.forgot(self.fleet[which % len(self.fleet)])

    def size(self, which, tokens):
        self.policy.sized(self.fleet[which % len(self.fleet)], tokens)

    def reading(self, which, waiting, kv_usage):
        state = self.fleet[which % len(self.fleet)]
        state.sampled(sample(self.now, waiting=waiting, kv_usage=kv_usage), state.in_flight)

    def wait(self, seconds):
        self.now += seconds


def run(name, seed, happenings, **more):
    settings = Settings.model_validate({"replicas": ["http://a"], "policy": name, "index_max_blocks": 12})
    rng = more.pop("rng", random.Random(seed).random)
    world = World(make_policy(settings, rng), **more)
    world.join()
    for event in happenings:
        world.happen(*event)
    return world


@pytest.mark.parametrize("name", POLICIES)
@given(seed=st.integers(0, 2**32), happenings=st.lists(events, max_size=40))
def test_it_chooses_of_what_is_offered_and_its_accounts_close(name, seed, happenings):
    world = run(name, seed, [("join",), ("join",), *happenings])
    while world.charges:
        world.release(seed, None)
    for state in world.fleet + world.gone:
        assert (state.in_flight, state.pending_tokens) == (0, 0)


@pytest.mark.parametrize("name", POLICIES)
@given(seed=st.integers(0, 2**32), happenings=st.lists(events, max_size=40))
def test_the_same_seed_and_events_decide_the_same(name, seed, happenings):
    once, again = (run(name, seed, [("join",), ("join",), *happenings]) for _ in range(2))
    assert once.decisions == again.decisions


@pytest.mark.parametrize("name", POLICIES)
@given(happenings=st.lists(events, max_size=40))
def test_a_preview_says_what_is_chosen_and_changes_nothing(name, happenings):
    events = [("join",), ("join",), *happenings]
    asked_before, plain = (
        run(name, 0, events, rng=lambda: 0.5, previews=previews) for previews in (True, False)
    )
    assert asked_before.decisions == plain.decisions
