"""The way of one request through the tiers, where its model is ours to choose: which is asked, and which when that one fails.

    plan (core) -> enter a tier -> attempts there -> an answer
                        ^               |
                        +--- leave -----+    nothing was given to the client yet, and somebody else stands in for this trouble

Each tier is asked once. Who stands in for whom the core says (core/joint.py): the chain that the user wrote, for the troubles
that are written there, then what else may serve the request. What was left, and why, is told in a head, or in the last error.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic, time
from typing import NamedTuple

from balancer.accounting.record import Record, Tiered
from balancer.accounting.tier_metrics import TierSeries
from balancer.core.decider import Decider
from balancer.core.errors import Blame, Refused
from balancer.core.fleet.replica import ReplicaState
from balancer.core.tiering.ask import read_ask
from balancer.core.tiering.draw import draw
from balancer.core.tiering.planner import Awaits, Planner
from balancer.core.tiering.prices import Prices
from balancer.core.tiering.rewrite import rewritten
from balancer.core.tiering.text import read_text
from balancer.core.tiering.types import Ask, Choice, Plan, Score, Text, Tier, Trouble
from balancer.core.types import Decision, Json, ReplicaId, RequestView, Usage
from balancer.forwarding.client import Outgoing
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange
from balancer.observers.remote_score import Remote
from balancer.tries import Failed
from balancer.vllm_api.answers import error_of

_SLOW = frozenset({Ended.SLOW_FIRST_BYTE, Ended.SLOW_FIRST_TOKEN, Ended.SLOW_IDLE, Ended.LOST})
_LIMITED = frozenset({402, 429})

CONTEXTS_S = 1.0
"""How old what is known of the tiers' contexts may be."""


def trouble_of(failed: Failed) -> Trouble | None:
    """Why the tier did not answer; None, where another would not either."""
    refused, answer = failed.refused, failed.declined
    if failed.last is None:  # nobody was asked
        if refused.status == 504 or refused.blame is Blame.CLIENT:
            return None if refused.status != 404 else Trouble.FAILING
        if refused.code == "rate_limit_exceeded":
            return Trouble.LIMITED
        return Trouble.SATURATED if refused.blame is Blame.BALANCER else Trouble.FAILING
    if failed.last in _SLOW:
        return Trouble.TIMEOUT
    if failed.last is not Ended.ANSWERED or answer is None:
        return Trouble.FAILING
    if answer.too_long:
        return Trouble.CONTEXT
    if answer.backpressure:
        return Trouble.LIMITED if answer.said in _LIMITED else Trouble.SATURATED
    return Trouble.FAILING


class Asked(NamedTuple):
    """What a request asks for beside a model: `fields` is its decoded body, `form` the content type of one that is a form."""

    fields: Json = None
    ask: Ask | None = None
    form: str | None = None
    heal: bool = False


class Way:
    """`view` and `asked` are what the client sent: it named no model that is served. `form` is the content type of a body that is
    one.
    """

    def __init__(
        self, plan: Plan, decider: Decider, view: RequestView, asked: Outgoing, form: str | None = None
    ) -> None:
        self.plan = plan
        self._decider = decider
        self._view = view
        self._asked = asked
        self._form = form
        self._next: Choice | None = None
        self._propensity: float | None = None
        self._options = plan.options

    def enter(self, record: Record, now: float) -> tuple[RequestView, Outgoing, Decision]:
        """What is asked of the tier that is next, and where.

        Raises: Refused, if none of those that might be asked can be.
        """
        choice = self._next or self._decider.choose(self.plan, self._view, frozenset(), now)
        self._next = None
        if self._propensity is None:
            self._propensity = choice.propensity
        record.model = choice.tier.model
        record.tiered = told(self.plan, choice, self._propensity, self._options)
        asked = self._asked
        body = rewritten(asked.body, choice.tier.model, self._form)
        outgoing = Outgoing(asked.method, asked.target, asked.headers, body, asked.drop)
        return choice.request or self._view, outgoing, choice.decision

    def leave(self, failed: Failed, now: float) -> bool:
        """The tier did not answer: whether another one is to be asked. If not, `refusal` tells of all."""
        plan, trouble = self.plan, trouble_of(failed)
        if plan.choice is None or trouble is None:
            return False
        plan.left.append((plan.choice.tier.name, trouble))
        try:
            self._next = self._decider.choose(plan, self._view, frozenset(), now)
        except Refused:
            return False
        return True

    def refusal(self, failed: Failed) -> Failed:
        """The last error, and which tiers were asked; if there was but one, what that said."""
        if len(self.plan.left) < 2:
            return failed
        refused = failed.refused if failed.declined is None else _as_refusal(failed.declined)
        tried = ", ".join(f"{name} ({why})" for name, why in (*self.plan.left, *self.plan.barred))
        return Failed(refused.saying(f"{refused.message} Tried: {tried}."))

    @property
    def left(self) -> tuple[tuple[str, str], ...]:
        """The tiers that were left, each with why."""
        return _left(self.plan)


