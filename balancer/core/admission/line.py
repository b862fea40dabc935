"""Requests that wait in the balancer: because no replica has room, or none is worth it yet (late binding).

While a replica has a backlog, a request gains nothing from standing in its queue, and loses the choice: of another
replica that is done sooner, of being overtaken by who goes first. So none that waits is bound to a replica: it is placed when
there is room, by the state of that moment.

    order: priority (lower first), deadline (earlier first, those without one last), the tenant that got least (shares.py);
    within these the policy's, if it holds requests back itself, else that of arrival

A policy that holds requests back says who goes and where (Policy.release), and asks for those whose turn is first. For all
others a request waits while every replica that could have it is saturated, or others wait for the same model.

A retry waits only where all are at their limit, and then goes before everybody: it was admitted once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf

from balancer.core.admission.drain_rate import DrainRate
from balancer.core.admission.limits import Limits, Reason
from balancer.core.admission.queue import Queue
from balancer.core.admission.saturation import below_limit, with_room
from balancer.core.admission.shares import Shares
from balancer.core.errors import Refused
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Charge, Policy, Quote, Waiting
from balancer.core.scheduling.waiting import Pool, Turn, pool
from balancer.core.types import Decision, ReplicaId, RequestView

MOST_QUEUES = 256
"""Of models for which nobody waits, no more are remembered."""

Released = tuple[Waiting, Decision | Refused]


class Line:
    """`refused` counts by model and reason. `limits` may be replaced at any time."""

    def __init__(self, fleet: Fleet, policy: Policy, limits: Limits | None = None) -> None:
        self._fleet = fleet
        self._policy = policy
        self.limits = limits or Limits()
        self._queues: dict[Pool, Queue] = {}
        self._shares = Shares()
        self._retries: list[Waiting] = []
        self._refusals: list[tuple[Waiting, Refused]] = []
        self._waiting = 0
        self._next_end_s = inf
        self.refused: Counter[tuple[str | None, Reason]] = Counter()

    def __len__(self) -> int:
        return self._waiting

    def __repr__(self) -> str:
        return f"<Line of {self._waiting} requests for {len(self._queues)} pools>"

    def requests(self) -> Iterator[RequestView]:
        """All that wait."""
        for waiting in self._all():
            yield waiting.request

    def rates(self) -> Iterator[tuple[str | None, DrainRate]]:
        """How fast each queue drains, by its model."""
        for of, queue in self._queues.items():
            yield _model(of), queue.rate

    # -- whether to wait

    def decide(
        self,
        request: RequestView,
        replicas: Sequence[ReplicaState],
        now: float,
        *,
        retry: bool,
        dry: bool = False,
    ) -> Decision:
        """Where it goes, of these replicas; `wait` says: rather not yet. `dry`: where it would, and nothing is decided."""
        policy = self._policy
        choose = policy.preview if dry else policy.choose
        if retry or self.limits.max_waiting == 0:
            free = below_limit(replicas)
            return choose(request, free or replicas, now)._replace(wait=not free)
        if policy.holds:
            return choose(request, replicas, now)
        queue = self._queues.get(pool(request))
        free = () if queue else with_room(replicas, now)
        if free:
            return choose(request, free, now)
        return choose(request, replicas, now)._replace(wait=True)

    def quote(
        self, request: RequestView, replicas: Sequence[ReplicaState], now: float, *, retry: bool
    ) -> Quote | None:
        """What `decide` would say, and what it would cost, without deciding; None: the policy counts in no seconds."""
        policy = self._policy
        if not retry and self.limits.max_waiting != 0:
            return policy.quote(request, replicas, now)
        free = below_limit(replicas)
        quote = policy.quote(request, free or replicas, now)
        return quote and quote._replace(decision=quote.decision._replace(wait=not free))

    def would_wait(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> bool:
        """Whether `decide` would say so; for policies that don't hold requests back themselves."""
        if self.limits.max_waiting == 0:
            return not below_limit(replicas)
        return bool(self._queues.get(pool(request))) or not with_room(replicas, now)

    def full(self, request: RequestView) -> bool:
        """Whether `join` would refuse it."""
        most, queue = self.limits.max_waiting, self._queues.get(pool(request))
        if most is None:
            return False
        return most == 0 or (queue is not None and len(queue) >= most and queue.last_for(request) is None)

    # -- coming and going

    def join(
        self,
        request: RequestView,
        decision: Decision,
        now: float,
        tried: frozenset[ReplicaId] = frozenset(),
    ) -> Waiting:
        """Raises: Refused, if as many wait as may, and none of them has to make room."""
        if not tried:
            self._make_room(request, now)
        max_wait_s, deadline = self.limits.max_wait_s, request.deadline
        ends_at = min(inf if max_wait_s is None else now + max_wait_s, inf if deadline is None else deadline)
        self._next_end_s = min(self._next_end_s, ends_at)
        share = self._shares.joins(request.tenant)
        waiting = Waiting(request, now, decision, now, share, ends_at, tried)
        self._waiting += 1
        if tried:
            self._retries.append(waiting)
        else:
            self._queue(waiting.pool).add(waiting, now)
            self._policy.waits(waiting)
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """It has been sent, or its client has gone. Further calls do nothing."""
        self._leave(waiting)

    def _leave(self, waiting: Waiting) -> None:
        if waiting in self._retries:
            self._retries.remove(waiting)
        else:
            queue = self._queues.get(waiting.pool)
            if queue is None or not queue.remove(waiting):
                self._refusals = [each for each in self._refusals if each[0] is not waiting]
                return
            self._policy.waits_no_more(waiting)
        self._waiting -= 1
        self._shares.leaves(waiting.share)

    def sent(self, charge: Charge) -> None:
        """An attempt is sent, whether it waited or not: it counts to what its tenant got."""
        request = charge.request
        tokens = charge.uncached_tokens + self._policy.expected_output_tokens(request)
        # a policy that reads no prompts has no tokens to count: then it is by requests
        self._shares.got(request.tenant, max(1.0, tokens))

    # -- who goes

    def release(self, now: float) -> Iterator[Released]:
        """Who goes now, and where; or why not, for those that are refused. Each must be sent before the next is asked
        for, since that changes what the next finds.
        """
        self._expire(now)
        refusals, self._refusals = self._refusals, []
        yield from refusals
        yield from self._release_retries(now)
        pools = [of for of, queue in self._queues.items() if queue]
        while pools:
            first = self._first(pools)
            queue = self._queues[first]
            try:
                found = self._next(queue, self._fleet.eligible(_model(first), now, among=_among(first)), now)
            except Refused as refused:
                for waiting in list(queue.waiting):
                    self._leave(waiting)
                    yield waiting, refused
                found = None
            if found is not None:
                queue.rate.sent(now)
                self._leave(found[0])
                yield found
            if found is None or not queue:
                pools.remove(first)

    def _first(self, pools: Sequence[Pool]) -> Pool:
        """The pool whose first in order goes first: pools may share replicas, as LoRA adapters do."""
        if len(pools) == 1:
            return pools[0]

        def turn(of: Pool) -> tuple[Turn, float]:
            first = self._queues[of].first()
            return first.turn, first.since

        return min(pools, key=turn)

    def _next(
        self, queue: Queue, replicas: Sequence[ReplicaState], now: float
    ) -> tuple[Waiting, Decision] | None:
        if self._policy.holds:
            return self._policy.release(queue.waiting, replicas, now)
        free = with_room(replicas, now)
        if not free:
            return None
        first = queue.first()
        return first, self._policy.choose(first.request, free, now)

    def _release_retries(self, now: float) -> Iterator[Released]:
        for waiting in list(self._retries):
            request = waiting.request
            try:
                free = below_limit(self._fleet.eligible(request.model, now, waiting.tried, request.among))
            except Refused as refused:
                self._leave(waiting)
                yield waiting, refused
                continue
            if free:
                self._leave(waiting)
                yield waiting, self._policy.choose(request, free, now)._replace(wait=False)

    # -- who may not wait

    def _make_room(self, request: RequestView, now: float) -> None:
        limits = self.limits
        if limits.max_waiting is None:
            return
        queue = self._queue(pool(request))
        if len(queue) < limits.max_waiting:
            return
        last = queue.last_for(request)
        if last is None:
            raise self._refusal(request, Reason.FULL, now)
        self._refuse(last, Reason.PUSHED_OUT, now)

    def _expire(self, now: float) -> None:
        if now < self._next_end_s:
            return
        waiting = self._all()
        self._next_end_s = min((each.ends_at for each in waiting if each.ends_at > now), default=inf)
        for each in waiting:
            if each.ends_at <= now:
                late = each.request.deadline is not None and each.request.deadline <= now
                self._refuse(each, Reason.DEADLINE if late else Reason.WAITED, now)

    def _refuse(self, waiting: Waiting, reason: Reason, now: float) -> None:
        refusal = self._refusal(waiting.request, reason, now)
        self._leave(waiting)
        self._refusals.append((waiting, refusal))

    def _refusal(self, request: RequestView, reason: Reason, now: float) -> Refused:
        known = any(replica.serves(request.model) for replica in self._fleet)
        self.refused[request.model if known else "other", reason] += 1
        queue = self._queue(pool(request))
        return self.limits.refusal(reason, queue.rate.wait_s(len(queue), now))

    def _all(self) -> list[Waiting]:
        return [*self._retries, *(each for queue in self._queues.values() for each in queue.waiting)]

    def _queue(self, of: Pool) -> Queue:
        queue = self._queues.get(of)
        if queue is None:
            if len(self._queues) >= MOST_QUEUES:
                self._queues = {name: each for name, each in self._queues.items() if each}
            queue = self._queues[of] = Queue()
        return queue


def _model(of: Pool) -> str | None:
    return of[0] if isinstance(of, tuple) else of


def _among(of: Pool) -> frozenset[ReplicaId] | None:
    return of[1] if isinstance(of, tuple) else None
