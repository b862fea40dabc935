"""How fast a replica is, learned from the answers that it gives.

    TTFT          = request + K * step + prefill * P + attention * A          K = 1 + P / BUDGET_TOKENS steps
    time per token = step + prefill * P / N + attention * A / N               N tokens after the first
    step          = base + sequence * n + context * c

P: uncached prompt tokens whose prefill was finished in that time (this request's and others'), A: the sum of uncached *
context over them, n and c: sequences that decoded, and their context tokens, on average over that time. The six
coefficients are one non-negative least-squares problem in relative errors, with exponential forgetting: what is older than
MEMORY_S counts little, so a GPU that throttles is followed within a minute. The last solution is the prior of
the next: what the traffic doesn't show keeps its value. Errors beyond some times the usual count less (Huber 1964).
"""

from dataclasses import dataclass, field
from math import exp
from typing import NamedTuple

BUDGET_TOKENS = 8192
"""vLLM's max_num_batched_tokens on current GPUs."""

MEMORY_S = 20.0
SOLVE_EVERY_S = 0.5
SAMPLE_WEIGHT = 25.0
"""A sample is trusted to 20 %, as against the prior's 100 %."""
OUTLIER = 2.5
SWEEPS = 6
SIZE = 6


class Coefficients(NamedTuple):
    """Seconds: per step, per prompt token, per prompt token and token of its context, per sequence and step, per context
    token and step, and once per request (network, tokenising, the rest of the running step).
    """

    base: float = 10e-3
    prefill: float = 60e-6
    attention: float = 1.5e-10
    sequence: float = 60e-6
    context: float = 30e-9
    request: float = 8e-3


PRIOR = Coefficients()
"""Between an 8B model on one H100 and a 70B on four (profiles and sources: balancer/embedded/engine/profiles.py)."""


@dataclass(slots=True)
class Speed:
    now: Coefficients = PRIOR
    samples: int = 0
    error: float = 1.0
    """Running mean of the relative error of TTFT and time per token as they were predicted."""
    _last_s: float = 0.0
    _solved_s: float = float("-inf")
    _matrix: list[list[float]] = field(default_factory=lambda: [[0.0] * SIZE for _ in range(SIZE)], repr=False)
    _vector: list[float] = field(default_factory=lambda: [0.0] * SIZE, repr=False)

    def saw_first_token(
        self, seconds: float, prefilled: float, attention: float, sequences: float, context: float, now: float
    ) -> None:
        steps = 1 + prefilled / BUDGET_TOKENS
        self._add((steps, prefilled, attention, steps * sequences, steps * context, 1.0), seconds, 1.0, now)

    def saw_tokens(
        self,
        seconds: float,
        tokens: int,
        prefilled: float,
        attention: float,
        sequences: float,
        context: float,
        now: float,
    ) -> None:
        """`tokens` came in `seconds` after the first one."""
        row = (1.0, prefilled / tokens, attention / tokens, sequences, context, 0.0)
        self._add(row, seconds / tokens, min(1.0, tokens / 32), now)

    def _add(self, row: tuple[float, ...], seconds: float, weight: float, now: float) -> None:
        expected = sum(map(float.__mul__, row, self.now))
        missed = abs(seconds - expected) / max(expected, 1e-6)
        self.samples += 1
        self.error += max(0.05, 1 / self.samples) * (min(missed, 10.0) - self.error)
        weight *= SAMPLE_WEIGHT * min(1.0, OUTLIER * max(self.error, 0.05) / max(missed, 1e-9))
        weight /= max(expected, seconds, 1e-6) ** 2
        kept = exp((self._last_s - now) / MEMORY_S)
        self._last_s = now
        for i, x in enumerate(row):
            line = self._matrix[i]
            scaled = weight * x
            for j, y in enumerate(row):
                line[j] = line[j] * kept + scaled * y
            self._vector[i] = self._vector[i] * kept + scaled * seconds
        if now - self._solved_s >= SOLVE_EVERY_S or self.samples <= 20:
            self._solved_s = now
            self._solve()

    def _solve(self) -> None:
        """Coordinate descent from the last solution, which is also the prior, to within a relative 100 %."""
        before = self.now
        found = list(before)
        trust = [1 / max(x, 0.01 * p) ** 2 for x, p in zip(before, PRIOR, strict=True)]
        for _ in range(SWEEPS):
            for i in range(SIZE):
                line = self._matrix[i]
                rest = self._vector[i] + trust[i] * before[i]
                for j in range(SIZE):
                    if j != i:
                        rest -= line[j] * found[j]
                found[i] = max(rest / (line[i] + trust[i]), 1e-3 * PRIOR[i])
        self.now = Coefficients(*found)
