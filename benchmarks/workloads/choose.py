"""A script by what a user asks for: a workload's name or a recording, how fast, how long, from which seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.workloads.catalogue import LADDER, WORKLOADS, Workload
from benchmarks.workloads.recorded.recording import Recording, read_recording
from benchmarks.workloads.recorded.request import Request
from benchmarks.workloads.render import render
from benchmarks.workloads.scale import scaled
from benchmarks.workloads.script import Conversation, Script
from benchmarks.workloads.texts import Texts
from benchmarks.workloads.traces import sessions
from benchmarks.workloads.traffic import Traffic, poisson

_FEW = 50
"""So many times the mean gap without an arrival is no chance."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of a run that decide its script. `workload` is a name or a file. `rate` is arrivals a second in all; `load`,
    the same as a share of what the simulator says that `replicas` can bear. A recording is replayed at `speed` times its
    own times where neither is given, and `limit` takes the first so many of its requests.
    """

    workload: str
    rate: float | None = None
    load: float | None = None
    duration_s: float | None = None
    warm_up_s: float | None = None
    seed: int = 1
    replicas: int = 8
    scale: int = 1
    speed: float | None = None
    limit: int | None = None
    ignore_eos: bool = True

    def __post_init__(self) -> None:
        for option, value in (
            ("--rate", self.rate),
            ("--load", self.load),
            ("--duration", self.duration_s),
            ("--speed", self.speed),
            ("--limit", self.limit),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{option}: expected more than 0, got {value}")
        for option, number in (("--replicas", self.replicas), ("--scale", self.scale)):
            if number < 1:
                raise ValueError(f"{option}: expected 1 or more, got {number}")
        if self.warm_up_s is not None and not 0 <= self.warm_up_s < float("inf"):
            raise ValueError(f"--warm-up: expected 0 or more, got {self.warm_up_s}")


def script_for(wanted: Wanted, texts: Texts) -> Script:
    """The same to the byte for the same wishes and the same measure of texts. What is wrong is a ValueError."""
    if workload := WORKLOADS.get(wanted.workload):
        return _named(wanted, workload, texts)
    path = Path(wanted.workload)
    if not path.exists():
        names = ", ".join(WORKLOADS)
        raise ValueError(f"--workload: expected a file or one of {names}; got {wanted.workload!r}")
    return _recorded(wanted, read_recording(path, ignore_eos=wanted.ignore_eos), texts)


def _named(wanted: Wanted, workload: Workload, texts: Texts) -> Script:
    if (wanted.rate is None) == (wanted.load is None):
        raise ValueError("--rate, --load: expected one of them")
    if wanted.speed is not None or wanted.limit is not None:
        raise ValueError("--speed, --limit: expected only with a recording")
    if workload is LADDER and wanted.rate is not None:
        raise ValueError("--rate: the ladder has rates of its own; expected --load, 1 for the published ones")
    rate = wanted.rate if wanted.load is None else wanted.load * workload.capacity * wanted.replicas
    assert rate is not None
    duration_s = workload.duration_s if wanted.duration_s is None else wanted.duration_s
    settle_s = workload.settled_s(duration_s) if wanted.warm_up_s is None else wanted.warm_up_s
    _check_warm_up(settle_s, duration_s)
    traffic = workload.at(rate, wanted.replicas, wanted.seed, duration_s=duration_s, settle_s=settle_s)
    _check_reach(traffic)
    return _rendered(wanted, traffic, texts, "catalogue", rate)


def _recorded(wanted: Wanted, recording: Recording, texts: Texts) -> Script:
    if wanted.load is not None:
        raise ValueError("--load: expected only with a workload by name; --rate is for recordings too")
    if wanted.rate is not None and wanted.speed is not None:
        raise ValueError("--rate, --speed: expected at most one of them")
    if recording.rows:
        rows = recording.rows[: wanted.limit]
        begin_s = rows[0].time_s
        period_s = _period_s([row.time_s for row in rows])
        speed = _speed(wanted, len(rows), period_s)
        end_s = min(period_s / speed, wanted.duration_s or float("inf"))
        warm_up_s = _check_warm_up(wanted.warm_up_s or 0.0, end_s)
        traffic = Traffic(sessions(rows, begin_s, speed, end_s), warm_up_s, end_s)
        return _rendered(wanted, traffic, texts, recording.format, len(rows) * speed / period_s)
    return _replayed(wanted, recording)


def _replayed(wanted: Wanted, recording: Recording) -> Script:
    """Whole requests, at their own times or as a Poisson process."""
    if wanted.scale != 1:
        raise ValueError("--scale: expected 1: the requests of this recording are sent as they are")
    requests = recording.requests[: wanted.limit]
    arrivals = _arrivals(wanted, requests)
    end_s = min(arrivals[0] + _period_s(arrivals), wanted.duration_s or float("inf"))
    warm_up_s = _check_warm_up(wanted.warm_up_s or 0.0, end_s)
    conversations = tuple(
        Conversation(arrival_s, request.name, (request.ask,), remembers=False)
        for arrival_s, request in zip(arrivals, requests, strict=False)
        if arrival_s < end_s
    )
    facts = _facts(wanted, recording.format, len(conversations) / end_s) | {"tokens": "as recorded"}
    return Script(Path(wanted.workload).name, conversations, warm_up_s, end_s, facts=facts)


def _arrivals(wanted: Wanted, requests: Sequence[Request]) -> list[float]:
    times = [request.time_s for request in requests if request.time_s is not None]
    if times and (wanted.rate is None or times[-1] > times[0]):
        speed = _speed(wanted, len(times), _period_s(times))
        return [(time - times[0]) / speed for time in times]
    if wanted.rate is None:
        raise ValueError("--rate: expected one, for the recording has no times")
    reach_s = 2 * len(requests) / wanted.rate + _FEW / wanted.rate
    return poisson(Random(f"arrivals {wanted.seed}"), wanted.rate, reach_s)[: len(requests)]


def _speed(wanted: Wanted, requests: int, period_s: float) -> float:
    if wanted.rate is not None:
        return wanted.rate * period_s / requests
    return wanted.speed or 1.0


def _period_s(times: Sequence[float]) -> float:
    """From the first arrival to the end of the gap behind the last, were it as long as the others."""
    recorded_s = times[-1] - times[0]
    return recorded_s * len(times) / (len(times) - 1) if recorded_s > 0 else 1.0


def _rendered(wanted: Wanted, traffic: Traffic, texts: Texts, source: str, rate: float) -> Script:
    facts = _facts(wanted, source, rate) | {
        "tokens": texts.counted_by,
        "words_per_token": texts.words_per_token,
    }
    return render(
        scaled(traffic, wanted.scale),
        texts,
        name=Path(wanted.workload).name,
        seed=wanted.seed,
        facts=facts,
        ignore_eos=wanted.ignore_eos,
    )


def _facts(wanted: Wanted, source: str, rate: float) -> dict[str, Any]:
    return {
        "workload": Path(wanted.workload).name,
        "source": source,
        "rate": rate,
        "load": wanted.load,
        "speed": wanted.speed,
        "seed": wanted.seed,
        "replicas": wanted.replicas,
        "scale": wanted.scale,
        "ignore_eos": wanted.ignore_eos,
    }


def _check_warm_up(warm_up_s: float, duration_s: float) -> float:
    if warm_up_s >= duration_s:
        raise ValueError(f"--warm-up: expected less than the {duration_s:g} s of the run, got {warm_up_s:g}")
    return warm_up_s


def _check_reach(traffic: Traffic) -> None:
    """A trace may be over before the time is."""
    if not traffic.sessions:
        raise ValueError("--rate, --duration: expected at least one arrival")
    last_s = max(session.arrival_s for session in traffic.sessions)
    left_s = traffic.end_s - last_s
    if left_s > 0.1 * traffic.end_s and left_s > _FEW * last_s / len(traffic.sessions):
        raise ValueError(
            f"--duration: the trace has {len(traffic.sessions)} requests, over after {last_s:.0f} s at this rate"
        )
