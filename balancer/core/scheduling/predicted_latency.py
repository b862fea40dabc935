"""predicted_latency: the replica that answers soonest, in seconds, and no sooner than it helps.

draft
"""

import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log1p
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.fleet.speed import BUDGET_TOKENS, PRIOR, Coefficients, Speed
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import BLOCK_TOKENS, Indexed
from balancer.core.scheduling.line import Waiting
from balancer.core.types import Candidate, Decision, EngineSample, RequestView

E = lambda n, d: float(os.environ.get(n, d))
MOST_SEQUENCES = 256
INFLICTED = E("INFL", 0.05)
DECODE = E("DECODE", 0.04)
DECAY = 0.8
FLOOR = 0.05
MOST_CONGESTION = 20.0
RATE_WINDOW_S = 10.0
FIRST_OUTPUT_TOKENS = 256.0
SPREAD = E("SPREAD", 0.05)
KVW = E("KVW", 1)
KVHOLD = E("KVHOLD", 1)
OPEN_S = E("OPEN", 0.5)
AGEING = E("AGEING", 0.15)
REPLACE_S = E("REPLACE", 1.0)
SATURATION = E("SAT", 1.0)
HOLD = E("HOLD", 1)
SEAT = E("SEAT", 3)
EVICT = E("EVICT", 2)


@dataclass(slots=True, eq=False)
class Lane:
    """One replica as this policy sees it."""

    replica: ReplicaState
    speed: Speed
    head_since_s: float = 0.0
    decoding: int = 0
    prompt_tokens: int = 0  # of all in flight
    capacity_tokens: int | None = None
    footprint: float = 0.0
    held_share: float = 1.0
    sample: EngineSample | None = None
    context_tokens: float = 0.0  # of those that decode
    at_s: float = 0.0
    sequence_seconds: float = 0.0
    context_seconds: float = 0.0
    prefilled_tokens: float = 0.0
    attention: float = 0.0
    silent: deque[tuple[float, Charge]] = field(default_factory=deque)
    queue: dict[Charge, None] = field(default_factory=dict)
    waiting: dict[Waiting, None] = field(default_factory=dict)
    waiting_tokens: list[int] = field(default_factory=lambda: [0] * 24)

    def backlog(self, now: float) -> float:
        pending = self.replica.pending_tokens
        if pending <= 0:
            return 0.0
        worked_off = (now - self.head_since_s) * DECAY / self.speed.now.prefill
        head = next(iter(self.queue)).uncached_tokens if self.queue else pending
        return pending - min(worked_off, (1 - FLOOR) * head)

    def step_s(self) -> float:
        c = self.speed.now
        return c.base + c.sequence * self.replica.in_flight + c.context * self.prompt_tokens

    def overcommitted(self, tokens: float) -> float:
        """How far the KV cache would be over its capacity, as a share of that."""
        if self.capacity_tokens is None:
            return -1.0
        sample = self.replica.sample
        if sample is not self.sample:
            self.sample = sample
            if sample is not None and sample.kv_usage is not None and self.footprint > 0:
                seen = min(1.0, sample.kv_usage * self.capacity_tokens / self.footprint)
                self.held_share += 0.3 * (seen - self.held_share)
        return self.held_share * (self.footprint + tokens) / self.capacity_tokens - 1

    def memory_wait_s(self, tokens: float, output_tokens: float) -> float:
        """How long memory for so many tokens is waited for: what is lacking over what running requests give back."""
        over = self.overcommitted(tokens)
        if over < -8 * SPREAD or self.capacity_tokens is None:
            return 0.0
        lacking = SPREAD * self.capacity_tokens * log1p(exp(min(over / SPREAD, 50.0)))
        return lacking * output_tokens * self.step_s() / max(self.footprint * self.held_share, 1.0)

    def seat_wait_s(self, output_tokens: float) -> float:
        n = self.replica.in_flight
        over = ((n + 1) / MOST_SEQUENCES - 1) / SPREAD
        if over < -8:
            return 0.0
        lacking = SPREAD * MOST_SEQUENCES * log1p(exp(min(over, 50.0)))
        return lacking * output_tokens * self.step_s() / max(n, 1)

    def tick(self, now: float) -> None:
        passed = now - self.at_s
        self.at_s = now
        self.sequence_seconds += self.decoding * passed
        self.context_seconds += self.context_tokens * passed


