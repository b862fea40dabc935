"""`POST /v1/feedback`: what a client says of an answer that it was given."""

from collections import OrderedDict
from time import monotonic

from aiohttp import web

from balancer.accounting.outcomes import OutcomeLog
from balancer.core.errors import (
    body_too_large,
    method_not_allowed,
    no_feedback_here,
    too_much_feedback,
    unknown_decision,
)
from balancer.core.tiering.feedback import read_feedback
from balancer.frontend.auth import ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.responses import json_response

FEEDBACK_PATH = "/v1/feedback"
DECISION_HEADER = "x-balancer-decision-id"
MAX_BODY_BYTES = 16 * 1024

PER_SECOND = 200.0
BURST = 1000.0
MAX_TENANTS = 1000


class FeedbackRoute:
    """Each tenant may give `PER_SECOND` in the long run, each of which is a transaction of the log."""

    def __init__(self, outcomes: OutcomeLog | None, keys: ApiKeys, claims: Claims) -> None:
        self._outcomes = outcomes
        self._keys = keys
        self._claims = claims
        self._allowed: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, request: web.BaseRequest) -> None:
        """Before the body is read.

        Raises: Refused.
        """
        if request.method != "POST":
            raise method_not_allowed(request.method, "POST")
        if self._outcomes is None:
            raise no_feedback_here()
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise body_too_large(MAX_BODY_BYTES, "")

    async def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Raises: Refused."""
        assert self._outcomes is not None
        if len(body) > MAX_BODY_BYTES:
            raise body_too_large(MAX_BODY_BYTES, "")
        headers = request.headers
        tenant = self._claims.tenant(headers, self._keys.check(request.raw_headers))
        self.spend(tenant, monotonic())
        feedback = read_feedback(body, headers.get(DECISION_HEADER))
        told = await self._outcomes.rate(feedback, tenant)
        if told is None:
            raise unknown_decision(feedback.decision_id)
        return json_response(
            {
                "object": "feedback",
                "decision_id": feedback.decision_id,
                "rating": feedback.rating,
                "winner": feedback.winner,
                "replaced": told.replaced,
                "comment_kept": bool(feedback.comment) and self._outcomes.keeps.prompts,
            }
        )

    def spend(self, tenant: str, now: float) -> None:
        """Raises: Refused (429)."""
        left, at = self._allowed.pop(tenant, (BURST, now))
        left = min(BURST, left + (now - at) * PER_SECOND)
        self._allowed[tenant] = (max(0.0, left - 1.0), now)
        if len(self._allowed) > MAX_TENANTS:
            self._allowed.popitem(last=False)
        if left < 1.0:
            raise too_much_feedback()
