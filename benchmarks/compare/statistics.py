"""Confidence intervals of what one run or a few can tell, and whether two arms differ beyond them. Pure.

Requests of one run are not independent: they wait in the same queues. So no request is resampled by itself. A run's measured time
is cut into SLOTS equal parts, and series of neighbouring slots are drawn with replacement: the stationary bootstrap (Politis
and Romano, 1994). Their mean length follows from the data (Politis and White, 2004, as corrected by Patton, Politis and White,
2009), applied to what each slot adds to the figure: for a percentile, how many more of its requests lie above it
than should. Of several runs, runs are drawn first, and slots within each (Davison and Hinkley, 1997, 3.8): with two or three
runs this errs on the wide side, where runs alone would be far too narrow.

Arms play the same script in the same repeat, so both sides of a difference draw the same runs and the same slots: what
both suffered, such as a burst, cancels. Intervals are percentile intervals of the resampled figure, of ratios as of anything.

Correlation longer than a good part of a run can't be seen from inside it: past the knee, queues grow as long as a
run lasts, and only repeats tell the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

SLOTS = 200
DRAWS = 1_000
COVERAGE = 0.95
LEAST = 20
"""Values of an arm; with fewer there is no interval, and no difference can be told."""
_LONGEST = SLOTS // 4
_AT_ONCE = 100
_SEED = 20_260_101

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """What was measured in one run from `start_s` to `end_s`: `values`, and when each counts."""

    at_s: Floats
    values: Floats
    start_s: float
    end_s: float

    @property
    def slots(self) -> Ints:
        part = (self.at_s - self.start_s) / (self.end_s - self.start_s)
        return np.clip((part * SLOTS).astype(np.int64), 0, SLOTS - 1)


class Statistic(Protocol):
    """A figure of the pooled runs of an arm."""

    def value(self, runs: Sequence[Series]) -> float: ...

    def drawn(self, runs: Sequence[Series], counts: Ints) -> Floats:
        """The figure of each draw; `counts` is how often draw, run and slot (its three axes) were drawn."""
        ...

    def parts(self, runs: Sequence[Series]) -> list[Floats]:
        """For each run what each of its slots adds to the figure, so far as the figure is a sum."""
        ...


@dataclass(frozen=True, slots=True)
class Percentile:
    """`value` interpolates between neighbours, as numpy and `vllm bench serve` do; a draw takes the nearest rank."""

    q: float

    def value(self, runs: Sequence[Series]) -> float:
        return float(np.percentile(np.concatenate([run.values for run in runs]), self.q))

    def drawn(self, runs: Sequence[Series], counts: Ints) -> Floats:
        values = np.concatenate([run.values for run in runs])
        owners = np.concatenate([run.slots + number * SLOTS for number, run in enumerate(runs)])
        order = np.argsort(values, kind="stable")
        flat = counts.reshape(len(counts), -1)
        found = np.empty(len(counts))
        for at in range(0, len(counts), _AT_ONCE):
            upto = np.cumsum(flat[at : at + _AT_ONCE][:, owners[order]], axis=1)
            rank = np.ceil(upto[:, -1:] * self.q / 100)
            found[at : at + _AT_ONCE] = values[order][np.argmax(upto >= np.maximum(rank, 1), axis=1)]
        return found

    def parts(self, runs: Sequence[Series]) -> list[Floats]:
        limit, share = self.value(runs), 1 - self.q / 100
        return [_sums(run, (run.values > limit).astype(np.float64) - share) for run in runs]


@dataclass(frozen=True, slots=True)
class PerSecond:
    """The sum of the values over the measured time."""

    def value(self, runs: Sequence[Series]) -> float:
        return float(sum(run.values.sum() for run in runs) / sum(run.end_s - run.start_s for run in runs))

    def drawn(self, runs: Sequence[Series], counts: Ints) -> Floats:
        sums = np.stack([_sums(run, run.values) for run in runs])
        seconds = np.array([(run.end_s - run.start_s) / SLOTS for run in runs])
        drawn: Floats = np.tensordot(counts, sums, 2) / (counts.sum(axis=2) @ seconds)
        return drawn

    def parts(self, runs: Sequence[Series]) -> list[Floats]:
        return [_sums(run, run.values) for run in runs]


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` and `high` are None where too little was measured."""

    value: float
    low: float | None = None
    high: float | None = None


def value_of(runs: Sequence[Series], statistic: Statistic) -> float | None:
    """None: nothing was measured."""
    return statistic.value(runs) if _count(runs) else None


def interval(runs: Sequence[Series], statistic: Statistic) -> Interval | None:
    """None: nothing was measured."""
    value = value_of(runs, statistic)
    if value is None:
        return None
    if _count(runs) < LEAST:
        return Interval(value)
    low, high = _middle(statistic.drawn(runs, _counts(len(runs), _length(runs, statistic))))
    return Interval(value, low, high)


