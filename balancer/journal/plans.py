"""Plans as they were written (scribe.py): virtual models, tiers, and what the choice among them sees of a request."""

from typing import Any

from balancer.core.tiering.share import Calibrated
from balancer.core.tiering.types import (
    Ask,
    Choice,
    Fallback,
    Plan,
    Price,
    QualityFloor,
    Score,
    Signs,
    Sort,
    StrongShare,
    Target,
    Text,
    Threshold,
    Tier,
    Trouble,
    VirtualModel,
)
from balancer.core.types import Decision, ReplicaId
from balancer.journal.frames import Event
from balancer.journal.scribe import KEPT


class PlanReader:
    def __init__(self) -> None:
        self._virtuals: dict[int, VirtualModel] = {}
        self._calibrated: dict[VirtualModel, Calibrated | None] = {}
        self._tiers: dict[int, Tier] = {}
        self._plans: dict[int, Plan] = {}

    def __getitem__(self, number: int) -> Plan:
        return self._plans[number]

    def calibrated(self, virtual: VirtualModel) -> Calibrated | None:
        return self._calibrated.get(virtual)

    def virtual(self, event: Event) -> None:
        _, number, name, tiers, target, default, sticky, shadow, explore, calibrated = event
        known = VirtualModel(
            name, tuple(tiers), _target(*target), default, sticky=sticky, shadow=shadow, explore=explore
        )
        self._virtuals[number] = known
        self._calibrated[known] = None if calibrated is None else Calibrated(*calibrated)

    def option(self, event: Event) -> None:
        _, number, name, model, replicas, price, usd_per_hour, external = event
        self._tiers[number] = Tier(
            name,
            model,
            None if replicas is None else frozenset(map(ReplicaId, replicas)),
            None if price is None else Price(*price),
            usd_per_hour,
            external=external,
        )

    def plan(self, event: Event) -> None:
        _, number, virtual, options, reserve, chain, ask, score, conversation, tenant, *rest = event
        draw, rating, forced, ruled, text, signs, chosen = rest
        threshold, order, sort, allow_fallbacks = ask
        turns, answer_tokens = text
        at = self._virtuals[virtual]
        plan = Plan(
            at,
            Ask(
                at.name,
                threshold,
                order=tuple(order),
                sort=None if sort is None else Sort(sort),
                allow_fallbacks=allow_fallbacks,
            ),
            Text("", 0, turns=turns, answer_tokens=answer_tokens),
            tuple(self._tiers[each] for each in options),
            "ruled" if ruled else "",
            tuple(Fallback(to, frozenset(map(Trouble, on))) for to, on in chain),
            tuple(self._tiers[each] for each in reserve),
            score=None if score is None else _score(*score),
            conversation=conversation,
            tenant=tenant,
            draw=draw,
            forced=forced,
            rating=rating,
            signs=Signs(*signs),
        )
        if chosen is not None:
            tier, reason, limit, propensity, shadow = chosen
            nowhere = Decision(ReplicaId(""), "")
            plan.choice = Choice(self._tiers[tier], nowhere, reason, limit, propensity, shadow)
        self._plans.pop(number - KEPT, None)
        self._plans[number] = plan


def _score(value: float, spread: float, known: bool, qualities: list[list[Any]]) -> Score:
    return Score(value, spread, known, qualities=tuple((model, quality) for model, quality in qualities))


def _target(kind: str, value: float) -> Target:
    kinds: dict[str, type[StrongShare | Threshold | QualityFloor]] = {
        "share": StrongShare,
        "threshold": Threshold,
        "floor": QualityFloor,
    }
    return kinds[kind](value)
