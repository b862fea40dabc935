"""The attempts at one answer: who is left out of the next, whether there is a next, and what is told if there is none.

A replica is tried at most twice: again only when all others have been tried, and not if it was busy. Being told that a replica
is busy is cheap and does not count: each may say so once. A retry after that, or after one that was too slow, is taken from the
fleet's budget; what a dead replica had is not. A provider is one replica to us and many machines behind, so it is asked again as
often as its tier allows.
"""

import asyncio
from typing import NamedTuple

from balancer.core.errors import Refused, provider_refused_us, replicas_failed, too_slow
from balancer.core.fleet.budget import RetryBudget
from balancer.core.fleet.replica import ReplicaState, Terms
from balancer.core.types import ReplicaId
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange
from balancer.forwarding.manners import REFUSES_US

PAUSE_S = 0.1
"""Before a replica is tried again."""
MOST_PER_REPLICA = 2

_NOBODY: frozenset[ReplicaId] = frozenset()
_SLOW = frozenset({Ended.SLOW_FIRST_BYTE, Ended.SLOW_FIRST_TOKEN, Ended.SLOW_IDLE})


class Tries:
    """`declined` is the last answer that another replica might have bettered, `last` how the last attempt ended."""

    def __init__(self, most: int, budget: RetryBudget, lost: ReplicaId | None = None) -> None:
        """`lost`: the replica that gave a part of the answer before it broke."""
        self.left = most
        self.made = 0
        self.declined: Exchange | None = None
        self.refused_us = False
        self.last = Ended.REFUSED
        self._each = MOST_PER_REPLICA
        self._terms: Terms | None = None
        self._budget = budget
        self._failures: dict[ReplicaId, int] = {} if lost is None else {lost: 1}
        self._most_each = 1

    @property
    def excluded(self) -> frozenset[ReplicaId]:
        if not self._failures:
            return _NOBODY
        return frozenset(replica for replica, count in self._failures.items() if count >= self._most_each)

    def failed(self, replica: ReplicaState, exchange: Exchange, now: float) -> None:
        """An attempt gave the client nothing."""
        self._terms = replica.terms
        if replica.terms is not None:
            self._each = replica.terms.attempts
        self.made += 1
        self.last = exchange.ended or self.last
        if not exchange.backpressure:
            self.left -= 1
        budgeted = exchange.backpressure or self.last in _SLOW
        before = self._failures.get(replica.id, 0)
        self._failures[replica.id] = self._each if budgeted else before + 1
        if self.last is Ended.ANSWERED and not exchange.aborted:
            self.refused_us = (
                exchange.status in REFUSES_US
            )  # of a replica of our own the client is told at once
            self.declined = None if self.refused_us else exchange
        if exchange.too_long or (budgeted and self.left and not self._budget.take(now)):
            self.left = 0

    async def again(self) -> bool:
        """Nobody is left: whether some may be tried a second time, after a pause."""
        if self._most_each >= self._each or not self.left:
            return False
        if all(count >= self._each for count in self._failures.values()):
            return False
        self._most_each += 1
        await asyncio.sleep(PAUSE_S)
        return True

    def failure(self, first_byte_timeout_s: float | None, idle_timeout_s: float | None) -> "Failed":
        """Every attempt failed: what is told of it, if no answer tells it."""
        if self.last is Ended.SLOW_FIRST_BYTE:
            refused = too_slow("begin its answer", first_byte_timeout_s or 0)
        elif self.last is Ended.SLOW_FIRST_TOKEN:
            refused = too_slow("give a first token", (self._terms and self._terms.first_token_timeout_s) or 0)
        elif self.last is Ended.SLOW_IDLE:
            refused = too_slow("go on with its answer", idle_timeout_s or 0)
        else:
            refused = provider_refused_us() if self.refused_us else replicas_failed()
        return Failed(refused, self.declined, self.last)


class Failed(NamedTuple):
    """Nobody answered. `declined` is the last answer that another might have bettered, `last` how the last attempt ended, if one
    was made; `refused` is what is told where no answer is.
    """

    refused: Refused
    declined: Exchange | None = None
    last: Ended | None = None