def told(plan: Plan, choice: Choice, propensity: float, options: Sequence[Tier]) -> Tiered:
    """What is recorded of a choice. `propensity` is that of the first one, and `options` are those that there were then."""
    score = plan.score
    known = score is not None and score.known
    return Tiered(
        plan.ask.name,
        choice.tier.name,
        choice.tier.model,
        choice.reason,
        plan.rule,
        score.value if score is not None and known else None,
        score.spread if score is not None and known else None,
        choice.threshold,
        propensity,
        plan.arm,
        choice.shadow,
        _left(plan),
        plan.barred if plan.left else (),
        tenant=plan.tenant,
        conversation=plan.conversation,
        explored=choice.reason == "explore",
        target=plan.virtual.target,
        options=tuple((tier.name, None) for tier in options),
        text=plan.text.last,
    )


def _left(plan: Plan) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(why)) for name, why in plan.left)


class Due:
    """A way that takes a score that somebody else computes."""

    def __init__(self, make: Callable[[Score | None, float], Way], classifier: Remote, text: Text) -> None:
        self._make = make
        self._classifier = classifier
        self._text = text

    async def way(self) -> Way:
        """As long as the classifier may take, and then without its score.

        Raises: Refused, if no tier may or can serve the request.
        """
        return self._make(await self._classifier.score(self._text), monotonic())


