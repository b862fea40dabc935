"""What tenants have spent today, against what they may. Days are UTC's; `wall_s` is seconds since 1970."""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

DAY_S = 86_400
ANYONE = "*"
MAX_TENANTS = 10_000


class TenantPolicy(NamedTuple):
    """What one tenant may: only these tiers, so much money a day. `weakest_when_spent`: it gets the weakest tier then, and is not
    refused.
    """

    tiers: frozenset[str] | None = None
    min_tier: str | None = None
    usd_per_day: float | None = None
    weakest_when_spent: bool = False


class Budget:
    """`policies` by tenant; that of `*` holds for whoever has none. They may be replaced at any time: what was spent stays.

    Spent is what answers cost once they have ended: what is in flight when the budget ends still ends, so a tenant may go over
    it by that much. A restart forgets.
    """

    def __init__(self, policies: Mapping[str, TenantPolicy] | None = None) -> None:
        self.policies = policies or {}
        self._spent: dict[str, float] = {}
        self._day = 0

    def policy(self, tenant: str) -> TenantPolicy | None:
        return self.policies.get(tenant) or self.policies.get(ANYONE)

    def spend(self, tenant: str, usd: float, wall_s: float) -> None:
        self._turn(wall_s)
        spent = self._spent.pop(tenant, 0.0)
        self._spent[tenant] = spent + usd
        if len(self._spent) > MAX_TENANTS:  # who has been quiet for longest begins anew
            del self._spent[next(iter(self._spent))]

    def spent(self, tenant: str, wall_s: float) -> float:
        """USD since midnight."""
        self._turn(wall_s)
        return self._spent.get(tenant, 0.0)

    def left(self, tenant: str, wall_s: float) -> float | None:
        """USD until midnight, at least 0; None: no limit."""
        policy = self.policy(tenant)
        if policy is None or policy.usd_per_day is None:
            return None
        return max(0.0, policy.usd_per_day - self.spent(tenant, wall_s))

    @staticmethod
    def renewed_in_s(wall_s: float) -> int:
        return ceil(DAY_S - wall_s % DAY_S)

    def _turn(self, wall_s: float) -> None:
        day = int(wall_s // DAY_S)
        if day > self._day:  # a clock that is set back renews nothing
            self._day = day
            self._spent.clear()
