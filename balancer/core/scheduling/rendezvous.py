"""The order in which replicas are home to a key: the same for every balancer, whatever order they are listed in.

    order(key) = replicas by xxh3_64(key, seed = xxh3_64(replica id)), highest first

Rendezvous hashing (Thaler and Ravishankar 1998): a replica that leaves moves only its own keys, each to its second home.
Loads may be bounded (Mirrokni, Thorup and Zadimoghaddam 2016): one above so many times the mean passes the key to the next
in order, but never below FLOOR requests, so that a quiet fleet is strictly sticky.
"""

from collections.abc import Iterable, Sequence

from xxhash import xxh3_64_intdigest

from balancer.core.fleet.replica import ReplicaState

FLOOR = 8


def rendezvous(key: bytes, replicas: Iterable[ReplicaState]) -> list[ReplicaState]:
    return sorted(
        replicas,
        key=lambda replica: xxh3_64_intdigest(key, xxh3_64_intdigest(replica.id.encode())),
        reverse=True,
    )


def bounded_home(
    key: bytes, replicas: Sequence[ReplicaState], bound: float, now: float
) -> tuple[ReplicaState, bool]:
    """The first in order whose load is below the limit, and whether that is the first of all."""
    order = rendezvous(key, replicas)
    loads = [replica.load(now) for replica in order]
    limit = max(FLOOR, bound * (1 + sum(loads)) / len(loads))
    place = next(place for place, load in enumerate(loads) if load < limit)
    return order[place], place == 0
