"""One joint choice of tier and replica: every option of a plan is asked what its best replica would do with the request, and one
of these offers is taken.

    for each tier: the request as asked of its model (other keys, other tokens), its replicas, the policy's quote
    the tier by core/tiering/choice.py, from scores, and what the offers cost
    a tier in trouble is left for the next of the chain that the user wrote for that trouble, else for another option

Nothing but the choice that is made changes any state: a quote counts no arrival.
"""

from collections.abc import Callable
from typing import NamedTuple

from balancer.core.admission import Line
from balancer.core.errors import Refused, no_replica
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.replica import ReplicaState
from balancer.core.scheduling import Policy, Quote
from balancer.core.tiering.choice import Pick, pick
from balancer.core.tiering.exchange import Bid, usd
from balancer.core.tiering.memory import Tiering
from balancer.core.tiering.types import Choice, Offer, Plan, Tier, Trouble
from balancer.core.types import Decision, ReplicaId, RequestView

Retarget = Callable[[RequestView, str, frozenset[ReplicaId] | None], RequestView]
"""A request as asked of another model (core/request/parse.py)."""


class Standing(NamedTuple):
    """What a tier would do with the request. `refused` is there if nobody can serve it."""

    tier: Tier
    request: RequestView
    replicas: list[ReplicaState]
    bid: Bid | None = None
    trouble: Trouble | None = None
    refused: Refused | None = None