def ratio(ours: Sequence[Series], theirs: Sequence[Series], statistic: Statistic) -> Interval | None:
    """Ours over theirs, of runs that belong together by their place; None: one of the two has no value, or 0."""
    if len(ours) != len(theirs):
        raise ValueError(f"ours: expected as many runs as the other arm has ({len(theirs)}), got {len(ours)}")
    if not _count(ours) or not _count(theirs):
        return None
    below = statistic.value(theirs)
    if not below > 0:
        return None
    value = statistic.value(ours) / below
    if min(_count(ours), _count(theirs)) < LEAST:
        return Interval(value)
    counts = _counts(len(ours), max(_length(ours, statistic), _length(theirs, statistic)))
    above, under = statistic.drawn(ours, counts), statistic.drawn(theirs, counts)
    sound = under > 0
    low, high = _middle(above[sound] / under[sound])
    return Interval(value, low, high)


def differs(found: Interval) -> bool:
    """Whether a ratio is not 1 beyond its noise."""
    return found.low is not None and found.high is not None and not found.low <= 1 <= found.high


def told(found: Interval | None) -> str:
    """A ratio in words: "12 % lower [5, 19]"."""
    if found is None:
        return "not measured"
    if found.low is None or found.high is None:
        return "too few requests"
    if not differs(found):
        return "no difference"
    if found.value >= 2 and found.low > 1:
        return f"{found.value:.3g} x [{found.low:.3g}, {found.high:.3g}]"
    change, low, high = (100 * (each - 1) for each in (found.value, found.low, found.high))
    if high < 0:
        return f"{-change:.0f} % lower [{-high:.0f}, {-low:.0f}]"
    return f"{change:.0f} % higher [{low:.0f}, {high:.0f}]"


def block_length(parts: Floats) -> float:
    """The mean length of the stationary bootstrap's blocks for this series, by Politis and White's rule."""
    count = len(parts)
    centred = parts - parts.mean()
    spread = float(centred @ centred) / count
    if not spread > 0:
        return 1.0
    run = max(5, int(np.ceil(np.sqrt(np.log10(count)))))
    furthest = min(int(np.ceil(np.sqrt(count))) + run, count - 1)
    lags = np.arange(1, furthest + 1)
    covariances = np.array([float(centred[lag:] @ centred[:-lag]) / count for lag in lags])
    loud = np.abs(covariances) / spread > 2 * np.sqrt(np.log10(count) / count)
    last = _last_before_silence(loud, run)
    if not last:
        return 1.0
    bandwidth = min(2 * last, furthest)
    near = lags[:bandwidth]
    taper = np.minimum(1.0, 2 * (1 - near / bandwidth))
    bias = 2 * float((taper * near * covariances[:bandwidth]).sum())
    density = spread + 2 * float((taper * covariances[:bandwidth]).sum())
    if not density > 0:
        return 1.0
    return float(np.clip((bias * bias / (density * density)) ** (1 / 3) * count ** (1 / 3), 1.0, count / 4))


def _last_before_silence(loud: npt.NDArray[np.bool_], run: int) -> int:
    """The lag behind which `run` lags in a row are insignificant; the last significant one where there is no such."""
    for lag in range(len(loud) - run + 1):
        if not loud[lag : lag + run].any():
            return lag
    return int(np.flatnonzero(loud)[-1]) + 1


def _length(runs: Sequence[Series], statistic: Statistic) -> float:
    return min(_LONGEST, float(np.mean([block_length(parts) for parts in statistic.parts(runs)])))


def _counts(runs: int, length: float) -> Ints:
    """How often each slot of each run was drawn, in each draw."""
    rng = np.random.default_rng(_SEED)
    shape = (DRAWS, runs, SLOTS)
    chosen = rng.integers(runs, size=(DRAWS, runs, 1)) if runs > 1 else np.zeros((DRAWS, 1, 1), np.int64)
    begins = rng.random(shape) < 1 / length
    begins[..., 0] = True
    places = np.arange(SLOTS)
    begun_at = np.maximum.accumulate(np.where(begins, places, 0), axis=2)
    starts = np.take_along_axis(rng.integers(SLOTS, size=shape), begun_at, axis=2)
    slots = (starts + places - begun_at) % SLOTS
    cells = (np.arange(DRAWS)[:, None, None] * runs + chosen) * SLOTS + slots
    return np.bincount(cells.ravel(), minlength=DRAWS * runs * SLOTS).reshape(shape)


def _sums(run: Series, values: Floats) -> Floats:
    return np.bincount(run.slots, values, SLOTS).astype(np.float64)


def _middle(drawn: Floats) -> tuple[float, float]:
    edge = 50 * (1 - COVERAGE)
    low, high = np.percentile(drawn, (edge, 100 - edge))
    return float(low), float(high)


def _count(runs: Sequence[Series]) -> int:
    return sum(len(run.values) for run in runs)
