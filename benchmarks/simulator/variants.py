"""The same traffic under other circumstances: what is stale, wrong, broken, uneven or comes in bursts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from balancer.embedded.engine import Profile
from benchmarks.simulator.simulation import Fault, Happening, Setting, at_speed
from benchmarks.workloads.traffic import Traffic, bursty, rising

AFTER_S = 30.0
"""How long the time right after a fault is looked at by itself."""
RAMP_FIRST = 0.25


@dataclass(frozen=True, slots=True)
class Variant:
    """`share`: what of the fleet's capacity is there, so that a load means the same. `faults` are given the moment of
    the fault, in the middle of the measured time, and the number of replicas; a variant that has them, or is `parted`,
    is also measured for AFTER_S from that moment. `warp` moves the arrivals until the given end.
    """

    name: str
    tells: str
    change: Callable[[Setting], Setting] = lambda setting: setting
    faults: Callable[[float, int], tuple[Fault, ...]] | None = None
    share: float = 1.0
    parted: bool = False
    warp: Callable[[list[float], float], list[float]] | None = None

    def setting(self, profile: Profile, replicas: int, traffic: Traffic) -> Setting:
        setting = self.change(Setting((profile,) * replicas))
        if self.faults is None:
            return setting
        return replace(setting, faults=self.faults(self.moment_s(traffic), replicas))

    def traffic(self, traffic: Traffic) -> Traffic:
        if self.warp is not None:
            warped = self.warp([s.arrival_s for s in traffic.sessions], traffic.end_s)
            sessions = [replace(s, arrival_s=t) for s, t in zip(traffic.sessions, warped, strict=True)]
            traffic = replace(traffic, sessions=sessions)
        if self.parted or self.faults is not None:
            moment_s = self.moment_s(traffic)
            stages = {"after": (moment_s, moment_s + AFTER_S), "later": (moment_s + AFTER_S, traffic.end_s)}
            traffic = replace(traffic, stages=stages)
        return traffic

    @staticmethod
    def moment_s(traffic: Traffic) -> float:
        return (traffic.start_s + traffic.end_s) / 2


def _half_slow(setting: Setting) -> Setting:
    profiles = setting.profiles
    half = len(profiles) // 2
    return replace(setting, profiles=profiles[:half] + tuple(at_speed(p, 0.5) for p in profiles[half:]))


def _join(moment_s: float, replicas: int) -> tuple[Fault, ...]:
    return tuple(Fault(moment_s, number, Happening.START) for number in (replicas - 2, replicas - 1))


def _bursts(arrivals: list[float], _: float) -> list[float]:
    return bursty(arrivals, period_s=40, factor=3, share=0.25)


def _ramp(arrivals: list[float], end_s: float) -> list[float]:
    return rising(arrivals, end_s=end_s, first=RAMP_FIRST)


def _restart(moment_s: float, _: int) -> tuple[Fault, ...]:
    return (Fault(moment_s, 0, Happening.STOP), Fault(moment_s + 20, 0, Happening.START))


def _throttle(moment_s: float, replicas: int) -> tuple[Fault, ...]:
    return tuple(Fault(moment_s, number, Happening.SLOW, 0.5) for number in range(replicas // 4))


PLAIN = Variant("", "nothing unusual")
VARIANTS = {
    variant.name: variant
    for variant in (
        PLAIN,
        Variant("stale", "metrics every 5 s, 5 s old", lambda s: replace(s, sample_every_s=5.0, sample_delay_s=5.0)),
        Variant("told_3x_speed", "speeds are first taken for 3 x", lambda s: replace(s, told_speed=3.0)),
        Variant("told_third_speed", "speeds are first taken for a third", lambda s: replace(s, told_speed=1 / 3)),
        Variant("index_double", "KV capacity told as double", lambda s: replace(s, capacity_factor=2.0)),
        Variant("index_half", "KV capacity told as half", lambda s: replace(s, capacity_factor=0.5)),
        Variant("half_slow", "half the replicas at half speed", _half_slow, share=0.75),
        Variant("routers", "3 balancers that know nothing of each other", lambda s: replace(s, routers=3)),
        Variant("join", "2 replicas join in the middle", faults=_join, share=0.75),
        Variant("joined", "the same with both from the start", share=0.75, parted=True),
        Variant("restart", "a replica dies and is back in 20 s", faults=_restart),
        Variant("throttle", "a quarter of the replicas falls to half speed", faults=_throttle, share=0.875),
        Variant("bursts", "3 x the rate for 10 of every 40 s", warp=_bursts),
        Variant("ramp", "the rate grows from a quarter of the load to the whole", warp=_ramp, share=(1 + RAMP_FIRST) / 2),
        Variant("silent", "answers in one piece: no first token is heard of", lambda s: replace(s, streaming=False)),
    )
}  # fmt: skip
