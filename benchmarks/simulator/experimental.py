"""Predicted latency in seconds, as first drafted: a policy on its way into the core.

For replica i, of which prefill and step speeds are known:

    wait = B / R        work = uncached / R        step = base + sequence * n + context * tokens in flight
    cost = wait + f * work + step * (1 + B / budget + DECODE * out) + INFLICTED * n * work
    f = 1 + min(20, saturation * arrivals per second and replica * least wait of all)

B: uncached tokens sent and not yet at their first token, less 0.8 * R a second since the last first token, but never
below 5 % of them; n: requests in flight; out: the mean length of answers so far. In order: the queue before me; my own
prefill, dearer when every replica has a backlog, for then a second of work delays all who are still to come;
the decoding that slows me down; and what I take from the n streams that stand still while I am prefilled.

The late-binding form holds requests in the balancer while the best replica has OPEN_S of backlog, and of the first 48
sends the one with the least work, less AGEING seconds for every second that it was held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import ClassVar

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import Indexed
from balancer.core.scheduling.indexed import BLOCK_TOKENS
from balancer.core.types import Candidate, Decision, ReplicaId, RequestView
from balancer.embedded.engine import Profile
from benchmarks.simulator.hooks import Held

BUDGET_TOKENS = 8_192
MOST_SEQUENCES = 256
INFLICTED = 0.05
DECODE = 0.03
DECAY = 0.8
FLOOR = 0.05
MOST_CONGESTION = 20.0
RATE_WINDOW_S = 10.0
FIRST_OUTPUT_TOKENS = 256.0

OPEN_S = 1.0
LOOKED_AT = 48
AGEING = 0.3
WARMER_FOR_S = 10.0
"""After so long a request no longer waits for a replica that is busy but warmer."""
MATCH_MAX_AGE_S = 0.25


@dataclass(slots=True)
class Ledger:
    """What this balancer knows of one replica beyond the core's counters."""

    profile: Profile
    prefill_rate: float
    prompt_tokens: int = 0
    head_since_s: float = 0.0

    def backlog(self, replica: ReplicaState, now: float) -> float:
        pending = replica.pending_tokens
        if pending <= 0:
            return 0.0
        worked_off = (now - self.head_since_s) * self.prefill_rate * DECAY
        return max(pending - worked_off, FLOOR * pending)

    def step_s(self, replica: ReplicaState) -> float:
        return self.profile.step_s(
            prefill_tokens=0,
            attention=0,
            decode_sequences=replica.in_flight,
            decode_context_tokens=self.prompt_tokens,
        )


class PredictedLatency(Indexed):
    name: ClassVar[str] = "plr"
    saturation: ClassVar[float] = 1.0

    def __init__(self, index: PrefixIndex, profiles: Mapping[ReplicaId, Profile]) -> None:
        super().__init__(index)
        self._profiles = profiles
        self._ledgers: dict[ReplicaId, Ledger] = {}
        self._turn = 0
        self._output_tokens = FIRST_OUTPUT_TOKENS
        self._arrivals_per_s = 0.0
        self._arrived_s = 0.0
        self._now = 0.0

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        self._turn += 1
        self._arrived(now)
        matched = self._index.match(request.block_keys)
        bases, congestion = self._price(replicas, now, 0.0)
        candidates = []
        best = None
        chosen = replicas[0]
        for replica, base in zip(replicas, bases, strict=True):
            hit = self._hit(matched, request, replica)
            cost = base + self._work_s(request.prompt_tokens - hit, replica, congestion)
            candidates.append(Candidate(replica.id, cost, hit, replica.in_flight, replica.pending_tokens))
            rank = (cost, -hit, replica.last_chosen)
            if best is None or rank < best:
                best, chosen = rank, replica
        assert best is not None
        chosen.last_chosen = self._turn
        hit = -best[1]
        return Decision(chosen.id, "least_time", hit, max(1, request.prompt_tokens - hit), tuple(candidates))

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        profile = self._profiles[replica.id]
        rate = 1 / (profile.prefill_s_per_token + profile.base_s / BUDGET_TOKENS)
        self._ledgers[replica.id] = Ledger(profile, rate)

    def left(self, replica: ReplicaState) -> None:
        super().left(replica)
        del self._ledgers[replica.id]

    def dispatched(self, request: RequestView, replica: ReplicaState) -> None:
        super().dispatched(request, replica)
        ledger = self._ledgers[replica.id]
        ledger.prompt_tokens += request.prompt_tokens
        if not replica.pending_tokens:
            ledger.head_since_s = self._now

    def first_token(self, request: RequestView, replica: ReplicaState, now: float) -> None:
        self._ledgers[replica.id].head_since_s = now

    def ended(
        self, request: RequestView, replica: ReplicaState, output_tokens: int | None, now: float
    ) -> None:
        self._ledgers[replica.id].prompt_tokens -= request.prompt_tokens
        if output_tokens is not None:
            self._output_tokens += 0.02 * (output_tokens - self._output_tokens)

    def _arrived(self, now: float) -> None:
        self._now = now
        self._arrivals_per_s *= exp((self._arrived_s - now) / RATE_WINDOW_S)
        self._arrivals_per_s += 1 / RATE_WINDOW_S
        self._arrived_s = now

    def _price(
        self, replicas: Sequence[ReplicaState], now: float, held_s: float
    ) -> tuple[list[float], float]:
        """What each replica costs before any work of the request's own, and f."""
        bases = []
        least_wait_s = float("inf")
        for replica in replicas:
            ledger = self._ledgers[replica.id]
            backlog = ledger.backlog(replica, now)
            wait_s = backlog / ledger.prefill_rate
            least_wait_s = min(least_wait_s, wait_s)
            steps = 1 + backlog / BUDGET_TOKENS + DECODE * self._output_tokens
            bases.append(wait_s + ledger.step_s(replica) * steps)
        arrivals_per_s = self._arrivals_per_s / len(replicas)
        congestion = self.saturation * (arrivals_per_s * least_wait_s + held_s)
        return bases, 1 + min(MOST_CONGESTION, congestion)

    def _hit(self, matched: Mapping[int, int], request: RequestView, replica: ReplicaState) -> int:
        return min(matched.get(replica.slot, 0) * BLOCK_TOKENS, request.prompt_tokens)

    def _work_s(self, uncached: int, replica: ReplicaState, congestion: float) -> float:
        work_s = uncached / self._ledgers[replica.id].prefill_rate
        return work_s * (congestion + INFLICTED * replica.in_flight)


