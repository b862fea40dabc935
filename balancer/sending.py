"""One attempt on the wire: a connection to the replica, the request on it, and the answer until it has ended.

Who is asked and what becomes of the outcome is the lifecycle's matter.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from balancer.accounting.metrics import Metrics
from balancer.core.decider import Decider
from balancer.core.fleet.pins import ResponsePins
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge
from balancer.forwarding.connection import Connection
from balancer.forwarding.ended import Ended, Signal
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.manners import OWN
from balancer.forwarding.pool import ConnectionPool
from balancer.forwarding.timing import Gaps
from balancer.healing import Healer
from balancer.job import Job
from balancer.watchman import Watchman

if TYPE_CHECKING:
    from balancer.accounting.tracing import Trace  # which needs an extra

log = logging.getLogger("balancer.requests")


class Sender:
    """`stir` is called when a first token may have opened a replica for who waits."""

    def __init__(
        self,
        decider: Decider,
        pools: Mapping[ReplicaState, ConnectionPool],
        pins: ResponsePins,
        metrics: Metrics,
        watchman: Watchman,
        stir: Callable[[], None],
    ) -> None:
        self._decider = decider
        self._pools = pools
        self._pins = pins
        self._metrics = metrics
        self._watchman = watchman
        self._stir = stir
        self._loop = asyncio.get_running_loop()

    async def send(self, job: Job, charge: Charge, stall_timeout_s: float | None, *, fresh: bool) -> Exchange:
        """The attempt when it has ended. `fresh`: on no connection that was kept, since one was closed under the request.

        Raises: CancelledError, if the client has gone; ClientStalled, when it was let go.
        """
        client, outgoing, replica = job.client, job.outgoing, charge.replica
        on_id = partial(self._pins.remember, replica=replica.id) if job.route.stores_response else None
        on_token = partial(self._first_token, charge)
        gaps = Gaps(self._metrics.gaps(job.record)) if job.request.stream else None
        plain = job.way is None and job.healer is None and replica.terms is None
        manners = OWN if plain else job.manners(replica)
        exchange = Exchange(client, self._loop, on_token, on_id, job.leg, gaps, manners, job.told)
        pool = self._pools[replica]
        connection = None if fresh else pool.take()
        if connection is None:
            try:
                connection = await pool.connect()
            except TimeoutError:
                exchange.end(Ended.CONNECT_TIMEOUT)
                return exchange
            except OSError as error:
                log.debug("%s: %s", replica.id, error)
                exchange.end(Ended.REFUSED)
                return exchange
        timer = None
        if replica.terms is not None and charge.request.stream:
            limit_s = replica.terms.first_token_timeout_s
            if limit_s is not None:
                timer = self._loop.call_later(limit_s, _give_up, exchange, connection)
        try:
            connection.send(pool.head(outgoing), outgoing.body, exchange)
            self._watchman.watch(exchange, connection, charge)
            while await exchange.waiting() is Signal.CONGESTED:
                await client.catch_up(stall_timeout_s)
                connection.resume(exchange)
        except ConnectionError:  # the client has gone: only waiting for it raises this
            raise asyncio.CancelledError from None
        finally:
            self._watchman.done(exchange)
            if timer is not None:
                timer.cancel()
            if exchange.committed:
                job.given = exchange
            if exchange.ended is None:  # the client has gone, or we end
                connection.abort()
                if job.trace is not None:
                    end_span(job.trace, exchange, Ended.CANCELLED)
        return exchange

    def _first_token(self, charge: Charge, now: float) -> None:
        self._decider.first_token(charge, now)
        self._stir()


def begin_span(job: Job, trace: "Trace", replica: ReplicaState) -> None:
    """An attempt begins, and tells the replica whose child its own span is."""
    external = replica.terms is not None
    headers = trace.sends(
        job.outgoing.headers,
        job.record,
        job.request,
        replica.url,
        external=external,
        decided_at=job.decided_at,
    )
    job.outgoing = replace(job.outgoing, headers=headers)


def end_span(trace: "Trace", exchange: Exchange, ended: Ended | None = None) -> None:
    """`ended`: of an attempt that we end ourselves."""
    trace.sent(
        ended or exchange.ended or Ended.BROKEN,
        exchange.said or 0,
        heard_at=exchange.timing.begun_at,
        token_at=exchange.token_at,
        usage=exchange.usage(),
    )


async def give_mended(job: Job, healer: Healer, exchange: Exchange) -> None:
    """Give the client an answer that is whole, with its JSON made good."""
    mended = await healer.mend(exchange.held_body)
    if mended is None:
        exchange.commit()
    else:
        exchange.added += mended.head
        job.record.mended = len(mended.healed), len(mended.failed)
        exchange.commit_as(exchange.held_body if mended.body is None else mended.body)
    job.given = exchange


def _give_up(exchange: Exchange, connection: Connection) -> None:
    if not exchange.committed:
        connection.abort(Ended.SLOW_FIRST_TOKEN)
