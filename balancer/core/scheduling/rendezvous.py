"""The order in which replicas are home to a key: the same for every balancer, whatever order they are listed in.

    order(key) = replicas by xxh3_64(key, seed = xxh3_64(replica id)), highest first

Rendezvous hashing (Thaler and Ravishankar 1998): a replica that leaves moves only its own keys, each to its second home.
"""

from collections.abc import Iterable

from xxhash import xxh3_64_intdigest

from balancer.core.fleet.replica import ReplicaState


def rendezvous(key: bytes, replicas: Iterable[ReplicaState]) -> list[ReplicaState]:
    return sorted(
        replicas,
        key=lambda replica: xxh3_64_intdigest(key, xxh3_64_intdigest(replica.id.encode())),
        reverse=True,
    )