@dataclass(slots=True)
class Marks:
    """Where the lane's sums stood when the attempt was sent, and at its first token."""

    at_s: float
    sequence_seconds: float
    context_seconds: float
    prefilled_tokens: float
    attention: float
    ahead_tokens: float = 0.0
    footprint: float = 0.0


def _marks(lane: Lane, now: float, ahead_tokens: float = 0.0) -> Marks:
    return Marks(
        now, lane.sequence_seconds, lane.context_seconds, lane.prefilled_tokens, lane.attention, ahead_tokens
    )


class PredictedLatency(Indexed):
    name: ClassVar[str] = "predicted_latency"

    def __init__(self, index: PrefixIndex) -> None:
        super().__init__(index)
        self._lanes: dict[int, Lane] = {}
        self._turn = 0
        self._output_tokens = FIRST_OUTPUT_TOKENS
        self._outputs = 0
        self._gap_s = 10.0
        self._arrivals_per_s = 0.0
        self._arrived_s = 0.0
        self._marks: dict[Charge, Marks] = {}

    # -- choosing

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self._arrived(now)
        return self._choose(request, replicas, now, None)

    def _choose(
        self, request: RequestView, replicas: Sequence[ReplicaState], now: float, waiting: Waiting | None
    ) -> Decision:
        matched = self._index.match(request.block_keys)
        bases, congestion = self._price(request, replicas, now)
        candidates = []
        best = None
        chosen = replicas[0]
        for replica, base in zip(replicas, bases, strict=True):
            hit = self._hit(matched, request, replica)
            cost = base + self._work_s(request.prompt_tokens - hit, replica, congestion)
            lane = self._lanes[replica.slot]
            if EVICT:
                age = self._index.oldest_age(replica.slot, now)
                if age is not None:
                    cost += EVICT * exp(-age / self._gap_s) * (request.prompt_tokens - hit) * lane.speed.now.prefill
            if lane.waiting:
                cost += self._ahead_s(lane, request.prompt_tokens - hit, waiting)
            candidates.append(Candidate(replica.id, cost, hit, replica.in_flight, replica.pending_tokens))
            rank = (cost, -hit, replica.last_chosen)
            if best is None or rank < best:
                best, chosen = rank, replica
        assert best is not None
        return self._decision(request, chosen, -best[1], now, tuple(candidates))

    def _ahead_s(self, lane: Lane, uncached: int, waiting: Waiting | None) -> float:
        """The work of those that wait for the replica too, and would go first."""
        place = _place(uncached)
        ahead = sum(lane.waiting_tokens[: place + 1])
        if waiting is not None and waiting in lane.waiting:
            ahead -= waiting.decision.uncached_tokens
        return max(0, ahead) * lane.speed.now.prefill

    def waits(self, waiting: Waiting) -> None:
        lane = self._lane_of(waiting)
        lane.waiting[waiting] = None
        lane.waiting_tokens[_place(waiting.decision.uncached_tokens)] += waiting.decision.uncached_tokens

    def waits_no_more(self, waiting: Waiting) -> None:
        lane = self._lane_of(waiting)
        if waiting in lane.waiting:
            del lane.waiting[waiting]
            lane.waiting_tokens[_place(waiting.decision.uncached_tokens)] -= waiting.decision.uncached_tokens

    def _lane_of(self, waiting: Waiting) -> Lane:
        return self._by_id[waiting.decision.replica]

    def release(
        self, waiting: Sequence[Waiting], replicas: Sequence[ReplicaState], now: float
    ) -> tuple[Waiting, Decision] | None:
        for held in list(waiting):
            if now - held.decided_at > REPLACE_S:
                self._again(held, replicas, now)
        best: tuple[float, Waiting] | None = None
        for replica in replicas:
            lane = self._lanes[replica.slot]
            if not lane.waiting or not self._open(replica, now):
                continue
            for held in lane.waiting:
                rank = held.decision.uncached_tokens * lane.speed.now.prefill - AGEING * (now - held.since)
                if best is None or rank < best[0]:
                    best = (rank, held)
        if best is None:
            idle = [replica for replica in replicas if not self._lanes[replica.slot].waiting and self._open(replica, now)]
            if not idle:
                return None
            for held in list(waiting):
                if now - held.decided_at > 0.1:
                    self._again(held, replicas, now)
                    if not held.decision.wait:
                        return held, held.decision
            return None
        held = best[1]
        return held, held.decision

    def _again(self, held: Waiting, replicas: Sequence[ReplicaState], now: float) -> None:
        decision = self._choose(held.request, replicas, now, held)
        self.waits_no_more(held)
        held.decision, held.decided_at = decision, now
        self.waits(held)

    def _decision(
        self, request: RequestView, replica: ReplicaState, hit: int, now: float, candidates: tuple[Candidate, ...]
    ) -> Decision:
        uncached = max(1, request.prompt_tokens - hit)
        lane = self._lanes[replica.slot]
        c = lane.speed.now
        backlog = lane.backlog(now)
        steps = 1 + (backlog + uncached) / BUDGET_TOKENS
        predicted_s = (
            c.request
            + steps * lane.step_s()
            + c.prefill * (backlog + uncached)
            + c.attention * uncached * (hit + uncached / 2)
        )
        wait = HOLD and (bool(lane.waiting) or not self._open(replica, now))
        return Decision(replica.id, "least_time", hit, uncached, candidates, wait, predicted_s)

    def _open(self, replica: ReplicaState, now: float) -> bool:
        if not replica.in_flight:
            return True
        lane = self._lanes[replica.slot]
        if KVHOLD and lane.overcommitted(self._output_tokens) > 0:
            return False
        return lane.backlog(now) * lane.speed.now.prefill < OPEN_S and replica.in_flight < MOST_SEQUENCES

    def _price(
        self, request: RequestView, replicas: Sequence[ReplicaState], now: float
    ) -> tuple[list[float], float]:
        """What each replica costs before any work of the request's own, and f."""
        bases = []
        least_wait_s = float("inf")
        need = request.prompt_tokens + self._output_tokens
        for replica in replicas:
            lane = self._lanes[replica.slot]
            self._settle(lane, now)
            backlog = lane.backlog(now)
            wait_s = backlog * lane.speed.now.prefill
            queued_s = wait_s + (sum(lane.waiting_tokens) * lane.speed.now.prefill if lane.waiting else 0.0)
            least_wait_s = min(least_wait_s, queued_s)
            steps = 1 + backlog / BUDGET_TOKENS + DECODE * self._output_tokens
            memory_s = KVW * lane.memory_wait_s(need, self._output_tokens) if KVW else 0.0
            if SEAT:
                memory_s += SEAT * lane.seat_wait_s(self._output_tokens)
            bases.append(wait_s + memory_s + lane.step_s() * steps)
        arrivals_per_s = self._arrivals_per_s / len(replicas)
        congestion = SATURATION * arrivals_per_s * least_wait_s
        return bases, 1 + min(MOST_CONGESTION, congestion)

    def _hit(self, matched: Mapping[int, int], request: RequestView, replica: ReplicaState) -> int:
        return min(matched.get(replica.slot, 0) * BLOCK_TOKENS, request.prompt_tokens)

    def _work_s(self, uncached: int, replica: ReplicaState, congestion: float) -> float:
        work_s = uncached * self._lanes[replica.slot].speed.now.prefill
        return work_s * (congestion + INFLICTED * replica.in_flight)

    def _arrived(self, now: float) -> None:
        self._arrivals_per_s *= exp((self._arrived_s - now) / RATE_WINDOW_S)
        self._arrivals_per_s += 1 / RATE_WINDOW_S
        self._arrived_s = now

    # -- what happens

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        known = [lane.speed.now for lane in self._lanes.values() if lane.speed.samples]
        start = Coefficients(*(sum(x) / len(known) for x in zip(*known, strict=True))) if known else PRIOR
        self._lanes[replica.slot] = Lane(replica, Speed(start))
        self.__dict__.setdefault("_by_id", {})[replica.id] = self._lanes[replica.slot]

    def sized(self, replica: ReplicaState, kv_capacity_tokens: int) -> None:
        super().sized(replica, kv_capacity_tokens)
        self._lanes[replica.slot].capacity_tokens = kv_capacity_tokens

    def left(self, replica: ReplicaState) -> None:
        super().left(replica)
        del self._lanes[replica.slot]

    def dispatched(self, charge: Charge, now: float) -> None:
        depth = charge.matched_tokens // BLOCK_TOKENS
        if depth:
            last = self._index.last_used(charge.replica.slot, charge.request.block_keys[depth - 1])
            if last is not None:
                self._gap_s += 0.01 * min(1.0, charge.matched_tokens/ 10000) * (now - last - self._gap_s)
        super().dispatched(charge, now)
        replica = charge.replica
        self._turn += 1
        replica.last_chosen = self._turn
        lane = self._lanes[replica.slot]
        lane.tick(now)
        lane.prompt_tokens += charge.request.prompt_tokens
        if replica.pending_tokens == charge.pending_tokens:
            lane.head_since_s = now
        lane.queue[charge] = None
        marks = self._marks[charge] = _marks(lane, now, lane.backlog(now))
        marks.footprint = charge.request.prompt_tokens + self._output_tokens / 2
        lane.footprint += marks.footprint
        if not charge.request.stream and charge.request.route.generates and charge.predicted_s is not None:
            lane.silent.append((now + 1.25 * charge.predicted_s, charge))

    def first_token(self, charge: Charge, now: float) -> None:
        lane = self._lanes.get(charge.replica.slot)
        before = self._marks.get(charge)
        if lane is None or before is None:
            return
        lane.tick(now)
        lane.head_since_s = now
        lane.queue.pop(charge, None)
        uncached = charge.uncached_tokens
        lane.prefilled_tokens += uncached
        lane.attention += uncached * (charge.matched_tokens + uncached / 2)
        passed = max(now - before.at_s, 1e-6)
        finished = lane.prefilled_tokens - before.prefilled_tokens
        lane.speed.saw_first_token(
            passed,
            before.ahead_tokens,
            (lane.attention - before.attention) * min(1.0, before.ahead_tokens / finished),
            (lane.sequence_seconds - before.sequence_seconds) / passed,
            (lane.context_seconds - before.context_seconds) / passed,
            now,
        )
        self._begin_decode(lane, charge, now)

    def _begin_decode(self, lane: Lane, charge: Charge, now: float) -> None:
        lane.decoding += 1
        lane.context_tokens += charge.request.prompt_tokens + self._output_tokens / 2
        footprint = self._marks[charge].footprint
        marks = self._marks[charge] = _marks(lane, now)
        marks.footprint = footprint

    def ended(self, charge: Charge, now: float) -> None:
        lane = self._lanes.get(charge.replica.slot)
        before = self._marks.pop(charge, None)
        if lane is None or before is None:
            return
        lane.tick(now)
        lane.queue.pop(charge, None)
        lane.prompt_tokens -= charge.request.prompt_tokens
        lane.footprint -= before.footprint
        usage = charge.usage
        tokens = usage.output_tokens if usage is not None else charge.output_events
        if charge.first_token_at is not None:
            lane.decoding -= 1
            lane.context_tokens -= charge.request.prompt_tokens + self._output_tokens / 2
            if lane.decoding == 0:
                lane.context_tokens = 0.0
            passed = now - before.at_s
            if tokens > 8 and passed > 0:
                lane.speed.saw_tokens(
                    passed,
                    tokens - 1,
                    lane.prefilled_tokens - before.prefilled_tokens,
                    lane.attention - before.attention,
                    (lane.sequence_seconds - before.sequence_seconds) / passed,
                    (lane.context_seconds - before.context_seconds) / passed,
                    now,
                )
        if tokens:
            self._outputs += 1
            self._output_tokens += max(0.02, 1 / (self._outputs + 4)) * (tokens - self._output_tokens)

    def _settle(self, lane: Lane, now: float) -> None:
        """An answer that does not stream tells no first token: it is taken to have come when it was due."""
        while lane.silent and lane.silent[0][0] <= now:
            _, charge = lane.silent.popleft()
            if charge.ended_at is None:
                charge.prefilled()
                lane.queue.pop(charge, None)
                lane.head_since_s = now


def _place(tokens: int) -> int:
    """Its bin by size: powers of two."""
    return min(23, tokens.bit_length())