class Joint:
    def __init__(
        self,
        tiering: Tiering,
        fleet: Fleet,
        line: Line,
        policy: Policy,
        retarget: Retarget,
        *,
        dry: bool = False,
    ) -> None:
        """`dry`: a first choice is only told, and not made."""
        self._dry = dry
        self._tiering = tiering
        self._fleet = fleet
        self._line = line
        self._policy = policy
        self._retarget = retarget

    def choose(self, plan: Plan, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Choice:
        """The first time, the choice; after that, while its tier was not left, another replica there, else the next tier.

        Raises: Refused, if no tier is left that could serve it.
        """
        before = plan.choice
        if before is None and not plan.left:
            choice = self._first(plan, request, tried, now)
        else:
            choice = self._again(plan, request, tried, now)
        if before is not None and before.tier.name != choice.tier.name:
            self._tiering.moved(plan, before.tier.name, choice.tier.name)
        plan.choice = choice
        return choice

    def _first(self, plan: Plan, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Choice:
        standings = [self._standing(plan, tier, request, tried, now) for tier in plan.options]
        bids = [standing.bid for standing in standings]
        tiering = self._tiering
        picked = pick(plan, bids, tiering.steps(plan), tiering.sticky.of(plan), now)
        standing, reason = standings[picked.option], picked.reason
        if standing.trouble is not None:
            known = {each.tier.name: each for each in standings}
            plan.left.append((standing.tier.name, standing.trouble))
            found = self._next(plan, request, tried, now, known)
            if found is None:
                del plan.left[:]  # those that are only full may say so themselves
                others = standings if plan.ask.allow_fallbacks else [standing]
                found = standing if standing.refused is None else _full(others)
            if found is None:
                assert standing.refused is not None
                raise standing.refused
            reason = reason if found is standing else "fallback"
            standing = found
        if not self._dry:
            tiering.took(plan, picked, standing.tier.name, standing.request.prompt_tokens, now)
        offers = tuple(bid.offer for bid in bids if bid is not None)
        return self._choice(plan, standing, picked._replace(reason=reason), offers, tried, now)

    def _again(self, plan: Plan, request: RequestView, tried: frozenset[ReplicaId], now: float) -> Choice:
        before = plan.choice
        if before is not None and before.tier.name not in {name for name, _ in plan.left}:
            standing = self._standing(plan, before.tier, request, tried, now)
            if standing.refused is None:
                return before._replace(
                    decision=self._decision(standing, tried, now), request=standing.request
                )
            plan.left.append((before.tier.name, Trouble.FAILING))
        found = self._next(plan, request, tried, now, {})
        if found is None:
            raise no_replica()
        picked = Pick(0, "fallback") if before is None else _as_before(before)
        offers = () if found.bid is None else (found.bid.offer,)
        return self._choice(plan, found, picked, offers, tried, now)

    def _next(
        self,
        plan: Plan,
        request: RequestView,
        tried: frozenset[ReplicaId],
        now: float,
        known: dict[str, Standing],
    ) -> Standing | None:
        """The first of those that follow that is in no trouble; the others are left as well."""
        while (tier := self._follower(plan)) is not None:
            standing = known.get(tier.name) or self._standing(plan, tier, request, tried, now)
            if standing.trouble is None:
                return standing
            plan.left.append((tier.name, standing.trouble))
        return None

    def _follower(self, plan: Plan) -> Tier | None:
        """Who is next after those that were left: of the chain for the last one's trouble, then the other options, the stronger
        first. Nobody is asked twice.
        """
        gone, trouble = {name for name, _ in plan.left}, plan.left[-1][1]
        names = [tier.name for tier in plan.options]
        place = names.index(plan.left[0][0]) if plan.left[0][0] in names else 0
        options = (*plan.options[place + 1 :], *reversed(plan.options[: place + 1]))
        reserve = {tier.name: tier for tier in plan.reserve}
        names = [each.to for each in plan.chain if trouble in each.on]
        chain = (reserve.get(name) or self._tiering.tiers.get(name) for name in names)
        others = options if plan.ask.allow_fallbacks else ()
        return next((tier for tier in (*chain, *others) if tier and tier.name not in gone), None)

    def _standing(
        self, plan: Plan, tier: Tier, request: RequestView, tried: frozenset[ReplicaId], now: float
    ) -> Standing:
        view = self._retarget(request, tier.model, tier.replicas)
        try:
            replicas = self._fleet.eligible(view.model, now, tried, tier.replicas)
        except Refused as refused:
            return Standing(tier, view, [], None, Trouble.FAILING, refused)
        trouble = _trouble_of(replicas, now)
        quote = self._line.quote(view, replicas, now, retry=bool(tried))
        if quote is None:
            waits = not tried and self._line.would_wait(view, replicas, now)
            full = Trouble.SATURATED if waits and self._line.full(view) else None
            return Standing(tier, view, replicas, None, trouble or full)
        output_tokens = self._policy.expected_output_tokens(view)
        if plan.text.answer_tokens is not None:
            output_tokens = min(output_tokens, plan.text.answer_tokens)
        decision = quote.decision
        money = usd(tier, view, quote, output_tokens)
        offer = Offer(tier, decision, _ttft_s(quote), money, decision.uncached_tokens, quote.cost_s)
        return Standing(tier, view, replicas, Bid(offer, quote), trouble or self._trouble(view, quote, tried))

    def _trouble(self, view: RequestView, quote: Quote, tried: frozenset[ReplicaId]) -> Trouble | None:
        """It may not wait there, or not for so long."""
        if tried or not quote.decision.wait:
            return None
        longest_s = self._line.limits.max_wait_s
        if self._line.full(view) or (longest_s is not None and quote.wait_s > longest_s):
            return Trouble.SATURATED
        return None

    def _choice(
        self,
        plan: Plan,
        standing: Standing,
        picked: Pick,
        offers: tuple[Offer, ...],
        tried: frozenset[ReplicaId],
        now: float,
    ) -> Choice:
        wanted = plan.options[picked.wanted].name if picked.wanted is not None else ""
        return Choice(
            standing.tier,
            self._decision(standing, tried, now),
            picked.reason,
            picked.threshold,
            picked.propensity,
            wanted if plan.virtual.shadow else "",
            offers,
            standing.request,
            picked.saved,
        )

    def _decision(self, standing: Standing, tried: frozenset[ReplicaId], now: float) -> Decision:
        if standing.bid is None:
            retry = bool(tried)
            return self._line.decide(standing.request, standing.replicas, now, retry=retry, dry=self._dry)
        if not self._dry:
            self._policy.arrived(now)
        return standing.bid.offer.decision


def _trouble_of(replicas: list[ReplicaState], now: float) -> Trouble | None:
    """What is known before anything is asked: none of them is up, or a provider lets us send no more now. Of their return probes
    and trials will tell.
    """
    if all(replica.is_out(now) for replica in replicas):
        return Trouble.FAILING
    if all(replica.terms is not None and replica.terms.quota.wait_s(now) > 0 for replica in replicas):
        return Trouble.LIMITED
    if all(replica.external and replica.at_limit for replica in replicas):
        return Trouble.LIMITED
    return None


def _ttft_s(quote: Quote) -> float | None:
    """From now on: what it waits for here, and what was predicted from its sending on."""
    predicted_s = quote.decision.predicted_s
    if predicted_s is None or not quote.decision.wait:
        return predicted_s
    return max(predicted_s, quote.wait_s)


def _full(standings: list[Standing]) -> Standing | None:
    return next((each for each in standings if each.refused is None), None)


def _as_before(before: Choice) -> Pick:
    return Pick(0, "fallback", before.propensity, before.threshold)
