"""READ FIRST: one request, from its arrival to its record.

    understand -> (tier) -> decide -> (wait) -> send -> hold -> relay -> record
                    ^         ^                          |        |
                    |         +---------- retry ---------+        |  nothing was given to the client yet: another takes over
                    |         +---------- resume -----------------+  tokens were given: another goes on, where that is sound
                    +------------------ fall back -------+           the model is ours to choose, and its tier did not answer

Nothing here chooses a tier or a replica (core), speaks HTTP (sending, forwarding) or renders an error (frontend).
"""

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic

from balancer.accounting.metrics import Metrics
from balancer.accounting.receipts import Receipts
from balancer.core.decider import Decider
from balancer.core.errors import Refused, shutting_down, too_slow
from balancer.core.fleet.budget import RetryBudget
from balancer.core.fleet.pins import ResponsePins
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge
from balancer.core.types import Decision
from balancer.forwarding.client import ClientStalled
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.pool import ConnectionPool
from balancer.job import Job, LifecycleLimits
from balancer.receipt import receipt
from balancer.resuming import Broken, Resumable, resumable
from balancer.sending import Sender, begin_span, end_span, give_mended
from balancer.tries import Failed, Tries
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
        receipts: Receipts,
    ) -> None:
        self._decider = decider
        self._receipts = receipts
        self._metrics = metrics
        self._limits = limits
        self._budget = RetryBudget(limits.retry_budget)
        self._verdicts = Verdicts(decider, metrics, pins)
        self._running: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()
        self.room = WaitingRoom(decider)
        self.watchman = Watchman()
        self._sender = Sender(decider, pools, pins, metrics, self.watchman, self.room.stir)

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
        self._receipts.begins(record)
        self._running.add(task)
        total_s = self._limits.total_timeout_s
        timer = None if total_s is None else self._loop.call_later(total_s, task.cancel, _TIMEOUT)
        try:
            self._budget.requested(record.arrived_at)
            if job.due is not None:
                await job.find_way(job.due)
            failed = await self._ask(job)
            if failed is not None:
                await self._fall_back(job, failed)
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
            self._receipts.ended(record)
            if job.tiers is not None:
                job.settle(job.tiers)
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

    async def _fall_back(self, job: Job, failed: Failed) -> None:
        """Ask the next tier, if there is one, until one answers; then tell what the last one said."""
        way = job.way
        while way is not None and way.leave(failed, monotonic()):
            again = await self._ask(job)
            if again is None:
                return
            failed = again
        if way is not None:
            failed = way.refusal(failed)
        if failed.declined is None:
            raise failed.refused
        failed.declined.commit()
        job.record.status = failed.declined.status

    async def _ask(self, job: Job) -> Failed | None:
        """Attempts at those who serve one model. None: the client was given something."""
        fleet, stream = self._decider.fleet, None
        if job.way is not None:
            try:
                job.enter_tier(job.way, monotonic())
            except Refused as refused:
                return Failed(refused)
        # a provider knows nothing of vLLM's ways to go on
        if not (fleet.has_providers and fleet.is_provided(job.request)):
            stream = resumable(job.route, job.request, job.outgoing, self._limits.resume)
        if stream is not None:
            job.follow(stream)
        tries = Tries(self._limits.max_attempts, self._budget)
        while tries.left:
            try:
                decision, charge = await self._place(job, tries)
            except Refused as refused:
                if await tries.again():
                    continue
                if tries.made or job.given is not None:
                    break
                return Failed(refused)
            exchange = await self._attempt(job, decision, charge)
            if not exchange.committed:
                tries.failed(charge.replica, exchange, monotonic())
                continue
            if exchange.ended is Ended.ANSWERED:
                return None
            broken = Broken.UNSOUND if stream is None else stream.broke(charge.replica.context_tokens)
            if stream is None or broken is not Broken.RESUMED:
                self._break_off(job, stream, broken)
                return None
            job.follow(stream)
            job.record.resumed += 1
            self._metrics.stream_broke(broken)
            tries = Tries(self._limits.max_attempts, self._budget, lost=decision.replica)
        if job.given is not None:
            self._break_off(job, stream, Broken.STRANDED)
            return None
        return tries.failure(self._limits.first_byte_timeout_s, self._limits.idle_timeout_s)

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
        job.decided_at, fleet, excluded = now, self._decider.fleet, tries.excluded
        if pinned is not None and pinned not in excluded and fleet.get(pinned) is not None:
            decision = Decision(pinned, "pinned")
        else:
            chosen = None if job.way is None else job.take_choice()
            decision = chosen or self._decider.decide(request, excluded, now)
        if fleet.has_providers:
            decision = self._decider.admit(decision, now)
        if decision.wait:
            try:
                return await self.room.place(request, decision, excluded)
            finally:
                job.record.waited_s = (job.record.waited_s or 0.0) + monotonic() - now
                if job.trace is not None:
                    job.trace.waited(now, decision)
        charge = self._decider.dispatch(request, decision, now)
        job.record.decided_s += monotonic() - now
        return decision, charge

    async def _attempt(self, job: Job, decision: Decision, charge: Charge) -> Exchange:
        """Send the request to one replica and see it through. The replica is charged for it exactly until then."""
        record, replica, limits = job.record, charge.replica, self._limits
        attempt = record.sends(decision, job.decided_at, charge.sent_at, job.offers)
        attempt.resumes = job.given is not None
        if limits.decision_headers:
            job.told = receipt(record)
        if job.trace is not None:
            begin_span(job, job.trace, replica)
        try:
            stall_timeout_s = limits.client_stall_timeout_s
            exchange = await self._sender.send(job, charge, stall_timeout_s, fresh=False)
            if exchange.ended is Ended.STALE:
                exchange = await self._sender.send(job, charge, stall_timeout_s, fresh=True)
            if job.healer is not None and exchange.kept:
                await give_mended(job, job.healer, exchange)
            if job.trace is not None:
                end_span(job.trace, exchange)
            self._verdicts.judge(job.route, record, replica, exchange)
        except asyncio.CancelledError:
            self._metrics.attempted(replica.id, decision.reason, Ended.CANCELLED)
            attempt.outcome = Ended.CANCELLED
            raise
        finally:
            attempt.ended_at = now = monotonic()
            self._decider.ended(charge, now, record.usage, output_events=record.output_events)
            self.room.stir()
        return exchange
