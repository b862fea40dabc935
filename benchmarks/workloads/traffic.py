"""The nouns of a workload, and the one rule of its keys.

A text is a length in tokens and the keys of its whole blocks. Whatever is appended gets keys of its own, so two texts
share exactly the blocks that lie wholly within what they have in common, as with chained block hashes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count, islice
from math import log, sqrt
from random import Random

from balancer.core.scheduling.indexed import BLOCK_TOKENS
from benchmarks.workloads.script import CHAT_PATH


@dataclass(frozen=True, slots=True)
class System:
    """A system prompt: how long, and which of its workload's."""

    tokens: int
    number: int


@dataclass(frozen=True, slots=True)
class Text:
    """`system` is the system prompt that it begins with."""

    tokens: int
    keys: tuple[int, ...]
    system: System | None = None


EMPTY = Text(0, ())


class Writer:
    """Makes new text. A key is used once."""

    def __init__(self) -> None:
        self._keys = count(1)
        self._systems = count(1)

    def system(self, tokens: int) -> Text:
        text = self.append(EMPTY, tokens)
        return replace(text, system=System(tokens, next(self._systems)))

    def append(self, text: Text, tokens: int) -> Text:
        whole = (text.tokens + tokens) // BLOCK_TOKENS
        keys = (*text.keys, *islice(self._keys, whole - len(text.keys)))
        return Text(text.tokens + tokens, keys, text.system)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request. `think_s` passes between the answer before it and its arrival; `background`, sessions that start
    when it has been answered, must all end before the think time begins.
    """

    prompt_tokens: int
    output_tokens: int
    think_s: float = 0.0
    background: tuple["Session", ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """Turns in sequence: each prompt begins with the prompt and the answer before it, so `keys` are those of the
    last turn's prompt and answer, and every other turn's are their beginning.

    `arrival_s` is that of the first turn; in a background session, the delay after its parent's answer.
    `user` is what a client would send as its session header. The rest is for real requests alone: `repeats` says that a
    prompt of the same user and keys is the same to its last word, `text` is the prompt where it was recorded as words.
    """

    arrival_s: float
    user: str
    keys: tuple[int, ...]
    turns: tuple[Turn, ...]
    system: System | None = None
    repeats: bool = False
    text: str | None = None
    path: str = CHAT_PATH
    stream: bool = True
    label: str = ""

    def prompt_keys(self, turn: Turn) -> list[int]:
        return list(self.keys[: turn.prompt_tokens // BLOCK_TOKENS])

    def engine_keys(self, turn: Turn) -> tuple[int, ...]:
        return self.keys[: (turn.prompt_tokens + turn.output_tokens) // BLOCK_TOKENS]


def ask_once(
    arrival_s: float, user: str, prompt: Text, output_tokens: int, *, repeats: bool = False, label: str = ""
) -> Session:
    turns = (Turn(prompt.tokens, output_tokens),)
    return Session(arrival_s, user, prompt.keys, turns, prompt.system, repeats=repeats, label=label)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Sessions that arrive until `end_s`. Requests that arrive from `start_s` to `end_s` are measured; what
    comes before fills the caches. `stages` are named parts of the measured time, if there are any. `then` is what
    begins, at its own time 0, when all that was measured has been answered.
    """

    sessions: list[Session]
    start_s: float
    end_s: float
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    name: str = ""
    then: "Traffic | None" = None


Build = Callable[[Random, float, float], list[Session]]
"""(rng, arrivals per second, seconds) to the sessions that arrive in that time."""


def poisson(rng: Random, rate: float, duration_s: float, start_s: float = 0.0) -> list[float]:
    arrivals = []
    now = rng.expovariate(rate)
    while now < duration_s:
        arrivals.append(start_s + now)
        now += rng.expovariate(rate)
    return arrivals


def bursty(arrivals: Iterable[float], *, period_s: float, factor: float, share: float) -> list[float]:
    """The same arrivals, `factor` times as dense in the first `share` of every period, and so much thinner
    in the rest that the mean rate stays: time is warped, not resampled.
    """
    if not 0 < share < 1 or not 1 <= factor < 1 / share:
        raise ValueError(f"factor: expected 1 to 1/share, got {factor} with share {share}")
    dense = factor * share
    warped = []
    for arrival in arrivals:
        periods, phase = divmod(arrival / period_s, 1.0)
        inside = phase / factor if phase < dense else share + (phase - dense) * (1 - share) / (1 - dense)
        warped.append((periods + inside) * period_s)
    return warped


def rising(arrivals: Iterable[float], *, end_s: float, first: float) -> list[float]:
    """The same arrivals until `end_s`, at a rate that grows evenly from `first` of its last value: time is warped."""
    if not 0 < first < 1:
        raise ValueError(f"first: expected more than 0 and less than 1, got {first}")
    mean = (first + 1) / 2
    return [ramped(mean * arrival, first, 1.0, end_s) for arrival in arrivals]


def ramped(arrivals: float, first: float, last: float, duration_s: float) -> float:
    """When so many are expected, at a rate that goes evenly from `first` to `last` in `duration_s`."""
    if not arrivals:
        return 0.0
    return 2 * arrivals / (first + sqrt(first * first + 2 * (last - first) * arrivals / duration_s))


def lognormal(rng: Random, mean: float, variation: float, least: int, most: int) -> int:
    """A length: lognormal with this mean and coefficient of variation, cut to the range."""
    variance = log(1 + variation * variation)
    return int(min(most, max(least, rng.lognormvariate(log(mean) - variance / 2, sqrt(variance)))))
