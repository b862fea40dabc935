"""One replica: an engine that steps whenever it has work, can die, and starts again with an empty cache."""

from collections.abc import Callable
from typing import Protocol

from balancer.core.types import EngineSample, ReplicaId
from balancer.embedded.engine import Engine
from benchmarks.simulator.request import Request
from benchmarks.simulator.timeline import Timeline


class Listener(Protocol):
    """Who sent a request, and hears what became of it."""

    def first_token(self, request: Request) -> None: ...
    def answered(self, request: Request) -> None: ...
    def broken(self, request: Request) -> None: ...


class SimulatedReplica:
    def __init__(self, replica_id: ReplicaId, timeline: Timeline, make_engine: Callable[[], Engine]) -> None:
        self.id = replica_id
        self.engine = make_engine()
        self.up = True
        self.preemptions = 0
        self.step_ends_s = 0.0
        self._timeline = timeline
        self._make_engine = make_engine
        self._started_s = 0.0
        self._stepping = False
        self._sent: dict[str, tuple[Request, Listener]] = {}

    def submit(self, request: Request, listener: Listener) -> bool:
        """False: the connection was refused."""
        if not self.up:
            return False
        self._sent[request.engine.request_id] = (request, listener)
        self.engine.submit(request.engine, self._timeline.now)
        if not self._stepping:
            self._step()
        return True

    def stop(self) -> None:
        """The process dies, and with it what it was working on."""
        self.up = self._stepping = False
        self.engine = self._make_engine()
        sent, self._sent = self._sent, {}
        for request, listener in sent.values():
            listener.broken(request)

    def start(self) -> None:
        self.up = True
        self._started_s = self._timeline.now

    def sample(self) -> EngineSample:
        """What its metrics page says at this moment."""
        engine, counters = self.engine, self.engine.counters
        return EngineSample(
            taken_at=self._timeline.now,
            running=engine.num_running,
            waiting=engine.num_waiting,
            kv_usage=engine.pool.usage,
            prefix_queries_tokens=counters.prefix_cache_queries_tokens,
            prefix_hits_tokens=counters.prefix_cache_hits_tokens,
            prompt_tokens=counters.prompt_tokens,
            generation_tokens=counters.generation_tokens,
            preemptions=counters.preemptions,
            block_size_tokens=engine.block_size,
            kv_capacity_tokens=engine.pool.total * engine.block_size,
            process_start_time_s=self._started_s,
        )

    def _step(self) -> None:
        duration_s = self.engine.start_step(self._timeline.now)
        self._stepping = duration_s is not None
        if duration_s is not None:
            self.step_ends_s = self._timeline.now + duration_s
            self._timeline.at(self.step_ends_s, self._finish, self.engine)

    def _finish(self, engine: Engine) -> None:
        if engine is not self.engine:
            return  # it died in the middle of the step
        now = self._timeline.now
        step = engine.finish_step(now)
        self.preemptions += len(step.preempted)
        for sequence in step.first_tokens:
            request, listener = self._sent[sequence.request.request_id]
            request.first_token_s = now
            request.cached_tokens = sequence.cached_tokens
            listener.first_token(request)
        for sequence in step.finished:
            request, listener = self._sent.pop(sequence.request.request_id)
            request.finished_s = now
            listener.answered(request)
        if engine is self.engine:
            self._step()
