"""predicted_latency, the default: the replica where the request costs least time, its own and that of the others.

    cost_i = wait_i + f * work_i + step_i + out * per_output_i + harm_i * prefill_i                       [seconds]

    wait_i        what is before it: prompt tokens sent to i and not yet at their first token, less what was worked off
                  since the last one; and the work of those that wait here for i and would go first
    work_i        its own prefill, for the tokens that i does not hold: prefill_i of them, and attention over their context
    f             1 + lambda * min_j wait_j: with a backlog everywhere, each second of work delays all that arrive
                  meanwhile (lambda: arrivals a second and replica)
    step_i        one decode step there now
    per_output_i  a token of its answer: DECODE of a step, and its share of waiting for KV-cache memory and a seat
    harm_i        INFLICTED a stream that stalls meanwhile, and what is evicted: EVICTED * the chance that a block as old
                  as the next one to go is used again

Speeds are learned per replica (core/fleet/speed.py), so costs are seconds on any mix of hardware. The replicas within
HOME of the least cost, or as far as predictions are off, that hold as much of the prompt are a tie. It goes to the
conversation's home, by rendezvous hashing with bounded loads: a second balancer, or this one restarted, sends it to the
same place.

Late binding: while the best replica has OPEN_S of backlog, or no memory or seat, the request waits in the balancer,
where its place can still change. A replica that opens gets, of those placed there whose turn is first, the one with the
least work, less AGEING of the time it has waited, so that none starves.

It grew out of PLR and PLR-Q of our own simulations; what each part is good for is in README.md beside this file.
"""

from collections.abc import Iterator, Sequence
from math import exp, inf
from operator import itemgetter
from typing import ClassVar, overload

from balancer.core.fleet.replica import ReplicaState
from balancer.core.fleet.speed import PRIOR, Coefficients, Siblings, Speed
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import Indexed, block_tokens, reason, uncached_tokens
from balancer.core.scheduling.lane import Lane
from balancer.core.scheduling.outputs import OutputLengths
from balancer.core.scheduling.policy import Quote
from balancer.core.scheduling.rendezvous import rendezvous
from balancer.core.scheduling.session import session_key
from balancer.core.scheduling.waiting import Pool, Turn, Waiting
from balancer.core.types import Candidate, Decision, Parts, ReplicaId, RequestView

AGEING = 0.15
"""Seconds of work that a second of waiting makes up for."""
MOST_CONGESTION = 20.0
RATE_WINDOW_S = 10.0
EVICTED = 2.0
REUSE_SPAN = 3.0
"""The chance of being used again falls to 1/e after so many times the usual time between two uses."""
FIRST_REUSE_S = 10.0
HOME = 0.1
MOST_UNSURE = 0.3
"""Costs that differ by less than predictions are off, up to this, are alike: else who once seemed slower is never asked
again.
"""
HOME_BOUND = 1.25
"""A home has had at most so many times its share of the requests lately (Mirrokni, Thorup and Zadimoghaddam 2016)."""
PASSED_OVER = 16
"""An idle replica that was not asked while its siblings were so often, each, is asked again: what seemed slow may be no more."""
MOST_GROUPS = 256
REPLACED_S = 1.0
"""A request that waits is placed anew after so long,"""
IDLE_REPLACED_S = 0.1
"""or after so long, when a replica stands open that nobody waits for;"""
MOST_REPLACED = 16
"""so many at once."""

Row = tuple[float, Lane, int, float, float, float, int, int]
"""cost, replica, matched tokens; of the cost: wait, work, load; requests in flight, pending tokens"""


