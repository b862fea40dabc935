"""Requests as decisions see them, and replicas that answer: enough for a decider to live by, and nothing else.

`conversations`: 500 at a time, each on one of 20 system prompts of 1,000 tokens, begin with 1,000 to 3,000 tokens of their own
and grow turn by turn until 8,000. `distinct`: every prompt is new, 2,000 to 8,000 tokens: no journal can share any of that.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.scheduling import Charge, Waiting
from balancer.core.types import BlockKey, Decision, EngineSample, ReplicaId, RequestView, RouteKind, Usage
from benchmarks import wire

KINDS = ("conversations", "distinct")
REPLICAS = 8
RATE = 25.0
ACTIVE = 500
BLOCK_TOKENS = 64
MOST_BLOCKS = 8000 // BLOCK_TOKENS
READ_EVERY_S = 1.0
PROBED_EVERY_S = 5.0
TICK_S = 0.02
KV_TOKENS = 400_000


class Conversations:
    def __init__(self, kind: str, seed: int) -> None:
        self._rng = Random(f"{kind} {seed}")
        self._distinct = kind == "distinct"
        self._systems = [self._new(16) for _ in range(20)]
        self._idle = [self._begun() for _ in range(ACTIVE)]

    def next(self) -> tuple[RequestView, int, "Conversation"]:
        """A request, how many tokens its answer has, and whose it is."""
        rng, idle = self._rng, self._idle
        place = rng.randrange(len(idle)) if idle else 0
        of = self._begun() if self._distinct or not idle else idle[place]
        if idle and not self._distinct:
            idle[place] = idle[-1]
            idle.pop()
        of.keys = [*of.keys, *self._new(1 + min(40, int(rng.expovariate(1 / 4))))]
        answer = max(8, min(1500, int(rng.lognormvariate(5.2, 0.9))))
        length = len(of.keys) * BLOCK_BYTES + rng.randrange(BLOCK_BYTES)
        view = RequestView(
            RouteKind.CHAT,
            wire.MODEL,
            rng.random() < 0.9,
            of.keys,
            length,
            length // 4,
            conversation=of.name,
        )
        return view, answer, of

    def answered(self, of: "Conversation", answer: int) -> None:
        """Its next turn may come."""
        of.keys = [*of.keys, *self._new(answer // BLOCK_TOKENS)]
        if not self._distinct:
            self._idle.append(of if len(of.keys) < MOST_BLOCKS else self._begun())

    def _begun(self) -> "Conversation":
        rng = self._rng
        if self._distinct:
            return Conversation(self._new(rng.randint(31, 124)), rng.randbytes(16))
        return Conversation([*rng.choice(self._systems), *self._new(rng.randint(16, 48))], rng.randbytes(16))

    def _new(self, blocks: int) -> list[BlockKey]:
        return [self._rng.getrandbits(64) for _ in range(blocks)]


@dataclass(slots=True)
class Conversation:
    keys: list[BlockKey]
    name: bytes


@dataclass(slots=True)
class World:
    """One decider, its replicas and its traffic. `now` is in whole nanoseconds, as a clock is."""

    decider: Decider
    traffic: Conversations
    rng: Random
    now_ns: int = 10**12
    _due: list[tuple[int, int, str, tuple]] = field(default_factory=list)
    _numbers: count = field(default_factory=count)
    _held: dict[Waiting, tuple] = field(default_factory=dict)
    _given: float = 0.0

    def __post_init__(self) -> None:
        for number in range(REPLICAS):
            state = ReplicaState(
                ReplicaId(f"gpu-{number}:8000"), f"http://gpu-{number}:8000", models=frozenset({wire.MODEL})
            )
            self.decider.join(state)
            self.decider.probed(state, self._s, self._s)
        self._at(0.0, "read", ())
        self._at(0.0, "probe", ())
        self._at(0.0, "tick", ())

    @property
    def _s(self) -> float:
        return self.now_ns / 1e9

    def _at(self, in_s: float, what: str, of: tuple) -> None:
        heappush(self._due, (self.now_ns + int(in_s * 1e9), next(self._numbers), what, of))

    def run(self, requests: int) -> None:
        """So many arrive, and what is due meanwhile happens."""
        for _ in range(requests):
            arrives = self.now_ns + int(self.rng.expovariate(RATE) * 1e9)
            while self._due and self._due[0][0] <= arrives:
                self.now_ns, _, what, of = heappop(self._due)
                getattr(self, f"_{what}")(*of)
            self.now_ns = arrives
            self._arrives()

    def _arrives(self) -> None:
        view, answer, of = self.traffic.next()
        try:
            decision = self.decider.decide(view, frozenset(), self._s)
            if decision.wait:
                self._held[self.decider.line.join(view, decision, self._s)] = answer, of
                self._stir()
                return
        except Refused:
            self.traffic.answered(of, 0)
            return
        self._send(view, decision, answer, of)

    def _send(self, view: RequestView, decision: Decision, answer: int, of: Conversation) -> None:
        charge = self.decider.dispatch(view, decision, self._s)
        ttft_s = 0.02 + decision.uncached_tokens * 6e-5 + self.rng.random() * 0.01
        self._at(ttft_s, "first_token", (charge,))
        self._at(ttft_s + answer * 0.012, "end", (charge, answer, of))

    def _stir(self) -> None:
        if not self._held:
            return
        for waiting, decision in self.decider.line.release(self._s):
            answer, of = self._held.pop(waiting)
            if isinstance(decision, Refused):
                self.traffic.answered(of, 0)
            else:
                self._send(waiting.request, decision, answer, of)

    def _tick(self) -> None:
        self._stir()
        self._at(TICK_S, "tick", ())

    def _first_token(self, charge: Charge) -> None:
        if charge.request.stream:
            self.decider.first_token(charge, self._s)
            self._stir()

    def _end(self, charge: Charge, answer: int, of: Conversation) -> None:
        self._given += answer
        self.decider.answered(charge.replica, self._s, sent_at=charge.sent_at)
        usage = Usage(charge.request.prompt_tokens, answer, charge.matched_tokens)
        self.decider.ended(charge, self._s, usage, output_events=answer - 1)
        self.traffic.answered(of, answer)
        self._stir()

    def _read(self) -> None:
        for state in self.decider.fleet:
            running = float(state.in_flight)
            used = min(1.0, state.in_flight * 5000 / KV_TOKENS)
            told = EngineSample(
                self._s, running, 0.0, used, self._s * 9e4, self._s * 6e4, self._s * 9e4, self._given, 0.0, False,
                16, KV_TOKENS, 1e9,
            )  # fmt: skip
            self.decider.sampled(state, told, state.in_flight)
        self._at(READ_EVERY_S, "read", ())

    def _probe(self) -> None:
        for state in self.decider.fleet:
            self.decider.probed(state, self._s, self._s)
        self._at(PROBED_EVERY_S, "probe", ())
