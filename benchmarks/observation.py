"""What stands beside the clients' own records of a run: engines' and balancer's counters, CPU, whether the generator kept up."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from balancer.core.types import EngineSample
from benchmarks import cpu
from benchmarks.fleets import Fleet, metrics_page
from benchmarks.load.lateness import lagged
from benchmarks.load.player import Played
from benchmarks.reporting.counters import engines, prediction
from benchmarks.reporting.documents import Observed


@dataclass(slots=True)
class Observer:
    """Reads counters before a run and after it. `metrics_url` is this balancer's own page, `pid` the process to account for;
    what is None is not observed.
    """

    fleet: Fleet | None = None
    metrics_url: str | None = None
    pid: int | None = None
    _engines: Mapping[str, EngineSample] = field(default_factory=dict)
    _page: str = ""
    _cpu: cpu.Reading | None = None

    async def begin(self) -> None:
        """Raises: NotServingError, where something to observe does not answer."""
        self._engines, self._page = await self._read()
        self._cpu = None if self.pid is None else cpu.read(self.pid)

    async def observed(self, played: Played) -> Observed:
        spent_s = None
        if self._cpu is not None and self.pid is not None:
            spent_s = cpu.spent(self._cpu, cpu.read(self.pid)).seconds
        samples, page = await self._read()
        ttft_s = [record.ttft_s for record in played.records if record.ttft_s is not None]
        return Observed(
            played.records,
            played.started_at,
            played.stages,
            late_s=played.late_s,
            invalid=lagged(played.late_s, ttft_s),
            interrupted=played.interrupted,
            engines=engines(self._engines, samples),
            prediction=prediction(self._page, page),
            balancer_cpu_s=spent_s,
        )

    async def _read(self) -> tuple[Mapping[str, EngineSample], str]:
        samples = {} if self.fleet is None else await self.fleet.samples()
        page = b"" if self.metrics_url is None else await metrics_page(self.metrics_url)
        return samples, page.decode(errors="replace")
