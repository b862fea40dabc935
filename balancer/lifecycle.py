"""READ FIRST: one request, from its arrival to its record.

    understand -> decide -> (wait) -> send -> hold -> relay -> record
                    ^                          |        |
                    +---------- retry ---------+        |    nothing was given to the client yet: another takes over unseen
                    +---------- resume -----------------+    tokens were given: another goes on from there, where that is sound

Nothing here chooses a replica (core), speaks HTTP (forwarding) or renders an error (frontend).
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from time import monotonic

from balancer.accounting.metrics import Metrics
from balancer.core.decider import Decider
from balancer.core.errors import Refused, shutting_down, too_slow
from balancer.core.fleet.budget import RetryBudget
from balancer.core.fleet.pins import ResponsePins
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge
from balancer.core.types import Decision
from balancer.forwarding.client import ClientStalled
from balancer.forwarding.ended import Ended, Signal
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.headers import request_head
from balancer.forwarding.pool import ConnectionPool
from balancer.forwarding.timing import Gaps
from balancer.job import Job, LifecycleLimits
from balancer.resuming import Broken, Resumable, resumable
from balancer.tries import Tries
from balancer.verdicts import Verdicts
from balancer.vllm_api.errors import replica_lost, shut_down, timed_out
from balancer.waiting_room import Placed, WaitingRoom
from balancer.watchman import Watchman

log = logging.getLogger("balancer.requests")

CLIENT_LEFT = 499
_SHUTDOWN, _TIMEOUT = "shutdown", "timeout"
"""What a task is cancelled with that is ended by ourselves."""


class Lifecycle:
    def __init__(
        self,
        decider: Decider,
        pools: Mapping[ReplicaState, ConnectionPool],
        metrics: Metrics,
        limits: LifecycleLimits,
        pins: ResponsePins,
    ) -> None:
        self._decider = decider
        self._pools = pools
        self._metrics = metrics
        self._limits = limits
        self._pins = pins
        self._budget = RetryBudget(limits.retry_budget)
        self._verdicts = Verdicts(decider, metrics, pins)
        self._running: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()
        self.room = WaitingRoom(decider)
        self.watchman = Watchman()

    def limit(self, limits: LifecycleLimits) -> None:
        """Other limits hold, from the next step of every request on."""
        self._limits = limits
        self._budget.share = limits.retry_budget

    def end_all(self) -> int:
        """End every request that is under way, streams with an error event; how many there were."""
        for task in self._running:
            task.cancel(_SHUTDOWN)
        return len(self._running)

    async def serve(self, job: Job) -> None:
        """Answer one request: when this returns, the whole answer, or a visible break in it, was given to the client.

        Raises: Refused, if nothing was given yet and no replica could answer.
        """
        record, task = job.record, asyncio.current_task()
        assert task is not None
        record.model = job.request.model
        self._running.add(task)
        total_s = self._limits.total_timeout_s
        timer = None if total_s is None else self._loop.call_later(total_s, task.cancel, _TIMEOUT)
        try:
            await self._attempts(job)
        except asyncio.CancelledError as cancelled:
            if cancelled.args and cancelled.args[0] in {_SHUTDOWN, _TIMEOUT}:
                task.uncancel()
                record.ended_by = cancelled.args[0]
                self._end(job)
                return
            record.status, record.ended_by = CLIENT_LEFT, "client"
            raise
        except ClientStalled:
            record.status, record.ended_by = CLIENT_LEFT, "slow_client"
        except Refused as refused:
            record.status, record.ended_by = refused.status, "refusal"
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._running.discard(task)
            record.ended_at = monotonic()
            self._metrics.add(record)

    def _end(self, job: Job) -> None:
        """Raises: Refused, if nothing was given yet."""
        if job.record.ended_by == _SHUTDOWN:
            event, refused = shut_down, shutting_down()
        else:
            event, refused = timed_out, too_slow("finish its answer", self._limits.total_timeout_s or 0)
        if job.given is None:
            job.record.status = refused.status
            raise refused from None
        job.record.status = job.given.status
        job.given.break_off(event(job.route.dialect))

    async def _attempts(self, job: Job) -> None:
        self._budget.requested(job.record.arrived_at)
        stream = resumable(job.route, job.request, job.outgoing, self._limits.resume)
        if stream is not None:
            job.follow(stream)
        tries = Tries(self._limits.max_attempts, self._budget)
        while tries.left:
            try:
                decision, charge = await self._place(job, tries)
            except Refused:
                if await tries.again():
                    continue
                if tries.made or job.given is not None:
                    break
                raise
            exchange = await self._attempt(job, decision, charge)
            if not exchange.committed:
                tries.failed(decision.replica, exchange, monotonic())
                continue
            if exchange.ended is Ended.ANSWERED:
                return
            broken = Broken.UNSOUND if stream is None else stream.broke(charge.replica.context_tokens)
            if stream is None or broken is not Broken.RESUMED:
                self._break_off(job, stream, broken)
                return
            job.follow(stream)
            job.record.resumed += 1
            self._metrics.stream_broke(broken)
            tries = Tries(self._limits.max_attempts, self._budget, lost=decision.replica)
        if job.given is not None:
            self._break_off(job, stream, Broken.STRANDED)
        elif tries.declined is not None:
            tries.declined.commit()
            job.record.status = tries.declined.status
        else:
            raise tries.refusal(self._limits.first_byte_timeout_s, self._limits.idle_timeout_s)

    def _break_off(self, job: Job, stream: Resumable | None, broken: Broken) -> None:
        """No replica goes on with what the client was given: it may be whole but for its end."""
        assert job.given is not None
        self._metrics.stream_broke(broken)
        if stream is not None and stream.ending is not None:
            job.given.finish(stream.ending)
            job.record.ended_by = "answer"
        else:
            job.given.break_off(replica_lost(job.route.dialect))

    async def _place(self, job: Job, tries: Tries) -> Placed:
        """Where this attempt goes, charged for, when it may. A retry has to wait only where all are at their limit."""
        request, pinned, now = job.request, job.pinned, monotonic()
        fleet, excluded = self._decider.fleet, tries.excluded
        if pinned is not None and pinned not in excluded and fleet.get(pinned) is not None:
            decision = Decision(pinned, "pinned")
        else:
            decision = self._decider.decide(request, excluded, now)
            if decision.wait:
                try:
                    return await self.room.place(request, decision, excluded)
                finally:
                    job.record.waited_s = (job.record.waited_s or 0.0) + monotonic() - now
        charge = self._decider.dispatch(request, decision, now)
        job.record.decided_s += monotonic() - now
        return decision, charge

    async def _attempt(self, job: Job, decision: Decision, charge: Charge) -> Exchange:
        """Send the request to one replica and see it through. The replica is charged for it exactly until then."""
        record, replica = job.record, charge.replica
        record.sends(decision, charge.sent_at)
        try:
            exchange = await self._send(job, charge, fresh=False)
            if exchange.ended is Ended.STALE:
                exchange = await self._send(job, charge, fresh=True)
            self._verdicts.judge(job.route, record, replica, exchange)
        except asyncio.CancelledError:
            self._metrics.attempted(replica.id, decision.reason, Ended.CANCELLED)
            raise
        finally:
            self._decider.ended(charge, monotonic(), record.usage, output_events=record.output_events)
            self.room.stir()
        return exchange

    async def _send(self, job: Job, charge: Charge, *, fresh: bool) -> Exchange:
        client, outgoing, replica = job.client, job.outgoing, charge.replica
        on_id = partial(self._pins.remember, replica=replica.id) if job.route.stores_response else None
        gaps = Gaps(self._metrics.gaps(job.record)) if job.request.stream else None
        on_token = partial(self._first_token, charge)
        exchange = Exchange(client, self._loop, on_token, on_id, job.leg, gaps)
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
        head = request_head(
            outgoing.method,
            pool.path_prefix + outgoing.target,
            pool.host_header,
            outgoing.headers,
            len(outgoing.body) if outgoing.body or outgoing.method == b"POST" else None,
            authorization=self._limits.authorization,
            drop=outgoing.drop,
        )
        try:
            connection.send(head, outgoing.body, exchange)
            self.watchman.watch(exchange, connection, charge)
            while await exchange.waiting() is Signal.CONGESTED:
                await client.catch_up(self._limits.client_stall_timeout_s)
                connection.resume(exchange)
        except ConnectionError:  # the client has gone: only waiting for it raises this
            raise asyncio.CancelledError from None
        finally:
            self.watchman.done(exchange)
            if exchange.committed:
                job.given = exchange
            if exchange.ended is None:  # the client has gone, or we end
                connection.abort()
        return exchange

    def _first_token(self, charge: Charge, now: float) -> None:
        charge.first_token(now)
        self.room.stir()
