"""A policy and its replicas on a stage: requests are letters, one for each block."""

import random

from balancer.core.prefix.blocks import BLOCK_BYTES, block_keys
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import Charge
from balancer.core.types import RequestView, RouteKind
from tests.core.states import replica

BLOCK = 64


def asked(text, session=None):
    """A prompt of one block for each letter."""
    prompt = b"".join(letter.encode() * BLOCK_BYTES for letter in text)
    return RequestView(
        RouteKind.CHAT,
        "m",
        stream=True,
        block_keys=block_keys(prompt),
        prompt_tokens=BLOCK * len(text),
        session=session,
    )


class Stage:
    """Replicas are called a, b, c, ..."""

    def __init__(self, make, count, *, seed=0):
        self.rng = random.Random(seed)
        self.index = PrefixIndex(10_000)
        self.policy = make(self.index, self.rng.random)
        self.fleet = [replica(chr(ord("a") + number)) for number in range(count)]
        self.now = 0.0
        for state in self.fleet:
            self.policy.joined(state)

    def __getitem__(self, name):
        return next(state for state in self.fleet if state.id == name)

    def choose(self, text, session=None):
        return self.policy.choose(asked(text, session), self.fleet, self.now)

    def send(self, text, to=None, session=None):
        """Where the policy wants it, unless told."""
        request = asked(text, session)
        decision = self.policy.choose(request, self.fleet if to is None else [self[to]], self.now)
        return Charge(request, self[decision.replica], decision, self.policy, self.now)

    def hold(self, text, on):
        """The replica has answered this and is idle again."""
        self.send(text, on).release(self.now)

    def often(self, text, times=60):
        """Where it goes, of many tries."""
        return {self.choose(text).replica for _ in range(times)}
