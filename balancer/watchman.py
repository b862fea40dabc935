"""Gives up what waits on a replica that has gone silent, so that another can take over: no request hangs for ever.

A side loop looks at all that is under way; the way of a request pays for it with one entry in a dictionary.
"""

import asyncio
import logging

from balancer.core.fleet.patience import patience_s
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge
from balancer.forwarding.connection import Connection
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange

log = logging.getLogger("balancer.requests")

LOOK_EVERY_S = 0.5


class Watchman:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[Exchange, tuple[Connection, Charge]] = {}

    def watch(self, exchange: Exchange, connection: Connection, charge: Charge) -> None:
        self._under_way[exchange] = connection, charge

    def done(self, exchange: Exchange) -> None:
        self._under_way.pop(exchange, None)

    async def look(self) -> float:
        """One round; the seconds until the next."""
        now = self._loop.time()
        heard: dict[ReplicaState, float] = {}
        for exchange, (_, charge) in self._under_way.items():
            replica = charge.replica
            heard[replica] = max(heard.get(replica, replica.progress.moved_s), exchange.heard_at)
        for exchange, (connection, charge) in list(self._under_way.items()):
            replica = charge.replica
            if exchange.congested:
                continue  # it is its client that is slow
            heard_at = exchange.heard_at if replica.gone else heard[replica]
            silent_s = now - heard_at
            streams = charge.request.stream
            begun = exchange.timing.begun_at is not None
            if silent_s > patience_s(replica, charge.predicted_s, streams=streams, begun=begun):
                log.warning("an attempt on %s is given up after %.0f s of silence", replica.id, silent_s)
                connection.abort(Ended.LOST)
        return LOOK_EVERY_S
