"""One balancer: the core's Decider, told at once of its own requests and now and then of the engines.

It does what lifecycle and observers do around the core, without their waiting and their bytes: an attempt is charged
until it ends, a replica that fails is left and another tried, an answer that has begun is never begun again.
"""

from collections.abc import Mapping
from dataclasses import replace

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.scheduling import Waiting
from balancer.core.types import Decision, EngineSample, ReplicaId, Usage
from benchmarks.simulator.replica import SimulatedReplica
from benchmarks.simulator.request import Request
from benchmarks.simulator.timeline import Timeline

TICK_S = 0.02
"""How often a balancer looks at who waits in it."""


class Router:
    """`sample_delay_s` is how old a reading is when it arrives, `capacity_factor` how wrong the KV capacity in it."""

    def __init__(
        self,
        decider: Decider,
        replicas: Mapping[ReplicaId, SimulatedReplica],
        timeline: Timeline,
        *,
        sample_every_s: float = 1.0,
        sample_delay_s: float = 0.0,
        capacity_factor: float = 1.0,
    ) -> None:
        self.decider = decider
        self._replicas = replicas
        self._timeline = timeline
        self._sample_every_s = sample_every_s
        self._sample_delay_s = sample_delay_s
        self._capacity_factor = capacity_factor
        self._held: dict[Waiting, Request] = {}
        self._ticking = False
        self.probe(None)

    def accept(self, request: Request) -> None:
        self._attempt(request)

    def probe(self, _: None) -> None:
        """Ask every replica how it is, and again after the interval."""
        now = self._timeline.now
        for replica in self._replicas.values():
            state = self.decider.fleet[replica.id]
            if not replica.up:
                self.decider.probed(state, now, now, error="refused", refused=True)
                continue
            self.decider.probed(state, now, now)
            sample = _scaled(replica.sample(), self._capacity_factor)
            told = (replica, sample, state.in_flight)
            if self._sample_delay_s and now:
                self._timeline.at(now + self._sample_delay_s, self._read, told)
            else:
                self._read(told)
        self._timeline.at(now + self._sample_every_s, self.probe, None)
        self._release()

    def _read(self, told: tuple[SimulatedReplica, EngineSample, int]) -> None:
        replica, sample, in_flight = told
        self.decider.sampled(self.decider.fleet[replica.id], sample, in_flight)

    def _attempt(self, request: Request) -> None:
        now = self._timeline.now
        while True:
            try:
                decision = self._decide(request, now)
            except Refused as refused:
                self._lose(request, str(refused))
                return
            if decision.wait and not request.tried:
                self._held[self.decider.line.join(request.view, decision, now)] = request
                self._release()
                return
            if self._send(request, decision):
                return

    def _decide(self, request: Request, now: float) -> Decision:
        return self.decider.decide(request.view, request.tried, now)

    def _send(self, request: Request, decision: Decision) -> bool:
        replica = self._replicas[decision.replica]
        request.decision = decision
        request.tried |= {decision.replica}
        request.dispatched_s = self._timeline.now
        request.charge = self.decider.dispatch(request.view, decision, self._timeline.now)
        if replica.submit(request, self):
            return True
        self._ended(request)
        self.decider.failed(self.decider.fleet[replica.id], "refused", self._timeline.now, refused=True)
        return False

    def _release(self) -> None:
        """Send of the held requests what the policy will send now."""
        for waiting, decision in self.decider.line.release(self._timeline.now):
            request = self._held.pop(waiting)
            if isinstance(decision, Refused):
                self._lose(request, str(decision))
            elif not self._send(request, decision):
                self._attempt(request)
        if self._held and not self._ticking:
            self._ticking = True
            self._timeline.at(self._timeline.now + TICK_S, self._tick, None)

    def _tick(self, _: None) -> None:
        self._ticking = False
        self._release()

    def first_token(self, request: Request) -> None:
        if not request.view.stream:
            return  # its head comes with its end
        assert request.charge is not None
        assert request.decision is not None
        self.decider.first_token(request.charge, self._timeline.now)
        state = self.decider.fleet[request.decision.replica]
        self.decider.answered(state, self._timeline.now, sent_at=request.charge.sent_at)
        self._release()

    def answered(self, request: Request) -> None:
        self._ended(request)
        request.ended(request)
        self._release()

    def broken(self, request: Request) -> None:
        assert request.decision is not None
        self._ended(request)
        self.decider.failed(
            self.decider.fleet[request.decision.replica], "reset", self._timeline.now, refused=True
        )
        if request.view.stream and request.first_token_s is not None:
            self._lose(request, "broken in the middle")
            return
        request.first_token_s = request.cached_tokens = None
        self._attempt(request)

    def _ended(self, request: Request) -> None:
        assert request.charge is not None
        assert request.decision is not None
        usage = None
        if request.finished_s is not None:
            usage = Usage(request.view.prompt_tokens, request.engine.output_tokens, request.cached_tokens)
        self.decider.ended(request.charge, self._timeline.now, usage)

    def _lose(self, request: Request, why: str) -> None:
        request.lost = why
        request.ended(request)


def _scaled(sample: EngineSample, factor: float) -> EngineSample:
    if factor == 1.0 or sample.kv_capacity_tokens is None:
        return sample
    return replace(sample, kv_capacity_tokens=round(sample.kv_capacity_tokens * factor))
