"""One request on its way from a client through a router to an engine. Data only."""

from collections.abc import Callable
from dataclasses import dataclass

from balancer.core.scheduling import Charge, Waiting
from balancer.core.types import Decision, ReplicaId, RequestView
from balancer.embedded.engine import EngineRequest


@dataclass(slots=True, eq=False)
class Request:
    view: RequestView
    engine: EngineRequest
    arrived_s: float
    ended: Callable[["Request"], None]
    """Called once: it was answered, or is lost."""

    tried: frozenset[ReplicaId] = frozenset()
    decision: Decision | None = None
    charge: Charge | None = None
    waiting: Waiting | None = None
    dispatched_s: float | None = None
    first_token_s: float | None = None
    finished_s: float | None = None
    cached_tokens: int | None = None
    lost: str = ""
    """Why it never got its whole answer."""
