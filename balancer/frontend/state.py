"""The state of everything as one JSON value, for who watches: the page, the terminal, scripts.

Rates and percentiles are of the last minute, or of as much of it as somebody has watched (`watched_s`). Seconds and tokens are in
the names; None is what is not known.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, time
from typing import Any

from balancer import __version__
from balancer.accounting.fleet_metrics import Loop
from balancer.accounting.metrics import Metrics
from balancer.accounting.watch import WINDOW_S, Window
from balancer.core.decider import Decider
from balancer.core.fleet.gpu import GpuState
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import ReplicaId
from balancer.frontend import alerts
from balancer.frontend.alerts import Alert, Hits
from balancer.observers.gpu.wire import as_json
from balancer.reload import Reloader

SLICE_S = 0.001
"""It is made for so long, then the event loop goes on with what else there is."""

_NOTHING = Window()


class Counts:
    """A counter of somebody else's over the last minute, by readings a second apart or so."""

    def __init__(self) -> None:
        self._read: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=WINDOW_S + 1)

    def grown(self, now: float, *values: float) -> tuple[float, ...]:
        """By how much they grew since the first reading of the last minute; a counter that fell began anew."""
        if self._read and any(value < last for value, last in zip(values, self._read[-1][1], strict=True)):
            self._read.clear()
        if not self._read or now - self._read[-1][0] >= 1:
            self._read.append((now, values))
        while now - self._read[0][0] > WINDOW_S:
            self._read.popleft()
        return tuple(value - first for value, first in zip(values, self._read[0][1], strict=True))


