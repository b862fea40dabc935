"""Whether a replica has room for one more, or is saturated: what it is sent then would only wait there.

    by its limit    in_flight >= max_in_flight, where the operator set one
    as learned      kv_usage >= CROWDED_KV_USAGE, and waiting + (in_flight - in flight at the reading) > 0

The second is vLLM's own state, corrected by what was sent and what ended since. It counts only as long as the reading is fresh
and something of ours is there: without that its end could not make room, and a request would wait on the metrics alone.
"""

from collections.abc import Sequence

from balancer.core.fleet.replica import ReplicaState


def saturated(replica: ReplicaState, now: float) -> bool:
    if replica.at_limit:
        return True
    if not replica.crowded or not replica.in_flight or not replica.fresh(now):
        return False
    waiting = (replica.sample and replica.sample.waiting) or 0
    return waiting + replica.in_flight - replica.in_flight_sampled > 0


def with_room(replicas: Sequence[ReplicaState], now: float) -> Sequence[ReplicaState]:
    # what saturated() asks first, without the call: this runs for each replica and request
    return [
        replica
        for replica in replicas
        if (replica.max_in_flight is None and not replica.crowded) or not saturated(replica, now)
    ]


def below_limit(replicas: Sequence[ReplicaState]) -> Sequence[ReplicaState]:
    return [replica for replica in replicas if not replica.at_limit]
