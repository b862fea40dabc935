"""A point on the engine model, in virtual time. Pure.

What vLLM spends outside its engine steps (HTTP, JSON, hashing of blocks, the way between its processes) is a latency
in front of the engine, `request_s` and `request_s_per_token`; calls do not wait for each other in it.
"""

from collections import deque
from dataclasses import dataclass
from itertools import chain, count
from typing import NamedTuple

from balancer.embedded.engine import Engine, EngineRequest, Profile, hash_blocks, hash_root
from benchmarks.calibration.points import Call, Course, Outcome, Point

_ROOT = hash_root(model="calibration")
_UNIQUE = 1 << 20  # above every seed and token id of a plan


@dataclass(frozen=True, slots=True)
class Setting:
    """The limits that a replica was started with. `kv_capacity_tokens` is what requests can use."""

    block_size: int
    kv_capacity_tokens: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int


class Costs(NamedTuple):
    """All that is fitted: an engine's profile, and what a request costs in front of it."""

    base_s: float
    prefill_s_per_token: float
    attention_s_per_token_context: float
    decode_s_per_sequence: float
    decode_s_per_context_token: float
    request_s: float
    request_s_per_token: float

    def profile(self, setting: Setting) -> Profile:
        return Profile(
            "calibrated",
            self.base_s,
            self.prefill_s_per_token,
            self.attention_s_per_token_context,
            self.decode_s_per_sequence,
            self.decode_s_per_context_token,
            setting.kv_capacity_tokens,
            setting.max_model_len,
        )


def modelled(point: Point, costs: Costs, setting: Setting) -> Outcome:
    replica = _Replica(costs, setting)
    for call in point.warming:
        replica.serve([call])
    before = replica.engine.counters.preemptions
    courses = replica.serve(point.calls)
    return Outcome(courses, replica.engine.counters.preemptions - before)


class _Replica:
    def __init__(self, costs: Costs, setting: Setting) -> None:
        self.costs = costs
        self.engine = Engine(
            costs.profile(setting),
            block_size=setting.block_size,
            max_num_seqs=setting.max_num_seqs,
            max_num_batched_tokens=setting.max_num_batched_tokens,
        )
        self._names = count()

    def serve(self, calls: "tuple[Call, ...] | list[Call]") -> list[Course]:
        """From idle to idle; the courses are in the order of the calls."""
        courses = [Course(call.at_s) for call in calls]
        by_request: dict[str, Course] = {}
        arrivals = deque(sorted((self._reaches_engine_s(call), index) for index, call in enumerate(calls)))
        engine, now = self.engine, 0.0
        while arrivals or engine.num_unfinished:
            while arrivals and arrivals[0][0] <= now:
                _, index = arrivals.popleft()
                request = self._request(calls[index])
                engine.submit(request, now)
                by_request[request.request_id] = courses[index]
            step = engine.step(now)
            if step is None:
                now = arrivals[0][0]
                continue
            now += step.duration_s
            for sequence in chain(engine.decoding, step.finished):
                course = by_request[sequence.request.request_id]
                course.token_s.append(now)
                course.cached_tokens = sequence.cached_tokens
        return courses

    def _reaches_engine_s(self, call: Call) -> float:
        return call.at_s + self.costs.request_s + self.costs.request_s_per_token * call.prompt_tokens

    def _request(self, call: Call) -> EngineRequest:
        name = next(self._names)
        tokens = call.prompt() + [_UNIQUE + name] * call.output_tokens
        hashes = hash_blocks(tokens, self.engine.block_size, _ROOT)
        return EngineRequest(str(name), call.prompt_tokens, call.output_tokens, hashes)