class PredictedLatencyQueue(PredictedLatency):
    name: ClassVar[str] = "plr_q"
    saturation: ClassVar[float] = 3.0

    def __init__(self, index: PrefixIndex, profiles: Mapping[ReplicaId, Profile]) -> None:
        super().__init__(index, profiles)
        self._matched: dict[int, tuple[float, dict[int, int]]] = {}
        self._last_arrival_s = -1.0

    def release(
        self, held: Sequence[Held], replicas: Sequence[ReplicaState], now: float
    ) -> tuple[int, Decision] | None:
        self._turn += 1
        self._now = now
        if held[-1].arrived_s > self._last_arrival_s:
            self._last_arrival_s = held[-1].arrived_s
            self._arrived(now)
        ready = [self._open(replica, now) for replica in replicas]
        if not any(ready):
            return None
        bases, congestion = self._price(replicas, now, 0.2 * len(held) / len(replicas))
        best: tuple[float, int, Decision] | None = None
        for place, request in enumerate(held[:LOOKED_AT]):
            age_s = now - request.arrived_s
            found = self._place(
                request.view, replicas, ready, bases, congestion, patient=age_s < WARMER_FOR_S
            )
            if found is None:
                continue
            replica, hit = found
            uncached = max(1, request.view.prompt_tokens - hit)
            rank = uncached / self._ledgers[replica.id].prefill_rate - AGEING * age_s
            if best is None or rank < best[0]:
                best = (rank, place, Decision(replica.id, "least_work", hit, uncached))
        if best is None:
            return None
        _, place, decision = best
        self._matched.pop(id(held[place].view), None)
        return place, decision

    def _open(self, replica: ReplicaState, now: float) -> bool:
        if not replica.in_flight:
            return True
        ledger = self._ledgers[replica.id]
        waits_s = ledger.backlog(replica, now) / ledger.prefill_rate
        return waits_s < OPEN_S and replica.in_flight < MOST_SEQUENCES

    def _place(
        self,
        view: RequestView,
        replicas: Sequence[ReplicaState],
        ready: Sequence[bool],
        bases: Sequence[float],
        congestion: float,
        *,
        patient: bool,
    ) -> tuple[ReplicaState, int] | None:
        """The best of the replicas that are ready, unless a better one isn't and the request can wait for it."""
        matched = self._match(view)
        least = float("inf")
        best: tuple[float, int, int] | None = None
        chosen = None
        for replica, is_ready, base in zip(replicas, ready, bases, strict=True):
            hit = self._hit(matched, view, replica)
            cost = base + self._work_s(view.prompt_tokens - hit, replica, congestion)
            least = min(least, cost)
            rank = (cost, -hit, replica.last_chosen)
            if is_ready and (best is None or rank < best):
                best, chosen = rank, replica
        if best is None or chosen is None or (patient and best[0] > least):
            return None
        return chosen, -best[1]

    def _match(self, view: RequestView) -> dict[int, int]:
        at_s, matched = self._matched.get(id(view), (float("-inf"), {}))
        if self._now - at_s > MATCH_MAX_AGE_S:
            matched = self._index.match(view.block_keys)
            self._matched[id(view)] = (self._now, matched)
        return matched