class States:
    """Makes the state when it is asked for, and keeps what it needs to tell how counters grow."""

    def __init__(
        self,
        decider: Decider,
        metrics: Metrics,
        reloader: Reloader,
        loops: Iterable[Loop],
        is_draining: Callable[[], bool],
    ) -> None:
        self._decider = decider
        self._metrics = metrics
        self._reloader = reloader
        self._loops = loops
        self._is_draining = is_draining
        self._began_s = monotonic()
        self._caches: dict[str, Counts] = {}
        self._refused = Counts()

    async def state(self) -> dict[str, Any]:
        """Others run while it is made."""
        now, until_s = monotonic(), monotonic() + SLICE_S
        fleet, watch, line = self._decider.fleet, self._metrics.watch, self._decider.line
        known = (*fleet, *fleet.leaving)
        names = {replica.id for replica in known}
        self._caches = {name: counts for name, counts in self._caches.items() if name in names}
        hits = {replica.id: found for replica in fleet if (found := self._hits(replica, now)) is not None}
        up_s = now - self._began_s
        watched_s = min(now - watch.since_s, WINDOW_S, up_s) if watch.on else 0.0
        seconds = watch.total.seconds(now)
        over_s = max(watched_s, 1.0)
        ttft = watch.total.ttft(now)
        replicas = []
        for replica in known:
            replicas.append(self._replica(replica, hits.get(replica.id), now))
            if monotonic() >= until_s:
                await asyncio.sleep(0)
                until_s = monotonic() + SLICE_S
        return {
            "at": time(),
            "version": __version__,
            "policy": self._reloader.loaded.settings.policy,
            "up_s": up_s,
            "watched_s": watched_s,
            "draining": self._is_draining(),
            "total": {
                "in_flight": fleet.in_flight,
                "waiting": len(line),
                "max_waiting": line.limits.max_waiting,
                "answers_per_s": sum(each.answers for each in seconds) / over_s,
                "errors_per_s": sum(each.errors for each in seconds) / over_s,
                "output_tokens_per_s": sum(each.output_tokens for each in seconds) / over_s,
                "usd_per_hour": sum(each.usd for each in seconds) / over_s * 3600,
                "hit_rate": _rate(
                    sum(found.lately * found.tokens for found in hits.values()),
                    sum(found.tokens for found in hits.values()),
                ),
                "ttft_p50_s": None if ttft is None else ttft[0],
                "ttft_p90_s": None if ttft is None else ttft[1],
            },
            "replicas": replicas,
            "tiers": self._tiers(),
            "alerts": [alert._asdict() for alert in self._alerts(hits, now)],
        }

    def _alerts(self, hits: Mapping[ReplicaId, Hits], now: float) -> list[Alert]:
        line, reloader = self._decider.line, self._reloader
        refused = self._refused.grown(now, sum(line.refused.values()))[0]
        found = [
            *alerts.of_fleet(self._decider.fleet, now),
            *alerts.of_queue(line, int(refused)),
            *alerts.of_hits(hits),
            *alerts.of_loops(self._loops, now),
            *alerts.of_configuration(reloader.mistakes, reloader.waiting),
        ]
        return sorted(found, key=lambda alert: alert.severity != "page")

    def _hits(self, replica: ReplicaState, now: float) -> Hits | None:
        """By the engine's own counters, over all its clients."""
        sample = replica.sample
        if sample is None or sample.prefix_queries_tokens is None or sample.prefix_hits_tokens is None:
            return None
        queries, hits = sample.prefix_queries_tokens, sample.prefix_hits_tokens
        counts = self._caches.setdefault(replica.id, Counts())
        asked, found = counts.grown(now, queries, hits)
        before = _rate(hits - found, queries - asked)
        return Hits(_rate(found, asked) or 0.0, before or 0.0, asked)

    def _replica(self, replica: ReplicaState, hits: Hits | None, now: float) -> dict[str, Any]:
        window = self._metrics.watch.replicas.get(replica.id, _NOTHING)
        sample, ttft = replica.sample, window.ttft(now)
        fleet = self._decider.fleet
        leaving = replica not in fleet
        hit_rate, source = (hits.lately, "engine") if hits is not None and hits.tokens else (None, None)
        if hit_rate is None:
            seconds = window.seconds(now)
            hit_rate = _rate(sum(s.cached_tokens for s in seconds), sum(s.known_tokens for s in seconds))
            source = None if hit_rate is None else "answers"
        return {
            "name": replica.id,
            "url": replica.url,
            "models": None if replica.models is None else sorted(replica.models),
            "external": replica.external,
            "state": "leaving" if leaving else "draining" if replica.draining else "serving",
            "health": replica.health,
            "since_s": None if replica.turned_s is None else now - replica.turned_s,
            "half_open": replica.half_open(now),
            "last_error": replica.last_error or None,
            "in_flight": replica.in_flight,
            "max_in_flight": replica.max_in_flight,
            "pending_prefill_tokens": replica.pending_tokens,
            "running": None if sample is None else sample.running,
            "waiting": None if sample is None else sample.waiting,
            "kv_usage": None if sample is None else sample.kv_usage,
            "sample_age_s": None if sample is None else now - sample.taken_at,
            "hit_rate": hit_rate,
            "hit_rate_from": source,
            "ttft_p50_s": None if ttft is None else ttft[0],
            "ttft_p90_s": None if ttft is None else ttft[1],
            "ttft_points_s": window.points(now),
            "gpu": gpus_told(replica.gpu, now) if replica.gpu.gpus else None,
        }

    def _tiers(self) -> list[dict[str, Any]]:
        tiering = self._decider.tiering
        told = []
        for tier in () if tiering is None else tiering.tiers.values():
            requests, left = self._metrics.tiers.totals(tier.name)
            told.append(
                {
                    "name": tier.name,
                    "model": tier.model,
                    "external": tier.external,
                    "price_usd_per_million_tokens": None if tier.price is None else tier.price._asdict(),
                    "replica_usd_per_hour": tier.replica_usd_per_hour,
                    "requests": requests,
                    "left": left,
                    "usd": self._metrics.spent_usd(tier.name),
                }
            )
        return told


def gpus_told(state: GpuState, now: float) -> dict[str, Any]:
    """What the GPUs of a replica say."""
    return {
        "condition": state.condition.name.lower(),
        "why": state.why or None,
        "slowness": state.slow,
        "memory_share": state.share,
        "gpus": [as_json(each.sample, now) | {"own_bytes": each.own_bytes} for each in state.gpus],
    }


def _rate(part: float, whole: float) -> float | None:
    return part / whole if whole else None