class Candidates(Sequence[Candidate]):
    """The receipt, best first. Written out when it is read, since most never are."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._written())

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        return self._written()[index]

    def row(self, replica: ReplicaId) -> Row:
        return next(row for row in self._rows if row[1].replica.id == replica)

    def _written(self) -> list[Candidate]:
        return [
            Candidate(
                lane.replica.id,
                cost,
                matched,
                in_flight,
                pending,
                Parts(wait_s, work_s, load_s, cost - wait_s - work_s - load_s),
            )
            for cost, lane, matched, wait_s, work_s, load_s, in_flight, pending in sorted(
                self._rows, key=itemgetter(0)
            )
        ]


class PredictedLatency(Indexed):
    name: ClassVar[str] = "predicted_latency"
    holds: ClassVar[bool] = True

    def __init__(self, index: PrefixIndex, prior: Coefficients = PRIOR) -> None:
        super().__init__(index)
        self._prior = prior
        self._lanes: dict[int, Lane] = {}  # by slot
        self._lane_of: dict[ReplicaId, Lane] = {}
        self._siblings: dict[frozenset[str] | None, Siblings] = {}
        self._outputs = OutputLengths()
        self._turn = 0
        self._arrivals_per_s = 0.0
        self._arrived_s = 0.0
        self._reuse_s = FIRST_REUSE_S

    # -- choosing

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self.arrived(now)
        return self._choose(request, replicas, now, None)

    def preview(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        return self._choose(request, replicas, now, None)

    def arrived(self, now: float) -> None:
        self._arrivals_per_s *= exp((self._arrived_s - now) / RATE_WINDOW_S)
        self._arrivals_per_s += 1 / RATE_WINDOW_S
        self._arrived_s = now

    def quote(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Quote:
        decision = self._choose(request, replicas, now, None)
        assert isinstance(decision.candidates, Candidates)
        cost_s, lane, hit, wait_s, *_ = decision.candidates.row(decision.replica)
        output_tokens = self._outputs.expected(request)
        busy_s = lane.busy_s(request.prompt_tokens, hit, output_tokens)
        return Quote(decision, cost_s, wait_s, busy_s, lane.prefill_s)

    def _choose(
        self, request: RequestView, replicas: Sequence[ReplicaState], now: float, waiting: Waiting | None
    ) -> Decision:
        lanes = self._lanes
        waits = []
        least_s = float("inf")
        for replica in replicas:
            lane = lanes[replica.slot]
            # what refresh() asks first, without the call: this runs for each replica and request
            if lane.stale or now >= lane.due_s or replica.sample is not lane.sample:
                lane.refresh(now)
            wait_s = 0.0
            if replica.in_flight:
                wait_s = lane.backlog(now) * lane.backlog_s + lane.overdue_s(now)
            queued_s = wait_s
            if lane.waiting:
                queued_s += sum(lane.waiting_tokens) * lane.backlog_s
            least_s = min(least_s, queued_s)
            waits.append(wait_s)
        f = 1 + min(MOST_CONGESTION, self._arrivals_per_s / len(lanes) * least_s)

        prompt_tokens, per_block = request.prompt_tokens, block_tokens(request)
        output_tokens = self._outputs.expected(request)
        matched = self._index.match(request.block_keys)
        rows: list[Row] = []
        best: Row | None = None
        least_s = float("inf")
        for replica, backlog_s in zip(replicas, waits, strict=True):
            slot = replica.slot
            lane = lanes[slot]
            hit = min(prompt_tokens, int(matched[slot] * per_block)) if slot in matched else 0
            uncached = prompt_tokens - hit
            wait_s = backlog_s
            if lane.waiting:
                wait_s += lane.ahead_tokens(uncached, waiting) * lane.backlog_s
            prefill_s = uncached * lane.prefill_s
            work_s = f * (prefill_s + uncached * lane.attention_s * (hit + uncached / 2))
            load_s = lane.load_s + output_tokens * lane.per_output_s
            cost = wait_s + work_s + load_s + lane.harm * prefill_s
            row = (cost, lane, hit, wait_s, work_s, load_s, replica.in_flight, replica.pending_tokens)
            rows.append(row)
            if cost <= least_s and (best is None or cost < least_s or _before(row, best)):
                best, least_s = row, cost
        assert best is not None
        chosen, why = best, reason(best[2], [row[2] for row in rows], "uncached") if matched else "uncached"
        if (unheard := self._unheard(rows, best)) is not None:
            chosen, why = unheard, "unheard"
        elif (home := self._home(request, rows, best, now)) is not None and home is not best:
            chosen, why = home, "home"
        return self._decision(request, chosen[1], chosen[2], why, now, Candidates(rows))

    def _unheard(self, rows: list[Row], best: Row) -> Row | None:
        """An idle replica whose speed was seen long ago, if nothing cached is lost by going there."""
        if best[1].speed.siblings.asked % len(rows):
            return None  # often enough
        row = max(rows, key=_passed_over)
        if _passed_over(row) < PASSED_OVER * len(rows) or row[1].waiting or row[6] or row[2] < best[2]:
            return None
        return row

    def _home(self, request: RequestView, rows: list[Row], best: Row, now: float) -> Row | None:
        """The conversation's home, among the replicas that are as good as the best and did not get more than their share."""
        key = session_key(request)
        if key is None:
            return None
        unsure = min(MOST_UNSURE, best[1].speed.error)
        limit, hit = best[0] * (1 + max(HOME, unsure)), best[2]
        tied = {row[1].replica: row for row in rows if row[0] <= limit and row[2] >= hit}
        if len(tied) == 1:
            return None
        recent = {replica: row[1].recent(now) for replica, row in tied.items()}
        mean = sum(recent.values()) / len(recent)
        bound = max(mean, HOME_BOUND * (mean + 1 / len(recent)) - 1)  # with this one it would be at its bound
        return tied[rendezvous(key, (replica for replica in tied if recent[replica] <= bound))[0]]

    def _decision(
        self,
        request: RequestView,
        lane: Lane,
        hit: int,
        why: str,
        now: float,
        candidates: Sequence[Candidate],
    ) -> Decision:
        return Decision(
            lane.replica.id,
            why,
            hit,
            uncached_tokens(request, hit),
            candidates,
            wait=(request.prompt_tokens > 0 and (bool(lane.waiting) or not lane.open(now)))
            or lane.replica.at_limit,
            predicted_s=lane.predicted_s(request, hit, now),
        )

    # -- late binding

    def waits(self, waiting: Waiting) -> None:
        self._lane_of[waiting.decision.replica].joins(waiting)

    def waits_no_more(self, waiting: Waiting) -> None:
        lane = self._lane_of.get(waiting.decision.replica)
        if lane is not None:
            lane.leaves(waiting)

    def release(
        self, waiting: Sequence[Waiting], replicas: Sequence[ReplicaState], now: float
    ) -> tuple[Waiting, Decision] | None:
        lanes = [self._lanes[replica.slot] for replica in replicas]
        there = {lane.replica.id for lane in lanes}
        self._replace([w for w in waiting if w.decision.replica not in there], replicas, now)
        self._replace([w for w in waiting if now - w.decided_at > REPLACED_S][:MOST_REPLACED], replicas, now)
        opened = []
        for lane in lanes:
            lane.refresh(now)
            if lane.open(now):
                opened.append(lane)
        if not opened:
            return None
        found = self._least(opened, waiting[0].pool, now)
        if found is None and (idle := [lane for lane in opened if not lane.waiting]):
            stale = [w for w in waiting if now - w.decided_at > IDLE_REPLACED_S][:MOST_REPLACED]
            self._replace(stale, replicas, now)
            found = self._least(idle, waiting[0].pool, now)
        if found is None:
            return None
        lane = self._lane_of[found.decision.replica]
        hit = found.decision.matched_tokens
        decision = found.decision
        return found, decision._replace(wait=False, predicted_s=lane.predicted_s(found.request, hit, now))

    def _least(self, opened: Sequence[Lane], pool: Pool, now: float) -> Waiting | None:
        """Who goes next of those placed there."""
        best: tuple[Turn, float] | None = None
        found = None
        for lane in opened:
            prefill_s = lane.prefill_s
            for waiting in lane.waiting:
                rank = waiting.decision.uncached_tokens * prefill_s - AGEING * (now - waiting.since)
                place = waiting.turn, rank
                if (best is None or place < best) and waiting.pool == pool:
                    best, found = place, waiting
        return found

    def expected_output_tokens(self, request: RequestView) -> float:
        return self._outputs.expected(request)

    def _replace(self, moved: Sequence[Waiting], replicas: Sequence[ReplicaState], now: float) -> None:
        for waiting in moved:
            decision = self._choose(waiting.request, replicas, now, waiting)
            self.waits_no_more(waiting)
            waiting.decision, waiting.decided_at = decision, now
            self.waits(waiting)

    # -- what happens

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        lane = Lane(replica, self._speed(replica))
        self._lanes[replica.slot] = self._lane_of[replica.id] = lane

    def _speed(self, replica: ReplicaState) -> Speed:
        return Speed(self._siblings_of(replica))

    def speed_of(self, replica: ReplicaId) -> Speed:
        """What was learned of the replica."""
        return self._lane_of[replica].speed

    def left(self, replica: ReplicaState) -> None:
        super().left(replica)
        lane = self._lanes.pop(replica.slot)
        lane.speed.leave()
        for waiting in lane.waiting:
            waiting.decided_at = -inf  # whoever comes next under this name does not know of them
        if self._lane_of.get(replica.id) is lane:
            del self._lane_of[replica.id]

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        super().sized(replica, kv_capacity_tokens)
        self._lanes[replica.slot].capacity_tokens = kv_capacity_tokens
        self._lanes[replica.slot].stale = True

    def slowed(self, replica: ReplicaState, times: float) -> None:
        lane = self._lanes[replica.slot]
        lane.speed.slowed(times)
        lane.stale = True

    def dispatched(self, charge: Charge, now: float) -> None:
        lane = self._lanes[charge.replica.slot]
        if lane.models != charge.replica.models:  # they were not known yet, or have changed
            lane.models = charge.replica.models
            lane.speed.regroup(self._siblings_of(charge.replica))
        super().dispatched(charge, now)
        lane.speed.ask()
        self._turn += 1
        charge.replica.last_chosen = self._turn
        oldest_s = self._index.oldest_age(charge.replica.slot, now)
        lane.evicted = (
            EVICTED * exp(-oldest_s / (REUSE_SPAN * self._reuse_s)) if oldest_s is not None else 0.0
        )
        lane.sent(charge, self._outputs.expected(charge.request), now)

    def first_token(self, charge: Charge, now: float) -> None:
        lane = self._lane_of.get(charge.replica.id)
        if lane is not None:
            lane.first_token(charge, now)

    def ended(self, charge: Charge, now: float) -> None:
        super().ended(charge, now)
        lane = self._lane_of.get(charge.replica.id)
        if lane is not None:
            lane.ended(charge, now)
        if charge.output_tokens:
            self._outputs.saw(charge.request, charge.output_tokens)

    def _siblings_of(self, replica: ReplicaState) -> Siblings:
        if len(self._siblings) > MOST_GROUPS:  # adapters come and go
            self._siblings = {models: siblings for models, siblings in self._siblings.items() if siblings}
        return self._siblings.setdefault(replica.models, Siblings(self._prior))

    def _reused(self, charge: Charge, age_s: float) -> None:
        weight = 0.01 * min(1.0, charge.matched_tokens / 10_000)
        self._reuse_s += weight * (age_s - self._reuse_s)


def _passed_over(row: Row) -> int:
    return row[1].speed.passed_over


def _before(row: Row, other: Row) -> bool:
    """Which of two that cost the same: the longer match, then the one chosen longest ago."""
    return (-row[2], row[1].replica.last_chosen) < (-other[2], other[1].replica.last_chosen)
