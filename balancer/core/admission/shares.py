"""Fair shares of tenants: of those with requests that wait, whoever got the least goes first.

    tokens += uncached prompt tokens + expected output tokens       of each request sent while anybody waits

It is deficit round robin (Shreedhar and Varghese 1995) with the quantum brought down to a token, which needs neither rounds
nor a request's cost before the policy has chosen it; for LLM serving, the virtual token counter of Sheng et al. (OSDI 2024).
Who begins to wait starts from the least that any waiting tenant has: idle time is no credit. So of two tenants that wait all
the while neither gets more than one request ahead. When nobody waits, all is forgotten.
"""

from balancer.core.scheduling.waiting import Share

MOST_TENANTS = 1024
"""More than this are remembered only while they wait."""


class Shares:
    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._shares)

    def joins(self, tenant: str) -> Share:
        share = self._share(tenant)
        if not share.waiting:
            share.tokens = max(share.tokens, self._least())
        share.waiting += 1
        self._waiting += 1
        return share

    def leaves(self, share: Share) -> None:
        share.waiting -= 1
        self._waiting -= 1
        if not self._waiting:
            self._shares.clear()

    def got(self, tenant: str, tokens: float) -> None:
        """A request of the tenant is sent."""
        if self._waiting:
            self._share(tenant).tokens += tokens

    def _share(self, tenant: str) -> Share:
        share = self._shares.get(tenant)
        if share is None:
            if len(self._shares) >= MOST_TENANTS:
                self._shares = {name: each for name, each in self._shares.items() if each.waiting}
            share = self._shares[tenant] = Share()
        return share

    def _least(self) -> float:
        return min((share.tokens for share in self._shares.values() if share.waiting), default=0.0)
