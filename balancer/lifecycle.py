"""READ FIRST: one request, from its arrival to its record.

    understand -> decide -> (wait) -> send -> hold -> relay -> record
                    ^                          |
                    +---------- retry ---------+      until the answer is committed to the client

Nothing here chooses a replica (core), speaks HTTP (forwarding) or renders an error (frontend).
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from time import monotonic

from balancer.accounting.metrics import Metrics
from balancer.accounting.record import Record
from balancer.core.decider import Decider
from balancer.core.errors import Refused, replicas_failed, too_slow
from balancer.core.fleet.pins import ResponsePins
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge
from balancer.core.types import Decision, ReplicaId, RequestView
from balancer.forwarding.client import ClientSide, Outgoing
from balancer.forwarding.exchange import Ended, Exchange, Signal
from balancer.forwarding.headers import request_head
from balancer.forwarding.pool import ConnectionPool
from balancer.vllm_api.answers import read_answer
from balancer.vllm_api.errors import stream_error
from balancer.vllm_api.routes import Route
from balancer.waiting_room import Placed, WaitingRoom

log = logging.getLogger("balancer.requests")

CLIENT_LEFT = 499


@dataclass(frozen=True, slots=True)
class LifecycleLimits:
    max_attempts: int = 3
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way: what is asked, the bytes to send, who asked, and the record that is being written.

    `pinned` is the replica that alone can answer, if there is one.
    """

    route: Route
    request: RequestView
    outgoing: Outgoing
    client: ClientSide
    record: Record
    pinned: ReplicaId | None


