"""From what a request asks for to the tiers that may serve it, in which order they stand in for each other, and its score.

    ask ── arm of a test, canary ── hard rules ── decisions ── one option left: that one
                                                            └─ more: the classifier's score

The classifier is asked only if more than one option is left and they differ in quality, or if a rule asks for complexity.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from balancer.core.errors import Refused, forbidden, unknown_model
from balancer.core.tiering.budget import Budget
from balancer.core.tiering.catalog import Catalog
from balancer.core.tiering.draw import draw as drawn
from balancer.core.tiering.rules import (
    ANSWER_TOKENS,
    ASKED,
    TOO_LONG,
    Case,
    Rules,
    Tiers,
    barred,
    named,
    narrow,
    spent,
)
from balancer.core.tiering.signals import Seen
from balancer.core.tiering.types import (
    Ask,
    Classifier,
    Fallback,
    Plan,
    Price,
    Score,
    Sort,
    Text,
    Tier,
    Trouble,
    VirtualModel,
)

_ANY_TROUBLE = frozenset(Trouble)
_NO_SCORE = Score(0.0, known=False, why="no classifier")


def stated_price(tier: Tier) -> Price | None:
    return tier.price


class Awaits(Exception):
    """A plan needs the score of this classifier, which has to be awaited. With it, it can be made."""

    def __init__(self, classifier: str) -> None:
        super().__init__(classifier)
        self.classifier = classifier


class Planner:
    """`classifiers` by the names that virtual models call them; those of `awaited` are no function, and their scores are to be
    given. `price_of` tells what a tier costs now, `rating` the last rating
    of a tenant's conversation, from 0 to 1, `served` the models of all replicas: what is neither a tier's nor one of these is
    passed over, so that clients cannot make up names that are counted.
    """

    def __init__(
        self,
        catalog: Catalog,
        rules: Rules,
        classifiers: Mapping[str, Classifier],
        budget: Budget,
        *,
        price_of: Callable[[Tier], Price | None] = stated_price,
        rating: Callable[[str, bytes], float | None] | None = None,
        served: Callable[[], list[str]] | None = None,
        awaited: Container[str] = (),
    ) -> None:
        self.catalog = catalog
        self.rules = rules
        self.classifiers = classifiers
        self.budget = budget
        self._price_of = price_of
        self._rating = rating
        self._served = served
        self._awaited = awaited

    def guard(self, model: str | None, *, tenant: str, wall_s: float) -> None:
        """A concrete model is asked for: whether the tenant may. For nothing, unless there are policies.

        Raises: Refused, 403 or 429.
        """
        policy = self.budget.policy(tenant) if self.budget.policies else None
        if policy is None:
            return
        if policy.tiers is not None:
            pools = () if model is None else self.catalog.pools(model)
            if not any(tier.name in policy.tiers for tier in pools):
                raise forbidden("This key may not use this model.", "model")
        if self.budget.left(tenant, wall_s) == 0 and not policy.weakest_when_spent:
            raise spent(wall_s)

    def plan(
        self,
        ask: Ask,
        text: Text,
        *,
        tenant: str = "",
        prompt_tokens: int,
        contexts: Mapping[str, int | None],
        conversation: bytes = b"",
        wall_s: float,
        draw: float = 1.0,
        given: Score | None = None,
    ) -> Plan:
        """`contexts`: for each tier the most tokens (max_model_len) of the replicas it has now; `wall_s`: seconds since 1970;
        `draw`: uniform in [0, 1), the same for the whole of a conversation; `given`: the score that was awaited.

        Raises: Refused, when no tier can or may serve the request, naming why. Awaits, if it takes a score that is not given.
        """
        catalog = self.catalog
        ask = self._with_known(ask)
        virtual, arm = _arm(catalog.virtual(ask.name), conversation, draw)
        plan = Plan(virtual, ask, text, (), conversation=conversation, tenant=tenant, draw=draw, arm=arm)
        known: list[Score] = []

        def score() -> Score:
            if not known and virtual.classifier in self._awaited:
                if given is None:
                    raise Awaits(virtual.classifier)
                known.append(given)
            elif not known:
                classifier = self.classifiers.get(virtual.classifier)
                known.append(_NO_SCORE if classifier is None else classifier.score(text))
            return known[0]

        if self._rating is not None:
            plan.rating = self._rating(tenant, conversation)
        seen = Seen(text, tokens=prompt_tokens, tenant=tenant, wall_s=wall_s, rating=plan.rating, score=score)
        ladder = tuple(catalog.tier(name) for name in virtual.tiers)
        case = Case(
            ask,
            text,
            tenant,
            prompt_tokens,
            contexts,
            wall_s,
            lambda: seen.language,
            self._price_of,
            self.budget,
            ladder,
        )
        listed = [catalog.tier(name) for each in ask.models for name in catalog.members(each)]
        options, rule = self._options(plan, listed, case)
        concrete = ask.name not in catalog.virtuals
        decided = ""
        if not concrete:
            options, decided = self.rules.decided(options, seen)
        asked = concrete or len(ladder) == 1 or (rule in ASKED and not decided)
        spent_all = rule == "budget"
        plan.rule = "+".join(filter(None, (rule, decided)))
        plan.forced = "asked" if asked else "rule"
        canary = self._canary(case, options, plan)
        if canary is not None:
            options, plan.forced = canary, "canary"
        others: Tiers = ()
        if any(named(tier, ask.order) for tier in options):
            first, *rest = _ordered(options, ask.order)
            options, plan.forced = (first,), "asked"
            others = tuple(tier for tier in rest if ask.allow_fallbacks or named(tier, ask.order))
        elif ask.sort is not None:
            options = tuple(sorted(options, key=lambda tier: self._usd(tier, case)))
            others = options if ask.allow_fallbacks else ()
            options = options[:1] if ask.sort is Sort.PRICE else options
            plan.forced = "asked"
        chain = [Fallback(tier.name, _ANY_TROUBLE) for tier in (*others, *listed)]
        if ask.allow_fallbacks:
            chain += virtual.fallbacks
        if not spent_all:  # who has spent all has the weakest, or nothing
            self._set_chain(plan, chain, options, case)
        plan.options = options
        if len(options) > 1 and ask.sort is None:
            if concrete:  # the same model in several pools: whichever answers first
                plan.ask = replace(ask, sort=Sort.LATENCY)
            else:
                plan.forced = ""
        if known or not plan.forced:
            plan.score = score()
        return plan

    def _with_known(self, ask: Ask) -> Ask:
        """Of the models that it names only those that are there.

        Raises: Refused, 404, if none is.
        """
        catalog = self.catalog
        names = (ask.name, *ask.models)
        there = [name for name in names if name in catalog.virtuals or catalog.pools(name)]
        if self._served is None or len(there) == len(names):
            return ask
        served = self._served()
        there = [name for name in names if name in there or name in served]
        if not there:
            raise unknown_model(ask.name, sorted({*catalog.names(), *served}))
        return ask if len(there) > len(ask.models) else replace(ask, name=there[0], models=tuple(there[1:]))

    def _options(self, plan: Plan, listed: Sequence[Tier], case: Case) -> tuple[Tiers, str]:
        """What the hard rules leave of the tiers; where they leave none, the first of those that the request falls back on, or
        that stands in for tiers whose context is too short.
        """
        try:
            return narrow(case.ladder, case)
        except Refused as refused:
            for tier in listed:
                if self._fits(tier, case):
                    return (tier,), "only"
            if refused.code == TOO_LONG and plan.ask.allow_fallbacks:
                for fallback in plan.virtual.fallbacks:
                    tier = self.catalog.tier(fallback.to)
                    if Trouble.CONTEXT in fallback.on and self._fits(tier, case):
                        plan.left += ((each.name, Trouble.CONTEXT) for each in case.ladder)
                        return (tier,), "context"
            raise

    def _fits(self, tier: Tier, case: Case) -> bool:
        return not barred(tier, case)

    def _canary(self, case: Case, options: Tiers, of: Plan) -> Tiers | None:
        """Its tier alone, or in the place of the one that it is to replace; None, if it isn't this one's turn."""
        virtual, ask = of.virtual, of.ask
        canary = virtual.canary
        if canary is None or ask.only is not None or ask.order or ask.sort is not None:
            return None
        if _place(f"canary of {virtual.name}", of.conversation, of.draw) >= canary.share:
            return None
        tier = self.catalog.tier(canary.to)
        if canary.instead_of is None:
            return (tier,) if not of.rule and self._fits(tier, case) else None
        if all(each.name != canary.instead_of for each in options) or not self._fits(tier, case):
            return None
        return tuple(tier if each.name == canary.instead_of else each for each in options)

    def _set_chain(self, plan: Plan, wanted: Iterable[Fallback], options: Tiers, case: Case) -> None:
        """Of those that stand in, the ones that can and may serve the request; nobody twice, nor who is asked anyway."""
        passed_over = {options[0].name} if len(options) == 1 else set()
        chain: dict[str, Fallback] = {}
        for each in wanted:
            if each.to in chain:
                chain[each.to] = Fallback(each.to, chain[each.to].on | each.on)
            elif each.to not in passed_over:
                why = barred(self.catalog.tier(each.to), case)
                if why:
                    passed_over.add(each.to)
                    plan.barred += ((each.to, why),)
                else:
                    chain[each.to] = each
        plan.chain, plan.reserve = tuple(chain.values()), tuple(self.catalog.tier(name) for name in chain)

    def _usd(self, tier: Tier, case: Case) -> float:
        """What the request would cost there. Replicas of one's own without a price cost less than any that has one."""
        price = self._price_of(tier)
        if price is None:
            return float("inf") if tier.external else 0.0
        answer = case.text.answer_tokens
        return price.input * case.prompt_tokens + price.output * (ANSWER_TOKENS if answer is None else answer)


def _ordered(options: Tiers, order: Sequence[str]) -> list[Tier]:
    """By the order, and who is not in it as they stand."""

    def place(tier: Tier) -> int:
        return next((at for at, name in enumerate(order) if named(tier, (name,))), len(order))

    return sorted(options, key=place)


def _arm(virtual: VirtualModel, conversation: bytes, draw: float) -> tuple[VirtualModel, str]:
    experiment = virtual.experiment
    if experiment is None:
        return virtual, ""
    at = _place(f"arm of {experiment.name}", conversation, draw)
    for arm in experiment.arms:
        at -= arm.share
        if at < 0:
            break
    return arm.virtual, f"{experiment.name}/{arm.name}"


def _place(use: str, conversation: bytes, draw: float) -> float:
    """In [0, 1), the same for each request of a conversation, in every balancer; of what is no conversation, the draw."""
    return drawn(conversation, use) if conversation else draw
