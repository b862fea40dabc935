"""One balancer: the core's Decider, told at once of its own requests and now and then of the engines.

It does what lifecycle and observers do around the core, without their waiting and their bytes: an attempt is charged
until it ends, a replica that fails is left and another tried, an answer that has begun is never begun again.
"""

from collections.abc import Mapping
from dataclasses import replace

from balancer.core.decider import Decider
from balancer.core.errors import Refused
from balancer.core.types import Decision, EngineSample, ReplicaId
from benchmarks.simulator.hooks import LateBinding, Told
from benchmarks.simulator.replica import SimulatedReplica
from benchmarks.simulator.request import Request
from benchmarks.simulator.timeline import Timeline


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
        policy = decider.policy
        self._told = policy if isinstance(policy, Told) else None
        self._late = policy if isinstance(policy, LateBinding) else None
        self.held: list[Request] = []
        self.probe(None)

    def accept(self, request: Request) -> None:
        if self._late is None:
            self._attempt(request)
            return
        self.held.append(request)
        self._release()

    def probe(self, _: None) -> None:
        """Ask every replica how it is, and again after the interval."""
        now = self._timeline.now
        for replica in self._replicas.values():
            state = self.decider.fleet[replica.id]
            if not replica.up:
                self.decider.failed(state, "refused", certain=True)
                continue
            self.decider.answered(state)
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
        while True:
            try:
                decision = self.decider.decide(request.view, request.tried, self._timeline.now)
            except Refused as refused:
                self._lose(request, str(refused))
                return
            if self._send(request, decision):
                return

    def _send(self, request: Request, decision: Decision) -> bool:
        replica = self._replicas[decision.replica]
        request.decision = decision
        request.tried |= {decision.replica}
        request.dispatched_s = self._timeline.now
        request.charge = self.decider.dispatch(request.view, decision)
        if replica.submit(request, self):
            return True
        self._ended(request)
        self.decider.failed(self.decider.fleet[replica.id], "refused", certain=True)
        return False

    def _release(self) -> None:
        """Send of the held requests what the policy will send now."""
        while self._late is not None and self.held:
            try:
                replicas = self.decider.fleet.eligible(None)
            except Refused:
                return
            found = self._late.release(self.held, replicas, self._timeline.now)
            if found is None:
                return
            place, decision = found
            request = self.held.pop(place)
            if not self._send(request, decision):
                self.held.insert(0, request)

    def first_token(self, request: Request) -> None:
        assert request.charge is not None
        assert request.decision is not None
        request.charge.first_token()
        state = self.decider.fleet[request.decision.replica]
        self.decider.answered(state)
        if self._told is not None:
            self._told.first_token(request.view, state, self._timeline.now)
        self._release()

    def answered(self, request: Request) -> None:
        self._ended(request)
        request.ended(request)
        self._release()

    def broken(self, request: Request) -> None:
        assert request.decision is not None
        self._ended(request)
        self.decider.failed(self.decider.fleet[request.decision.replica], "reset", certain=True)
        if request.first_token_s is not None:
            self._lose(request, "broken in the middle")
        elif self._late is not None:
            self.held.insert(0, request)
            self._release()
        else:
            self._attempt(request)

    def _ended(self, request: Request) -> None:
        assert request.charge is not None
        assert request.decision is not None
        request.charge.release()
        if self._told is not None:
            state = self.decider.fleet[request.decision.replica]
            tokens = None if request.finished_s is None else request.engine.output_tokens
            self._told.ended(request.view, state, tokens, self._timeline.now)

    def _lose(self, request: Request, why: str) -> None:
        request.lost = why
        request.ended(request)


def _scaled(sample: EngineSample, factor: float) -> EngineSample:
    if factor == 1.0 or sample.kv_capacity_tokens is None:
        return sample
    return replace(sample, kv_capacity_tokens=round(sample.kv_capacity_tokens * factor))
