"""Preble's E2: exploit what is cached, or explore by load (Srivatsa et al., ICLR 2025, arXiv 2407.00023).

    more than half of the prompt is cached somewhere:  exploit, the least L among those with the longest match
    else:                                              explore, the least L_i + M_i + P_i
    rebalance: an exploited replica with L > 1.5 * least L + SLACK passes the request to the one with the least L

All in prefill tokens, where the paper has seconds of a fitted model, the same for all GPUs:

    L_i  work sent to i in the last 3 minutes: uncached tokens, and DECODED for each token of the mean output
    P_i  this prompt's uncached tokens
    M_i  what must be prefilled again since this prompt evicts it: HIT_AGAIN * P_i

As far as a router can. Simplified: the cache counts as full, as in the authors' code, and what is evicted as hit again half
the time, where the paper takes the rate of each evicted prefix. The paper moves a prefix, or copies one whose queueing time
doubles; here one request of the prefix is passed on every 10 s, which makes the lighter replica a holder of it. Preble's
local scheduler, which orders the queue inside an engine, is vLLM's business.
"""

from collections.abc import Sequence
from itertools import compress
from typing import ClassVar, Self

from balancer.core.fleet.replica import ReplicaState
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.indexed import matched_blocks
from balancer.core.scheduling.peers.lowest_cost import LowestCost
from balancer.core.scheduling.peers.window import Window
from balancer.core.scheduling.policy import Rng
from balancer.core.types import BlockKey, Decision, RequestView

WINDOW_S = 180.0
REBALANCE_RATIO = 1.5
SLACK_TOKENS = 16_384
"""About a second of prefill: below it a difference is noise."""
PASSED_ON_EVERY_S = 10.0
HIT_AGAIN = 0.5
DECODED = 6.0
"""A step of 32 sequences takes as long as prefilling some 200 tokens (Qwen3-32B on two H100: 10.5 ms, 54 us a token)."""
FIRST_OUTPUT_TOKENS = 256.0


class PrebleE2(LowestCost):
    name: ClassVar[str] = "preble_e2"

    def __init__(self, index: PrefixIndex, rng: Rng) -> None:
        super().__init__(index, rng)
        self._loads: dict[ReplicaState, Window] = {}
        self._passed_on: dict[BlockKey, float] = {}  # when, in that order
        self._output_tokens = FIRST_OUTPUT_TOKENS

    def choose(self, request: RequestView, replicas: Sequence[ReplicaState], now: float) -> Decision:
        matched = self._matched_tokens(request, replicas)
        loads = [self._loads[replica].total(now) for replica in replicas]
        longest = max(matched)
        if longest <= request.prompt_tokens - longest:
            costs = [
                load + (1 + HIT_AGAIN) * (request.prompt_tokens - hit)
                for load, hit in zip(loads, matched, strict=True)
            ]
            return self._lowest(request, replicas, matched, costs, "explored")
        holders = [hit == longest for hit in matched]
        overloaded = min(compress(loads, holders)) > REBALANCE_RATIO * min(loads) + SLACK_TOKENS
        if overloaded and self._pass_on(request.block_keys[matched_blocks(request, longest) - 1], now):
            return self._lowest(request, replicas, matched, loads, "rebalanced")
        kept = list(compress(replicas, holders)), list(compress(matched, holders))
        return self._lowest(request, *kept, list(compress(loads, holders)), "exploited")

    def _twin(self) -> Self:
        twin = super()._twin()
        twin.__dict__["_passed_on"] = dict(self._passed_on)
        return twin

    def _pass_on(self, prefix: BlockKey, now: float) -> bool:
        """Whether it is time again for this prefix."""
        while self._passed_on:
            oldest = next(iter(self._passed_on))
            if now - self._passed_on[oldest] < PASSED_ON_EVERY_S:
                break
            del self._passed_on[oldest]
        if prefix in self._passed_on:
            return False
        self._passed_on[prefix] = now
        return True

    def joined(self, replica: ReplicaState) -> None:
        super().joined(replica)
        self._loads[replica] = Window(WINDOW_S)

    def left(self, replica: ReplicaState) -> None:
        super().left(replica)
        del self._loads[replica]

    def dispatched(self, charge: Charge, now: float) -> None:
        super().dispatched(charge, now)
        work = charge.uncached_tokens + DECODED * self._output_tokens
        self._loads[charge.replica].add(work, now)

    def ended(self, charge: Charge, now: float) -> None:
        super().ended(charge, now)
        if charge.output_tokens:
            self._output_tokens += 0.02 * (charge.output_tokens - self._output_tokens)