class Lifecycle:
    def __init__(
        self,
        decider: Decider,
        pools: dict[ReplicaId, ConnectionPool],
        metrics: Metrics,
        limits: LifecycleLimits,
        *,
        replica_authorization: bytes | None,
        pins: ResponsePins,
    ) -> None:
        self._decider = decider
        self._pools = pools
        self._metrics = metrics
        self._limits = limits
        self._authorization = replica_authorization
        self._pins = pins
        self.room = WaitingRoom(decider)
        self._loop = asyncio.get_running_loop()

    async def serve(self, job: Job) -> None:
        """Answer one request: when this returns, the whole answer, or a visible break in it, was given to the client.

        Raises: Refused, if nothing was given yet and no replica could answer.
        """
        record = job.record
        record.model = job.request.model
        try:
            await self._attempts(job)
        except asyncio.CancelledError:
            record.status, record.ended_by = CLIENT_LEFT, "client"
            raise
        except Refused as refused:
            record.status, record.ended_by = refused.status, "refusal"
            raise
        finally:
            record.ended_at = monotonic()
            self._metrics.add(record)

    async def _attempts(self, job: Job) -> None:
        tried: frozenset[ReplicaId] = frozenset()
        declined: Exchange | None = None  # the last answer that another replica might have bettered
        last = Ended.REFUSED
        while job.record.attempts < self._limits.max_attempts:
            try:
                decision, charge = await self._place(job, tried)
            except Refused:
                if tried:
                    break  # nobody is left to try
                raise
            exchange = await self._attempt(job, decision, charge)
            if exchange.committed:
                return
            last = exchange.ended or last
            if last is Ended.ANSWERED:
                declined = exchange
            tried |= {decision.replica}
        if declined is not None:
            declined.commit()
            job.record.status = declined.status
            return
        if last is Ended.SLOW_FIRST_BYTE:
            raise too_slow("begin its answer", self._limits.first_byte_timeout_s or 0)
        if last is Ended.SLOW_IDLE:
            raise too_slow("go on with its answer", self._limits.idle_timeout_s or 0)
        raise replicas_failed()

    async def _place(self, job: Job, tried: frozenset[ReplicaId]) -> Placed:
        """Where this attempt goes, charged for. Only a first attempt may have to wait."""
        pinned, now = job.pinned, monotonic()
        if pinned is not None and pinned not in tried and self._decider.fleet.get(pinned) is not None:
            decision = Decision(pinned, "pinned")
        else:
            decision = self._decider.decide(job.request, tried, now)
            if decision.wait and not tried:
                try:
                    return await self.room.place(job.request, decision)
                finally:
                    job.record.waited_s = monotonic() - now
        return decision, self._decider.dispatch(job.request, decision, now)

    async def _attempt(self, job: Job, decision: Decision, charge: Charge) -> Exchange:
        """Send the request to one replica and see it through. The replica is charged for it exactly until then."""
        record, replica = job.record, charge.replica
        record.attempts += 1
        record.replica, record.reason = replica.id, decision.reason
        record.matched_tokens = decision.matched_tokens
        record.sent_at, record.predicted_ttft_s = charge.sent_at, decision.predicted_s
        record.usage, record.output_events = None, 0
        try:
            exchange = await self._send(job, replica, charge, fresh=False)
            if exchange.ended is Ended.STALE:
                exchange = await self._send(job, replica, charge, fresh=True)
            self._account(job, replica, exchange)
        except asyncio.CancelledError:
            self._metrics.attempted(replica.id, decision.reason, Ended.CANCELLED)
            raise
        finally:
            self._decider.ended(charge, monotonic(), record.usage, output_events=record.output_events)
            self.room.stir()
        if exchange.committed and exchange.ended is not Ended.ANSWERED:
            exchange.break_off(stream_error(job.route.dialect))
        return exchange

    async def _send(self, job: Job, replica: ReplicaState, charge: Charge, *, fresh: bool) -> Exchange:
        client, outgoing = job.client, job.outgoing
        on_id = partial(self._pins.remember, replica=replica.id) if job.route.stores_response else None
        exchange = Exchange(client, self._loop, partial(self._first_token, charge), on_id)
        pool = self._pools[replica.id]
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
        head = request_head(
            outgoing.method,
            pool.path_prefix + outgoing.target,
            pool.host_header,
            outgoing.headers,
            len(outgoing.body) if outgoing.body or outgoing.method == b"POST" else None,
            authorization=self._authorization,
            drop=outgoing.drop,
        )
        try:
            connection.send(head, outgoing.body, exchange)
            while await exchange.waiting() is Signal.CONGESTED:
                await client.drain()
                connection.resume(exchange)
        except ConnectionError:  # the client has gone: drain is the only one to raise it
            raise asyncio.CancelledError from None
        finally:
            if exchange.ended is None:  # cancelled: the client has gone
                connection.abort()
        return exchange

    def _first_token(self, charge: Charge, now: float) -> None:
        charge.first_token(now)
        self.room.stir()

    def _account(self, job: Job, replica: ReplicaState, exchange: Exchange) -> None:
        record, ended = job.record, exchange.ended
        assert ended is not None
        self._metrics.attempted(replica.id, record.reason, ended)
        record.token_at = exchange.token_at
        if ended is Ended.ANSWERED:
            record.status = exchange.status
            self._judge(replica, exchange)
            self._read_answer(job, replica, exchange)
            return
        if exchange.committed:
            record.status, record.ended_by = exchange.status, "replica"
        if ended is not Ended.STALE and self._decider.failed(replica, ended, certain=ended is Ended.REFUSED):
            log.warning("replica %s is unhealthy: %s", replica.id, ended)

    def _judge(self, replica: ReplicaState, exchange: Exchange) -> None:
        """What an answer says of the replica's health: backpressure and the client's errors say nothing bad."""
        if exchange.retryable and not exchange.backpressure:
            if self._decider.failed(replica, f"status {exchange.status}"):
                log.warning("replica %s is unhealthy: answered %d", replica.id, exchange.status)
        elif self._decider.answered(replica):
            log.info("replica %s is healthy", replica.id)

    def _read_answer(self, job: Job, replica: ReplicaState, exchange: Exchange) -> None:
        if exchange.scanner is not None:
            job.record.usage = exchange.scanner.usage()
            job.record.output_events = exchange.scanner.events
        elif job.route.kind.generates and exchange.status == 200:
            answer_id, job.record.usage = read_answer(exchange.held_body)
            if job.route.stores_response and answer_id is not None:
                self._pins.remember(answer_id, replica.id)
