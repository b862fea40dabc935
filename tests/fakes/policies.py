"""A policy that holds requests back: one at a time for each replica, in the order of their arrival."""

from collections import Counter

from balancer.core.scheduling import Policy
from balancer.core.types import Decision


class OneAtATime(Policy):
    """A request belongs to the replica it was given when it came, for as long as that one is there."""

    name = "one_at_a_time"
    holds = True

    def __init__(self):
        self.waiting = set()
        self.told = Counter()

    def choose(self, request, replicas, now):
        ours = Counter(waiting.decision.replica for waiting in self.waiting)
        home = min(replicas, key=lambda replica: replica.in_flight + ours[replica.id])
        return Decision(home.id, "free", 0, 10, wait=home.in_flight + ours[home.id] > 0, predicted_s=0.25)

    def release(self, waiting, replicas, now):
        assert set(waiting) <= self.waiting
        by_id = {replica.id: replica for replica in replicas}
        for each in waiting:
            homes = [by_id[each.decision.replica]] if each.decision.replica in by_id else replicas
            for home in homes:
                if not home.in_flight:
                    return each, Decision(home.id, "freed", 0, 10, predicted_s=0.25)
        return None

    def waits(self, waiting):
        assert waiting not in self.waiting
        self.waiting.add(waiting)
        self.told["waits"] += 1

    def waits_no_more(self, waiting):
        self.waiting.remove(waiting)
        self.told["waits_no_more"] += 1


def hold(front):
    """Let a balancer that runs hold requests."""
    decider = front.balancer.decider
    policy = OneAtATime()
    decider.policy = decider.line._policy = policy
    return policy
