"""Stickiness: a session stays with its replica for as long as that one is there and not overrun.

    home(session) = first in rendezvous order whose load is below max(FLOOR, BOUND * (1 + all loads) / replicas)

The key is the session that a header or the body names, else the conversation (its first user turn), else the request
has no home and goes to the least loaded.
"""

from collections.abc import Sequence
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.load import LeastRequests
from balancer.core.scheduling.rendezvous import bounded_home
from balancer.core.types import Decision, Reads, RequestView

BOUND = 1.5


def session_key(request: RequestView) -> bytes | None:
    if request.session is not None:
        return b"s" + request.session.encode("utf-8", "surrogatepass")
    if request.conversation:
        return b"c" + request.conversation
    return None


class Session(LeastRequests):
    name: ClassVar[str] = "session"
    reads: ClassVar[Reads] = Reads.CONVERSATION

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        key = session_key(request)
        if key is None:
            return super().choose(request, replicas, now)
        key += b"\x1f" + (request.model or "").encode("utf-8", "surrogatepass")
        home, first = bounded_home(key, replicas, BOUND, now)
        return Decision(home.id, "session" if first else "session_spilled")
