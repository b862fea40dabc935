"""Stickiness: a session stays with its replica for as long as that one is there and not overrun.

    home(session) = first in rendezvous order whose load is below max(FLOOR, BOUND * (1 + all loads) / replicas)

The key is the session that a header or the body names, else the conversation (its first user turn), else the request
has no home and goes to the least loaded.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from xxhash import xxh3_128_hexdigest

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.load import LeastRequests
from balancer.core.scheduling.rendezvous import bounded_home
from balancer.core.types import Decision, Reads, RequestView

BOUND = 1.5


_is_hashed = re.compile("#[0-9a-f]{32}").fullmatch


def hashed(session: str) -> str:
    """The session by a hash of its name, which may be a person's. One that is hashed stays as it is, so what is decided by it is
    decided again without knowing the name (balancer/journal).
    """
    if _is_hashed(session):
        return session
    return "#" + xxh3_128_hexdigest(session.encode("utf-8", "surrogatepass"))


def session_key(request: RequestView) -> bytes | None:
    if request.session is not None:
        return b"s" + hashed(request.session).encode("utf-8", "surrogatepass")
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
