"""How fast a replica is, learned from the answers that it gives.

    TTFT           = request + K * step + prefill * P + attention * A          K = 1 + P / BUDGET_TOKENS steps
    time per token = step + prefill * P / N + attention * A / N                N tokens after the first
    step           = base + sequence * n + context * c

P: prompt tokens that were prefilled in that time (this request's and others'), A: the sum of these * their context, n
and c: sequences that decoded and their context tokens, on average over that time. The six coefficients are one
non-negative least-squares problem in relative errors, with exponential forgetting: what is older than MEMORY_S
counts little, so a GPU that throttles is followed within a minute. The prior of each solution lies between the
last one and the mean of all replicas of the model: what the traffic does not show keeps its value, and a replica that
is new begins as its siblings are. Errors beyond some times the usual count less (Huber 1964).
"""

from math import exp
from operator import mul
from typing import NamedTuple

from balancer.core.fleet.meter import Passed

BUDGET_TOKENS = 8192
"""vLLM's max_num_batched_tokens on current GPUs."""

MEMORY_S = 20.0
SOLVE_EVERY_S = 0.5
EAGER_SAMPLES = 20
"""The first samples are solved for at once."""
SAMPLE_WEIGHT = 25.0
"""A sample is trusted to 20 %, against 100 % of the prior."""
LONG_ANSWER_TOKENS = 32
"""The mean time per token of a shorter answer is less certain."""
OUTLIER = 2.5
SWEEPS = 6
PULL = 0.3
"""How far a replica's prior is drawn to the mean of its siblings."""


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

    def step_s(self, sequences: float, context_tokens: float) -> float:
        """Seconds of one step in which these decode."""
        return self.base + self.sequence * sequences + self.context * context_tokens


PRIOR = Coefficients()
"""Between an 8B model on one H100 and a 70B on four (profiles and sources: balancer/embedded/engine/profiles.py)."""

_SIZE = len(PRIOR)


class Siblings:
    """The replicas of one model, the mean of their coefficients, and how many requests were sent to them."""

    def __init__(self, prior: Coefficients) -> None:
        self._prior = prior
        self._sums = [0.0] * _SIZE
        self._count = 0
        self.mean = prior
        self.asked = 0

    def __len__(self) -> int:
        """Those that have learned anything."""
        return self._count

    def but(self, own: Coefficients) -> Coefficients:
        """The mean of the others."""
        if self._count < 2:
            return own
        return Coefficients(
            *((total - x) / (self._count - 1) for total, x in zip(self._sums, own, strict=True))
        )

    def replace(self, old: Coefficients | None, new: Coefficients | None) -> None:
        """A replica's coefficients changed; None: it was not among them, or is no longer."""
        for i in range(_SIZE):
            self._sums[i] += (new[i] if new else 0.0) - (old[i] if old else 0.0)
        self._count += (new is not None) - (old is not None)
        self.mean = (
            Coefficients(*(total / self._count for total in self._sums)) if self._count else self._prior
        )


class Speed:
    """`error` is the running mean of the relative error of what was predicted, `asked` where `siblings.asked` last stood."""

    __slots__ = (
        "_last_s",
        "_learned",
        "_matrix",
        "_solved_s",
        "_vector",
        "asked",
        "error",
        "samples",
        "siblings",
    )

    def __init__(self, siblings: Siblings) -> None:
        self._learned: Coefficients | None = None
        self.samples = 0
        self.error = 1.0
        self.siblings = siblings
        self.asked = siblings.asked
        self._last_s = 0.0
        self._solved_s = float("-inf")
        self._matrix = [[0.0] * _SIZE for _ in range(_SIZE)]
        self._vector = [0.0] * _SIZE

    @property
    def now(self) -> Coefficients:
        """What is believed; of a replica that has not answered yet, what its siblings show."""
        return self._learned or self.siblings.mean

    def believed(self, now: float) -> Coefficients:
        """What is known grows old: a replica of which nothing is heard is taken more and more for one like its siblings, so
        that one that once seemed slow is asked again.
        """
        learned = self._learned
        if learned is None:
            return self.siblings.mean
        mean = self.siblings.but(learned)
        old = 1 - exp((self._last_s - now) / MEMORY_S)
        return Coefficients(*(own + old * (usual - own) for own, usual in zip(learned, mean, strict=True)))

    def __repr__(self) -> str:
        return f"<Speed {1 / self.now.prefill:.0f} prompt tokens/s, {self.samples} samples, error {self.error:.0%}>"

    @property
    def passed_over(self) -> int:
        """Requests sent to its siblings since the last one to it."""
        return self.siblings.asked - self.asked

    def ask(self) -> None:
        self.siblings.asked += 1
        self.asked = self.siblings.asked

    def saw_answer(self, passed: Passed, tokens: int, now: float) -> None:
        """The first `tokens` of an answer, from its sending on: 1 is the first token alone."""
        steps = passed.prefilled_tokens / BUDGET_TOKENS + tokens
        self._add(
            (
                steps,
                passed.prefilled_tokens,
                passed.attention,
                steps * passed.sequences,
                steps * passed.context_tokens,
                1.0,
            ),
            passed.seconds,
            1.0,
            now,
        )

    def saw_tokens(self, passed: Passed, tokens: int, now: float) -> None:
        """So many tokens, from the first one on."""
        row = (
            1.0,
            passed.prefilled_tokens / tokens,
            passed.attention / tokens,
            passed.sequences,
            passed.context_tokens,
            0.0,
        )
        self._add(row, passed.seconds / tokens, min(1.0, tokens / LONG_ANSWER_TOKENS), now)

    def slowed(self, times: float) -> None:
        """Its clock changed: computing takes so many times as long from now on, reading memory what it took. What was seen
        counts as if it had been seen so, and is unlearned like all else if it proves wrong.
        """
        learned = self._learned
        if learned is None:
            return
        after = learned._replace(prefill=learned.prefill * times, attention=learned.attention * times)
        more = [new - old for new, old in zip(after, learned, strict=True)]
        for i, line in enumerate(self._matrix):
            self._vector[i] += sum(map(mul, line, more))
        self._learned = after
        self.siblings.replace(learned, after)

    def regroup(self, siblings: Siblings) -> None:
        """The replica turns out to be another's sibling."""
        self.leave()
        self.siblings, self.asked = siblings, siblings.asked
        siblings.replace(None, self._learned)

    def leave(self) -> None:
        """The replica is gone."""
        self.siblings.replace(self._learned, None)

    def _add(self, row: tuple[float, ...], seconds: float, weight: float, now: float) -> None:
        expected = sum(map(mul, row, self.now))
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
        if now - self._solved_s >= SOLVE_EVERY_S or self.samples <= EAGER_SAMPLES:
            self._solved_s = now
            before, self._learned = self._learned, self._solved()
            self.siblings.replace(before, self._learned)

    def _solved(self) -> Coefficients:
        """Coordinate descent from the prior."""
        siblings = self.siblings.mean
        prior = [
            own + PULL * (mean - own) for own, mean in zip(self._learned or siblings, siblings, strict=True)
        ]
        found = list(prior)
        trust = [1 / max(x, 0.01 * usual) ** 2 for x, usual in zip(prior, PRIOR, strict=True)]
        for _ in range(SWEEPS):
            for i in range(_SIZE):
                line = self._matrix[i]
                rest = self._vector[i] + trust[i] * prior[i]
                for j in range(_SIZE):
                    if j != i:
                        rest -= line[j] * found[j]
                found[i] = max(rest / (line[i] + trust[i]), 1e-3 * PRIOR[i])
        return Coefficients(*found)
