"""The measuring: CPU time of the calls that the balancer makes for a request, on its own objects and with no sockets.

    decision = understand (decode, canonical prompt, block keys) + decide + dispatch

Beside each decision, in turn, stands the reference: decoding the same bytes and hashing them once. A decision cannot do
less than that if it reads the prompt, so the ratio holds on a machine that is faster or busier.
"""

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random

import msgspec
from xxhash import xxh3_64_intdigest

from balancer.config import Settings
from balancer.config.build import make_decider, make_replica
from balancer.core.decider import Decider
from balancer.core.scheduling import Charge
from balancer.core.types import Decision, RequestView, RouteKind
from benchmarks import wire
from benchmarks.cpu import resident_bytes
from benchmarks.overhead.bodies import Body, requests

BODY = Body("32k", 32 * 1024)
"""A chat of about 8k tokens."""

FLEETS = (8, 64, 512)
FILLED_FLEET = 8
_IN_FLIGHT = 4  # a replica
_PACE_S = 0.05  # between two requests of one replica
_WARM_UP = 200
_FAMILIES = 4096
_SHARED_BLOCKS = 112
_OWN_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """`prompts`, distinct ones, are pushed through the index between two measurements."""

    policy: str
    calls: int = 3000
    prompts: int = 1_000_000
    seed: int = 1

    @property
    def steps(self) -> int:
        return len(FLEETS) + 2


@dataclass(slots=True)
class Costs:
    """CPU nanoseconds, call by call."""

    understand: list[int] = field(default_factory=list)
    decide: list[int] = field(default_factory=list)
    dispatch: list[int] = field(default_factory=list)
    reference: list[int] = field(default_factory=list)

    @property
    def whole(self) -> list[int]:
        return [sum(parts) for parts in zip(self.understand, self.decide, self.dispatch, strict=True)]


@dataclass(slots=True)
class Measured:
    fleets: dict[int, Costs] = field(default_factory=dict)
    filled: Costs | None = None
    growth_bytes: int | None = None


def measure(plan: Plan, advance: Callable[[str], None]) -> Measured:
    """Raises: ValueError, if there is no such policy."""
    measured = Measured()
    kept = None
    for replicas in FLEETS:
        advance(f"{replicas} replicas")
        bench = Bench(replicas, plan)
        measured.fleets[replicas] = bench.run(plan.calls)
        if replicas == FILLED_FLEET:
            kept = bench
    assert kept is not None
    advance(f"{plan.prompts:,} prompts")
    before = resident_bytes(os.getpid())
    kept.fill(plan.prompts)
    kept.run(_WARM_UP)
    gc.collect()
    measured.growth_bytes = resident_bytes(os.getpid()) - before
    advance("after them")
    measured.filled = kept.run(plan.calls)
    return measured


class Bench:
    """One decider and the traffic through it."""

    def __init__(self, replicas: int, plan: Plan) -> None:
        settings = Settings(
            replicas=[
                {"url": f"http://10.0.{number // 256}.{number % 256}:8000", "models": [wire.MODEL]}
                for number in range(replicas)
            ],
            policy=plan.policy,
        )
        self._rng = Random(plan.seed)
        self._decider: Decider = make_decider(settings, self._rng.random)
        for replica in map(make_replica, settings.replicas):
            self._decider.join(replica)
            self._decider.probed(replica, 0.0, 0.0)
        self._bodies = _bodies(plan.seed)
        self._charges: deque[Charge] = deque()
        self._most_charges = _IN_FLIGHT * replicas
        self._pace_s = _PACE_S / replicas
        self._now = 0.0
        self.run(_WARM_UP)

    def run(self, calls: int) -> Costs:
        costs = Costs()
        clock = time.process_time_ns
        decode = msgspec.json.Decoder().decode
        decider = self._decider
        for body in islice(self._bodies, calls):
            now = self._tick()
            started = clock()
            decode(body)
            xxh3_64_intdigest(body)
            referred = clock()
            request = decider.understand(RouteKind.CHAT, body, None)
            understood = clock()
            decision = decider.decide(request, frozenset(), now)
            decided = clock()
            charge = decider.dispatch(request, decision, now)
            dispatched = clock()
            self._charges.append(charge)
            costs.reference.append(referred - started)
            costs.understand.append(understood - referred)
            costs.decide.append(decided - understood)
            costs.dispatch.append(dispatched - decided)
        return costs

    def fill(self, prompts: int) -> None:
        """So many distinct prompts dispatched, of families that share seven eighths of their blocks and a replica."""
        draw = self._rng.getrandbits
        families = [[draw(64) for _ in range(_SHARED_BLOCKS)] for _ in range(_FAMILIES)]
        tokens = 64 * (_SHARED_BLOCKS + _OWN_BLOCKS)
        homes = [
            Decision(replica.id, "home", 64 * _SHARED_BLOCKS, 64 * _OWN_BLOCKS)
            for replica in self._decider.fleet
        ]
        for number in range(prompts):
            keys = families[number % _FAMILIES] + [draw(64) for _ in range(_OWN_BLOCKS)]
            request = RequestView(RouteKind.CHAT, wire.MODEL, block_keys=keys, prompt_tokens=tokens)
            decision = homes[number % len(homes)]
            now = self._tick()
            self._charges.append(self._decider.dispatch(request, decision, now))

    def _tick(self) -> float:
        """The next request's time. What is in flight too long has been answered."""
        self._now += self._pace_s
        while len(self._charges) > self._most_charges:
            charge = self._charges.popleft()
            charge.first_token(self._now)
            charge.release(self._now)
        return self._now


def _bodies(seed: int) -> Iterator[bytes]:
    for request in requests(BODY, 80, seed=seed):
        yield request.wire.partition(b"\r\n\r\n")[2]