class Tiers:
    """Of one configuration: what requests may ask for, and the ways that they get. `header` names the tier or model wanted,
    `remote` are the classifiers that have to be awaited.
    """

    def __init__(
        self,
        planner: Planner,
        decider: Decider,
        header: str,
        prices: Prices,
        series: TierSeries,
        remote: Mapping[str, Remote] | None = None,
    ) -> None:
        self._planner = planner
        self._decider = decider
        self._header = header
        self._prices = prices
        self._series = series
        self._remote = remote or {}
        self._contexts: dict[str, int | None] = {}
        self._read_at_s = float("-inf")

    def ask(self, fields: Json, headers: Mapping[str, str]) -> Ask | None:
        """None: the request names a model that is served, and leaves no choice.

        Raises: Refused (400), naming what cannot be asked for.
        """
        return read_ask(fields, headers.get(self._header), self._planner.catalog, self._header)

    def guard(self, view: RequestView) -> None:
        """Raises: Refused, if the tenant may not ask for this model, or no more."""
        self._planner.guard(view.model, tenant=view.tenant, wall_s=time())

    def way(
        self,
        asked: Asked,
        view: RequestView,
        outgoing: Outgoing,
        *,
        decision_id: str,
        pinned: ReplicaId | None,
        now: float,
    ) -> Way | Due:
        """Raises: Refused, if no tier may or can serve it."""
        make = partial(self._way, asked, view, outgoing, decision_id, pinned)
        try:
            return make(None, now)
        except Awaits as awaits:
            text = read_text(view.route, asked.fields)
            return Due(make, self._remote[awaits.classifier], text)

    def _way(
        self,
        asked: Asked,
        view: RequestView,
        outgoing: Outgoing,
        decision_id: str,
        pinned: ReplicaId | None,
        score: Score | None,
        now: float,
    ) -> Way:
        plan = self.plan(asked, view, decision_id=decision_id, pinned=pinned, now=now, given=score)
        return Way(plan, self._decider, view, outgoing, asked.form)

    def plan(
        self,
        asked: Asked,
        view: RequestView,
        *,
        decision_id: str,
        pinned: ReplicaId | None,
        now: float,
        given: Score | None = None,
    ) -> Plan:
        """What its way is made from; `given` is the score of a classifier that had to be awaited.

        Raises: Refused, if no tier may serve it; Awaits, if it takes a score that is not given.
        """
        assert asked.ask is not None
        conversation = (view.session or "").encode("utf-8", "surrogatepass") or view.conversation
        plan = self._planner.plan(
            asked.ask,
            read_text(view.route, asked.fields),
            tenant=view.tenant,
            prompt_tokens=view.prompt_tokens,
            contexts=self._contexts_at(now),
            conversation=conversation,
            wall_s=time(),
            draw=draw(conversation or decision_id.encode(), "explore"),
            given=given,
        )
        if pinned is not None:
            self._keep_to(plan, pinned)
        return plan

    def _contexts_at(self, now: float) -> Mapping[str, int | None]:
        """The longest context of each tier's replicas, as of the last second."""
        if now - self._read_at_s > CONTEXTS_S:
            self._read_at_s = now
            fleet = self._decider.fleet
            for tier in self._planner.catalog.tiers.values():
                lengths = [replica.context_tokens for replica in fleet if has(tier, replica)]
                self._contexts[tier.name] = max((each for each in lengths if each is not None), default=None)
        return self._contexts

    def _keep_to(self, plan: Plan, pinned: ReplicaId) -> None:
        """Only one replica has what the request goes on from: that one's tier, if it may be asked."""
        replica = self._decider.fleet.get(pinned)
        own = [tier for tier in plan.options if replica is not None and has(tier, replica)]
        if own:
            plan.options, plan.forced = (own[0],), "sticky"

    def ended(self, record: Record, request: RequestView, way: Way | None) -> None:
        """The request has ended: what it cost, and what became of its way."""
        tiered, catalog = record.tiered, self._planner.catalog
        if way is not None and tiered is not None:
            tiered.left = way.left
            known = tiered.tier if tiered.tier in catalog.tiers else ""
            self._series.ended(tiered.asked if tiered.asked in catalog.virtuals else "", known, tiered.reason)
            for name, trouble in tiered.left:
                self._series.left(name if name in catalog.tiers else "", trouble)
        tier = self._asked(record)
        usage = record.usage or _estimated(record, request)
        if tier is None or usage is None:
            return
        self._prices.did(tier, usage)
        usd = self._prices.usd(tier, usage)
        if usd is None:
            return
        record.usd, record.usd_tier = usd, tier.name
        if tiered is not None:
            options = ((catalog.tier(name), name) for name, _ in tiered.options)
            tiered.options = tuple((name, self._prices.usd(each, usage)) for each, name in options)
        self._planner.budget.spend(request.tenant, usd, time())

    def _asked(self, record: Record) -> Tier | None:
        """Whose answer it is, if a tier's."""
        catalog = self._planner.catalog
        if record.tiered is not None:
            return catalog.tiers.get(record.tiered.tier)
        pools = () if record.model is None else catalog.pools(record.model)
        return next((t for t in pools if t.replicas is None or record.replica in t.replicas), None)


def has(tier: Tier, replica: ReplicaState) -> bool:
    """Whether the replica is one of the tier's."""
    if tier.replicas is not None:
        return replica.id in tier.replicas
    return not replica.external and replica.serves(tier.model) is True


def _estimated(record: Record, request: RequestView) -> Usage | None:
    """Of an answer that told no usage, as streams of providers don't unless they are asked; None: nothing was generated."""
    if record.token_at is None:
        return None
    return Usage(request.prompt_tokens, record.output_events + 1)


def _as_refusal(answer: Exchange) -> Refused:
    """What another said, in our words where it said nothing that can be read."""
    message, kind, code = error_of(answer.held_body)
    return Refused(
        answer.said or 502,
        message or "Nobody could answer this request.",
        blame=Blame.REPLICA,
        type=kind or "ServiceUnavailableError",
        code=code,
        retry_after_s=None if answer.retry_after_s is None else int(answer.retry_after_s),
    )
