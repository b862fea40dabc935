"""A run from its options to its document."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.fingerprint import fingerprint
from benchmarks.fleets import external, first_model
from benchmarks.load.arrivals import Rates, rates, reshaped
from benchmarks.load.player import OnRecord, play
from benchmarks.load.target import Target, address
from benchmarks.observation import Observer
from benchmarks.processes import NotServingError
from benchmarks.reporting.documents import Document, run_result
from benchmarks.reporting.service import ServiceLevel
from benchmarks.workloads.calibrate import calibrate
from benchmarks.workloads.choose import Wanted, script_for
from benchmarks.workloads.script import Script
from benchmarks.workloads.texts import Texts, by_bytes

POISSON = 1.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When conversations begin: `rates` over time, and how evenly, as `vllm bench serve` counts burstiness."""

    rates: Rates | None = None
    burstiness: float = POISSON

    @classmethod
    def parse(cls, rate: str | None, burstiness: float) -> "Rhythm":
        if not 0 < burstiness <= math.inf:
            raise ValueError(f"--burstiness: expected more than 0, got {burstiness:g}")
        return cls(None if rate is None else rates(rate), burstiness)

    @property
    def mean_rate(self) -> float | None:
        """Of a rate that changes, the mean while it does: workloads are dimensioned for one rate."""
        if self.rates is None or not self.rates.pieces:
            return None if self.rates is None else self.rates.final
        pieces = self.rates.pieces
        return sum(piece.arrivals for piece in pieces) / sum(piece.duration_s for piece in pieces)

    def shape(self, script: Script, seed: int) -> Script:
        """A workload's own arrivals are Poisson at a steady rate, and stay as they are where no more is asked."""
        steady = self.rates is None or not self.rates.pieces
        if steady and self.burstiness == POISSON:
            return script
        if self.rates is None:
            raise ValueError("--burstiness: expected --rate with it")
        shaped = reshaped(script, self.rates, burstiness=self.burstiness, seed=seed)
        return replace(shaped, facts={**script.facts, "burstiness": self.burstiness})


@dataclass(frozen=True, slots=True)
class Job:
    """`replica_urls`: the engines behind the target, whose counters stand beside the clients' figures; `metrics_url`: this
    balancer's. `bytes_per_token`: prompts are sized so, and the target's tokenizer is not asked.
    """

    target: Target
    wanted: Wanted
    rhythm: Rhythm
    replica_urls: Sequence[str] = ()
    metrics_url: str | None = None
    bytes_per_token: float | None = None
    level: ServiceLevel | None = None

    async def script(self) -> Script:
        wanted = replace(self.wanted, rate=self.rhythm.mean_rate)
        return self.rhythm.shape(script_for(wanted, await self._texts()), wanted.seed)

    async def run(self, script: Script, on_sent: OnRecord, on_record: OnRecord) -> Document:
        """Raises: NotServingError, where replicas or balancer do not tell their counters."""
        fleet = await external(self.replica_urls) if self.replica_urls else None
        observer = Observer(fleet, self.metrics_url)
        await observer.begin()
        played = await play(script, self.target, on_sent=on_sent, on_record=on_record)
        return run_result(
            await observer.observed(played),
            script,
            facts=fingerprint(),
            url=self.target.url,
            model=self.target.model,
            level=self.level,
        )

    async def _texts(self) -> Texts:
        if self.bytes_per_token is not None:
            return by_bytes(self.bytes_per_token)
        try:
            return await calibrate(_base(self.target.url), self.target.model, self.target.api_key)
        except ValueError as error:
            raise ValueError(f"{error}; --bytes-per-token sizes prompts without it") from error


async def model_of(url: str, api_key: str | None) -> str:
    """The first model that the target lists. Raises: ValueError, where it lists none."""
    try:
        return await first_model(_base(url), api_key)
    except NotServingError as error:
        raise ValueError(f"--target: {error}; --model names the model without it") from None


def _base(url: str) -> str:
    address(url)
    return url.rstrip("/").removesuffix("/v1")
