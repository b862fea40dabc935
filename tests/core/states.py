"""Replicas and requests for tests of the core."""

from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import EngineSample, Health, ReplicaId, RequestView, RouteKind


def replica(name="a", *, models=("m",), health=Health.HEALTHY, max_in_flight=None, draining=False):
    state = ReplicaState(ReplicaId(name), f"http://{name}", max_in_flight=max_in_flight)
    state.models = None if models is None else frozenset(models)
    state.health = health
    state.draining = draining
    return state


def replicas(count):
    return [replica(f"r{number}") for number in range(count)]


def request(*keys, session=None, conversation=b"", model="m"):
    return RequestView(
        RouteKind.CHAT,
        model,
        block_keys=list(keys),
        prompt_tokens=64 * len(keys),
        session=session,
        conversation=conversation,
    )


def sample(taken_at=0.0, **signals):
    return EngineSample(taken_at, **signals)
