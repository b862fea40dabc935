"""A journal in memory, and its replay."""

from random import Random

from balancer.config import Settings
from balancer.config.build import make_policy
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.journal.frames import _events as decoded
from balancer.journal.frames import pack
from balancer.journal.recorder import Recorder
from balancer.journal.replayer import Replayer

HEAD_BYTES = 8


class Tape:
    """A sink that keeps all, and takes blocks for full as it is told."""

    def __init__(self, most_bytes=1 << 40):
        self.blocks = []
        self.refuses = False
        self.most_bytes = most_bytes
        self.size = 0

    @property
    def full(self):
        return self.size >= self.most_bytes

    def take(self, events, *, begins):
        if self.refuses:
            return False
        frame = pack(events)
        self.size = len(frame) + (0 if begins else self.size)
        self.blocks.append(frame)
        return True

    def events(self):
        return [event for frame in self.blocks for event in decoded(frame[HEAD_BYTES:])]


def policy_of(name, seed, blocks=1000):
    given = {"replicas": ["http://a"], "policy": name, "index_max_blocks": blocks}
    return make_policy(Settings.model_validate(given), Random(seed).random)


def recorder(name, fleet=None, seed=1, blocks=1000, tape=None):
    facts = {"run": "test", "policy": name, "seed": seed, "index_max_blocks": blocks}
    tape = tape or Tape()
    made = Recorder(
        Fleet() if fleet is None else fleet, policy_of(name, seed, blocks), HealthPolicy(), tape, facts
    )
    return made, tape


def replayed(events, make=lambda facts: policy_of(facts["policy"], facts["seed"], facts["index_max_blocks"])):
    replayer = Replayer(make)
    last = None
    for event in events:
        if event[0] == 0:
            facts = event[1]
            facts["follows"] = last is not None and facts["file"] == last + 1
            last = facts["file"]
        replayer.feed(event)
    return replayer
