"""Two siblings, watched: what is sent to them, and what their engines say."""

from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.scheduling import LeastRequests
from balancer.core.types import Decision, ReplicaId, Usage
from tests.core.states import replicas, request, sample


class Scene:
    """Two siblings, the requests on them, and their engines' pages, read every second."""

    def __init__(self, **policy):
        self.states = replicas(2)
        self.decider = Decider(Fleet(self.states), LeastRequests(), HealthPolicy(**policy))
        self.pages = [{"generation_tokens": 0.0, "prompt_tokens": 0.0, "running": 0.0} for _ in self.states]
        self.now = 0.0

    def send(self, number, *, stream=True, predicted_s=None):
        asked = request()
        asked.stream = stream
        decision = Decision(ReplicaId(f"r{number}"), "test", predicted_s=predicted_s)
        return self.decider.dispatch(asked, decision, self.now)

    def second(self, count=1, *, read=(0, 1), unanswered=()):
        for _ in range(count):
            self.now += 1
            for number in read:
                if number in unanswered:
                    self.decider.unread(self.states[number], self.now, answered=False)
                else:
                    self.decider.sampled(self.states[number], sample(self.now, **self.pages[number]), 0)

    def serve(self, number, seconds=1):
        """The sibling answers something each second."""
        for _ in range(seconds):
            charge = self.send(number)
            self.second()
            charge.first_token(self.now)
            charge.release(self.now, Usage(10, 2))

    @property
    def fault(self):
        return self.states[0].fault
