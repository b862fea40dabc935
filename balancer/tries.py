"""The attempts at one answer: who is left out of the next, whether there is a next, and what is told if there is none.

A replica is tried at most twice: again only when all others have been tried, and not if it was busy. Being told that a replica
is busy is cheap and does not count: each may say so once. A retry after that, or after one that was too slow, is taken from the
fleet's budget; what a dead replica had is not.
"""

import asyncio

from balancer.core.errors import Refused, replicas_failed, too_slow
from balancer.core.fleet.budget import RetryBudget
from balancer.core.types import ReplicaId
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange

PAUSE_S = 0.1
"""Before a replica is tried again."""
MOST_PER_REPLICA = 2

_NOBODY: frozenset[ReplicaId] = frozenset()
_SLOW = frozenset({Ended.SLOW_FIRST_BYTE, Ended.SLOW_IDLE})


class Tries:
    """`declined` is the last answer that another replica might have bettered, `last` how the last attempt ended."""

    def __init__(self, most: int, budget: RetryBudget, lost: ReplicaId | None = None) -> None:
        """`lost`: the replica that gave a part of the answer before it broke."""
        self.left = most
        self.made = 0
        self.declined: Exchange | None = None
        self.last = Ended.REFUSED
        self._budget = budget
        self._failures: dict[ReplicaId, int] = {} if lost is None else {lost: 1}
        self._most_each = 1

    @property
    def excluded(self) -> frozenset[ReplicaId]:
        if not self._failures:
            return _NOBODY
        return frozenset(replica for replica, count in self._failures.items() if count >= self._most_each)

    def failed(self, replica: ReplicaId, exchange: Exchange, now: float) -> None:
        """An attempt gave the client nothing."""
        self.made += 1
        self.last = exchange.ended or self.last
        if not exchange.backpressure:
            self.left -= 1
        budgeted = exchange.backpressure or self.last in _SLOW
        self._failures[replica] = MOST_PER_REPLICA if budgeted else self._failures.get(replica, 0) + 1
        if self.last is Ended.ANSWERED and not exchange.aborted:
            self.declined = exchange
        if budgeted and self.left and not self._budget.take(now):
            self.left = 0

    async def again(self) -> bool:
        """Nobody is left: whether some may be tried a second time, after a pause."""
        if self._most_each == MOST_PER_REPLICA or not self.left:
            return False
        if all(count >= MOST_PER_REPLICA for count in self._failures.values()):
            return False
        self._most_each = MOST_PER_REPLICA
        await asyncio.sleep(PAUSE_S)
        return True

    def refusal(self, first_byte_timeout_s: float | None, idle_timeout_s: float | None) -> Refused:
        """What is told when every attempt failed, and no replica said anything that could be told."""
        if self.last is Ended.SLOW_FIRST_BYTE:
            return too_slow("begin its answer", first_byte_timeout_s or 0)
        if self.last is Ended.SLOW_IDLE:
            return too_slow("go on with its answer", idle_timeout_s or 0)
        return replicas_failed()
