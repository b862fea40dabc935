"""Stickiness: a session stays with its replica for as long as that one is there and not overrun.

    home(session) = argmax over replicas of xxh3_64(session, seed = xxh3_64(replica id))

Rendezvous hashing (Thaler and Ravishankar 1998): a replica that leaves moves only its own sessions, and every
balancer computes the same home. Loads are bounded after Mirrokni, Thorup and Zadimoghaddam (2016): a replica above
BOUND times the mean load passes the session to the next in its order; below FLOOR requests it never does,
so that a quiet fleet is strictly sticky.

The key is the session that a header names, else the conversation (its first user turn), else the request
has no home and goes to the least loaded.
"""

from collections.abc import Sequence
from typing import ClassVar

from xxhash import xxh3_64_intdigest

from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling.load import LeastRequests
from balancer.core.types import Decision, Reads, RequestView

BOUND = 1.5
FLOOR = 8


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
        order = sorted(
            replicas,
            key=lambda replica: xxh3_64_intdigest(key, xxh3_64_intdigest(replica.id.encode())),
            reverse=True,
        )
        limit = max(FLOOR, BOUND * (1 + sum(replica.load(now) for replica in replicas)) / len(replicas))
        for replica in order:
            if replica.load(now) < limit:
                return Decision(replica.id, "session" if replica is order[0] else "session_spilled")
        return Decision(order[0].id, "session")
