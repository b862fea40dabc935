"""Prometheus metrics of the balancer. Only this module knows prometheus_client, which tells of the process and its Python.

Requests are added up in plain numbers, and made into samples when somebody scrapes. Whoever adds metrics of a room of their own
gives them to `others`, as something that yields families with samples (exposition.py).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from balancer import __version__
from balancer.accounting import (
    admission_metrics,
    fleet_metrics,
    gpu_metrics,
    journal_metrics,
    outcome_metrics,
)
from balancer.accounting.configuration import ConfigurationSeries
from balancer.accounting.exposition import Samples, accepted, gauge, info
from balancer.accounting.fleet_metrics import Loop
from balancer.accounting.outcomes import OutcomeLog
from balancer.accounting.record import Record
from balancer.accounting.request_metrics import RequestSeries
from balancer.accounting.tier_metrics import TierSeries
from balancer.accounting.watch import Watch
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet

SLICE_S = 0.001
"""The page is written for so long, then the event loop goes on with what else there is."""

_BUILD = info("balancer_build", "Version and policy.", "version", "policy")
_TASKS = gauge(
    "balancer_asyncio_tasks",
    "Tasks of the event loop, side loops and client connections: it comes back to where it was, or something leaks.",
)


class Metrics:
    """`others` are asked at each scrape, in their order; `watch` hears of requests while somebody watches."""

    def __init__(self, fleet: Fleet, policy: str, line: Line, loops: Iterable[Loop] = ()) -> None:
        """`loops`: those beside the requests."""
        self._loops = loops
        self._fleet = fleet
        self._policy = policy
        self._line = line
        self._requests = RequestSeries(self._is_served)
        self._observer_failures: Counter[tuple[str, str]] = Counter()
        self.configuration = ConfigurationSeries()
        self.tiers = TierSeries()
        self.watch = Watch()
        self.outcomes: OutcomeLog | None = None
        self.journal: journal_metrics.Written | None = None
        self.others: list[Callable[[], Iterator[Samples]]] = []
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)
        self.gaps = self._requests.gaps
        self.refused = self._requests.refused
        self.attempted = self._requests.attempted
        self.stream_broke = self._requests.stream_broke
        self.spent_usd = self._requests.spent_usd

    def add(self, record: Record) -> None:
        """Count a request that has ended."""
        self._requests.add(record)
        if record.mended is not None:
            self.tiers.healed(*record.mended)
        if self.watch.on:
            self.watch.ended(record)

    def observer_failed(self, observer: str, replica: str) -> None:
        self._observer_failures[observer, replica] += 1

    def name_tenants(self, names: Iterable[str]) -> None:
        """These have series of their own from now on; all others are one."""
        self._requests.tenants = frozenset(names)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page, and its content type by what the scraper accepts. Others run while it is written."""
        openmetrics, content_type = accepted(accept)
        slices: list[bytes] = []
        pieces: list[str] = []
        until_s = monotonic() + SLICE_S
        for piece in self._pieces(openmetrics=openmetrics):
            pieces.append(piece)
            if monotonic() >= until_s:
                slices.append("".join(pieces).encode())
                pieces.clear()
                await asyncio.sleep(0)
                until_s = monotonic() + SLICE_S
        slices += ("".join(pieces).encode(), self._of_process(accept))
        return b"".join(slices), content_type

    def render(self, accept: str) -> tuple[bytes, str]:
        """The same, in one go."""
        openmetrics, content_type = accepted(accept)
        text = "".join(self._pieces(openmetrics=openmetrics))
        return text.encode() + self._of_process(accept), content_type

    def families(self) -> Iterator[Samples]:
        """All that is told, but for the process itself."""
        yield _BUILD, [((__version__, self._policy), 1.0)]
        yield _TASKS, [((), _tasks())]
        yield from self.configuration.collect()
        yield from self._requests.collect()
        now = monotonic()
        yield from admission_metrics.collect(self._line, self._fleet.models(), self._requests.label, now)
        yield from fleet_metrics.collect(self._fleet, now)
        yield fleet_metrics.hits(self._fleet, self._requests.hits())
        yield fleet_metrics.failures(self._fleet, self._observer_failures)
        yield from fleet_metrics.loops(self._loops, now)
        yield from gpu_metrics.families(self._fleet.gpus, self._fleet, now)
        yield from self.tiers.collect()
        yield from outcome_metrics.collect(self.outcomes)
        yield from journal_metrics.collect(self.journal)
        for collect in self.others:
            yield from collect()

    def _pieces(self, *, openmetrics: bool) -> Iterator[str]:
        for family, samples in self.families():
            yield from family.pieces(samples, openmetrics=openmetrics)

    def _of_process(self, accept: str) -> bytes:
        encode, _ = choose_encoder(accept)
        return encode(self._process)

    def _is_served(self, model: str) -> bool:
        return any(model in (replica.models or ()) for replica in self._fleet)


def _tasks() -> int:
    """None of them, where no loop runs."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0
