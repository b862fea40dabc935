"""What outlives a change of the settings of tiers: who spent how much, what tokens were seen to cost, what was learned of shares.

Settings are prepared first, which may fail, and hold then, all at once.
"""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from balancer.accounting.tier_metrics import TierSeries
from balancer.config import ConfigError, Mistake, Settings
from balancer.config.build_tiering import Built, Provider, make_tiering
from balancer.config.classifiers import Classifiers, read
from balancer.core.decider import Decider
from balancer.core.tiering.budget import Budget
from balancer.core.tiering.planner import Planner
from balancer.core.tiering.prices import Prices
from balancer.learning.files import WrongFile
from balancer.learning.rows import BadData
from balancer.observers.remote_score import remote
from balancer.tiered import Tiers, has

Rating = Callable[[str, bytes], float | None]
"""The last rating of a tenant's conversation, in [0, 1]."""

LOOK_EVERY_S = 1.0
KEEPALIVE_S = 4.0
"""Less than uvicorn's 5 s, by which vLLM closes idle connections."""


class Prepared(NamedTuple):
    """Tiers that are about to hold. `built` is None where there are none."""

    built: Built | None
    classifiers: Classifiers
    header: str

    @property
    def names(self) -> Sequence[str]:
        """What clients may ask for beside models."""
        return () if self.built is None else self.built.catalog.names()

    @property
    def providers(self) -> Sequence[Provider]:
        return () if self.built is None else self.built.providers


def prepare(settings: Settings, environ: Mapping[str, str]) -> Prepared:
    """Raises: ConfigError, if a classifier cannot be read."""
    built = make_tiering(settings, environ)
    try:
        found = read({} if built is None else built.classifiers, environ)
    except (OSError, WrongFile, BadData) as error:
        raise ConfigError([Mistake("virtual_models", f"classifiers that can be read: {error}")]) from None
    return Prepared(built, found, settings.tier_header)


class TierState:
    def __init__(self, decider: Decider, series: TierSeries, rating: Rating | None = None) -> None:
        self._decider = decider
        self._series = series
        self._rating = rating
        self._budget = Budget()
        self._prices = Prices()
        self._built: Built | None = None
        self._looked_at_s = monotonic()
        self._session: ClientSession | None = None

    def apply(self, prepared: Prepared) -> Tiers | None:
        """These tiers hold from now on; requests under way keep those that they began with. None: there are none."""
        built, classifiers, header = prepared
        self._built = built
        if built is None:
            self._decider.tier(None)
            return None
        self._decider.tier(built.catalog.tiers, classifiers.calibrated)
        self._budget.policies = built.tenants
        planner = Planner(
            built.catalog,
            built.rules,
            classifiers.by_name,
            self._budget,
            price_of=self._prices.of,
            rating=self._rating,
            served=self._decider.fleet.models,
            awaited=classifiers.elsewhere,
        )
        awaited = {name: remote(each, self._asking()) for name, each in classifiers.elsewhere.items()}
        return Tiers(planner, self._decider, header, self._prices, self._series, awaited)

    def _asking(self) -> ClientSession:
        """For classifiers, of these settings and those before: requests under way still wait for them. What nobody uses
        is closed by itself.
        """
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S), cookie_jar=DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def look(self) -> float:
        """One look at who is busy, for what that costs; the seconds until the next."""
        now = monotonic()
        passed_s, self._looked_at_s = now - self._looked_at_s, now
        for tier in () if self._built is None else self._built.catalog.tiers.values():
            if tier.replica_usd_per_hour is not None:
                busy = sum(has(tier, replica) and replica.in_flight > 0 for replica in self._decider.fleet)
                if busy:
                    self._prices.busy(tier, busy * passed_s)
        return LOOK_EVERY_S
