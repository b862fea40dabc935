"""The way of one request through the tiers, where its model is ours to choose: which is asked, and which when that one fails.

    plan (core) -> enter a tier -> attempts there -> an answer
                        ^               |
                        +--- leave -----+    nothing was given to the client yet, and somebody else stands in for this trouble

Each tier is asked once. Who stands in for whom the core says (core/joint.py): the chain that the user wrote, for the troubles that
are written there, then what else may serve the request. What was left, and why, is told in a head, or in the last error.
"""

from dataclasses import replace

from balancer.accounting.record import Record, Tiered
from balancer.core.decider import Decider
from balancer.core.errors import Blame, Refused
from balancer.core.tiering.rewrite import rewritten
from balancer.core.tiering.types import Choice, Plan, Trouble
from balancer.core.types import Decision, RequestView
from balancer.forwarding.client import Outgoing
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange
from balancer.tries import Failed
from balancer.vllm_api.answers import error_of

_SLOW = frozenset({Ended.SLOW_FIRST_BYTE, Ended.SLOW_FIRST_TOKEN, Ended.SLOW_IDLE, Ended.LOST})
_LIMITED = frozenset({402, 429})


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

    def enter(self, record: Record, now: float) -> tuple[RequestView, Outgoing, Decision]:
        """What is asked of the tier that is next, and where.

        Raises: Refused, if none of those that might be asked can be.
        """
        choice = self._next or self._decider.choose(self.plan, self._view, frozenset(), now)
        self._next = None
        if self._propensity is None:
            self._propensity = choice.propensity
        record.model = choice.tier.model
        record.tiered = self._told(choice, self._propensity)
        outgoing = replace(self._asked, body=rewritten(self._asked.body, choice.tier.model, self._form))
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
        tried = ", ".join(f"{name} ({why})" for name, why in self.plan.left)
        return Failed(refused.saying(f"{refused.message} Tried: {tried}."))

    def _told(self, choice: Choice, propensity: float) -> Tiered:
        plan, score = self.plan, self.plan.score
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
            tuple((name, str(why)) for name, why in plan.left),
        )


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
