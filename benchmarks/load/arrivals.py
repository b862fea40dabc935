"""Any script in any rhythm: arrival times are made anew or sped up, and nothing else of the script changes. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from benchmarks.workloads.script import Conversation, Script
from benchmarks.workloads.traffic import ramped


@dataclass(frozen=True, slots=True)
class Piece:
    """A time in which the rate, arrivals a second, goes evenly from `first` to `last`."""

    duration_s: float
    first: float
    last: float

    @property
    def arrivals(self) -> float:
        return self.duration_s * (self.first + self.last) / 2


@dataclass(frozen=True, slots=True)
class Rates:
    """The rate over time: piece after piece, and then `final` for good."""

    pieces: tuple[Piece, ...]
    final: float

    def reached_s(self, arrivals: float) -> float:
        """When so many are expected."""
        now_s = 0.0
        for piece in self.pieces:
            if arrivals < piece.arrivals:
                return now_s + ramped(arrivals, piece.first, piece.last, piece.duration_s)
            arrivals -= piece.arrivals
            now_s += piece.duration_s
        return now_s + arrivals / self.final


def rates(text: str) -> Rates:
    """`12` is a steady rate; `4@60,8@60,16` steps, each but the last with its seconds; `2..20@120,20` a ramp and what follows.

    What comes after the last piece goes on at the last rate.
    """
    pieces: list[Piece] = []
    parts = text.split(",")
    for place, part in enumerate(parts, 1):
        rate, at, seconds = part.partition("@")
        first, dots, last = rate.partition("..")
        begins = _positive(first, text)
        final = _positive(last, text) if dots else begins
        if at:
            pieces.append(Piece(_positive(seconds, text), begins, final))
        elif dots or place < len(parts):
            raise _unreadable(text)
    return Rates(tuple(pieces), final)


def _positive(text: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _unreadable(whole) from None
    if not 0 < number < math.inf:
        raise _unreadable(whole)
    return number


def _unreadable(text: str) -> ValueError:
    return ValueError(
        f"rate: expected RATE or RATE[..RATE]@SECONDS by commas, each more than 0 (12 or 2..20@60,20), got {text!r}"
    )


def arrival_times(rng: Random, count: int, rhythm: Rates, burstiness: float = 1.0) -> list[float]:
    """`count` times in order, within the time in which so many are expected.

    `burstiness` as `vllm bench serve` has it: gaps are gamma distributed with this shape, so 1 is Poisson, less comes in
    bursts, more is more even, and infinity is evenly spaced.
    """
    if not burstiness > 0:
        raise ValueError(f"burstiness: expected more than 0, got {burstiness:g}")
    if burstiness == math.inf:
        return [rhythm.reached_s(number + 0.5) for number in range(count)]
    gaps = [rng.gammavariate(burstiness, 1.0) for _ in range(count + 1)]
    total = sum(gaps) or 1.0
    return [rhythm.reached_s(count * reached / total) for reached in accumulate(gaps[:-1])]


def reshaped(script: Script, rhythm: Rates, *, burstiness: float = 1.0, seed: int = 1) -> Script:
    """The same conversations in the same order at other times. Those that warmed up still do; the end comes when the last
    is expected, so a rate that is lower by half takes twice as long.
    """
    if script.then is not None:
        raise ValueError(f"{script.name}: expected a workload of one stage: stages have rates of their own")
    ordered = sorted(script.conversations, key=lambda each: each.arrival_s)
    times = arrival_times(Random(seed), len(ordered), rhythm, burstiness)
    measured = [
        time_s for each, time_s in zip(ordered, times, strict=True) if each.arrival_s >= script.start_s
    ]
    warms_up = len(measured) < len(ordered)
    end_s = max(rhythm.reached_s(len(ordered)), math.nextafter(max(times, default=0.0), math.inf))
    return replace(
        script,
        conversations=_arriving(ordered, times),
        start_s=min(measured, default=end_s) if warms_up else 0.0,
        end_s=end_s,
    )


def sped(script: Script, speed: float) -> Script:
    """A replay `speed` times as fast. Think times are people's, and stay."""
    if not 0 < speed < math.inf:
        raise ValueError(f"speed: expected more than 0, got {speed:g}")
    times = [each.arrival_s / speed for each in script.conversations]
    return replace(
        script,
        conversations=_arriving(script.conversations, times),
        start_s=script.start_s / speed,
        end_s=script.end_s / speed,
        then=None if script.then is None else sped(script.then, speed),
    )


def _arriving(conversations: Sequence[Conversation], times: Sequence[float]) -> tuple[Conversation, ...]:
    return tuple(replace(each, arrival_s=time_s) for each, time_s in zip(conversations, times, strict=True))
