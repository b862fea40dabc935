"""Refusals and faults: each says who is at fault and which HTTP status follows, so no caller has to guess."""

from enum import StrEnum


class Blame(StrEnum):
    CLIENT = "client"
    BALANCER = "balancer"
    REPLICA = "replica"


class Refused(Exception):
    """A request that ends without an answer from a replica.

    `type`, `code` and `param` are the fields of the OpenAI error object; `message` is for the client and
    names no inner address.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        blame: Blame,
        type: str,  # noqa: A002 - the wire's name
        code: str | int | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.blame = blame
        self.type = type
        self.code = code if code is not None else status
        self.param = param
        self.retry_after_s = retry_after_s

    def saying(self, message: str) -> "Refused":
        """The same, in other words."""
        return Refused(
            self.status,
            message,
            blame=self.blame,
            type=self.type,
            code=self.code,
            param=self.param,
            retry_after_s=self.retry_after_s,
        )


def unknown_model(model: str, served: list[str]) -> Refused:
    listed = ", ".join(served[:20]) + (", ..." if len(served) > 20 else "")
    return Refused(
        404,
        f"The model `{model[:200]}` does not exist. Served here: {listed or 'none yet'}.",
        blame=Blame.CLIENT,
        type="NotFoundError",
        param="model",
    )


def unknown_response(response_id: str) -> Refused:
    return Refused(
        404,
        f"Response with id '{response_id[:200]}' not found.",
        blame=Blame.CLIENT,
        type="NotFoundError",
        param="response_id",
    )


def upgrade_required() -> Refused:
    return Refused(
        426,
        "This route is a WebSocket: expected an Upgrade request.",
        blame=Blame.CLIENT,
        type="BadRequestError",
    )


def socket_refused(status: int) -> Refused:
    return Refused(status, "The replica refused the WebSocket.", blame=Blame.CLIENT, type="BadRequestError")


def no_replica(retry_after_s: int = 1) -> Refused:
    return Refused(
        503,
        "No replica can serve this request now.",
        blame=Blame.REPLICA,
        type="ServiceUnavailableError",
        retry_after_s=retry_after_s,
    )


def overloaded(status: int, message: str, retry_after_s: int) -> Refused:
    """As many requests wait as may, or one waited as long as it may."""
    return Refused(
        status,
        message,
        blame=Blame.BALANCER,
        type="RateLimitError" if status == 429 else "ServiceUnavailableError",
        retry_after_s=retry_after_s,
    )


def limited(retry_after_s: int) -> Refused:
    """A provider lets us ask no more now."""
    return Refused(
        429,
        "The provider of this model takes no more requests now.",
        blame=Blame.REPLICA,
        type="RateLimitError",
        code="rate_limit_exceeded",  # OpenAI's word for it
        retry_after_s=retry_after_s,
    )


def provider_refused_us() -> Refused:
    return Refused(
        502,
        "The provider of this model refused the balancer's credentials.",
        blame=Blame.BALANCER,
        type="BadGatewayError",
    )


def deadline_passed() -> Refused:
    return Refused(
        504,
        "No replica had room for this request before its deadline.",
        blame=Blame.BALANCER,
        type="GatewayTimeoutError",
    )


def replicas_failed(retry_after_s: int = 1) -> Refused:
    return Refused(
        502,
        "Every replica that was tried failed before it answered.",
        blame=Blame.REPLICA,
        type="BadGatewayError",
        retry_after_s=retry_after_s,
    )


def shutting_down() -> Refused:
    return Refused(
        503,
        "The balancer is shutting down.",
        blame=Blame.BALANCER,
        type="ServiceUnavailableError",
        retry_after_s=1,
    )


def too_slow(phase: str, limit_s: float) -> Refused:
    return Refused(
        504,
        f"The replica did not {phase} within {limit_s:g} s.",
        blame=Blame.REPLICA,
        type="GatewayTimeoutError",
    )


def not_found(path: str) -> Refused:
    return Refused(404, f"Unknown route: {path[:200]}", blame=Blame.CLIENT, type="NotFoundError")


def method_not_allowed(method: str, allowed: str) -> Refused:
    return Refused(
        405,
        f"Method {method[:20]} is not allowed here; expected {allowed}.",
        blame=Blame.CLIENT,
        type="MethodNotAllowedError",
    )


def unauthorized() -> Refused:
    return Refused(
        401,
        "Incorrect or missing API key: expected `Authorization: Bearer KEY`.",
        blame=Blame.CLIENT,
        type="AuthenticationError",
        code="invalid_api_key",
    )


def body_too_large(limit_bytes: int, why: str = " (max_body_bytes)") -> Refused:
    return Refused(
        413,
        f"The request body is larger than {limit_bytes} bytes{why}.",
        blame=Blame.CLIENT,
        type="RequestEntityTooLargeError",
    )


def internal_error() -> Refused:
    return Refused(500, "The balancer failed.", blame=Blame.BALANCER, type="InternalServerError")


def unknown_replica(name: str) -> Refused:
    return Refused(
        404,
        f"There is no replica `{name[:200]}`.",
        blame=Blame.CLIENT,
        type="NotFoundError",
        param="name",
    )


def bad_configuration(message: str) -> Refused:
    return Refused(422, message, blame=Blame.CLIENT, type="UnprocessableEntityError", param="config")


def bad_request(message: str) -> Refused:
    return Refused(400, message, blame=Blame.CLIENT, type="BadRequestError")


def bad_field(param: str, expected: str) -> Refused:
    return Refused(
        400, f"{param}: expected {expected}.", blame=Blame.CLIENT, type="BadRequestError", param=param
    )


def cannot_serve(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """No tier that may serve the request can."""
    return Refused(400, message, blame=Blame.CLIENT, type="BadRequestError", param=param, code=code)


def forbidden(message: str, param: str | None = None) -> Refused:
    return Refused(403, message, blame=Blame.CLIENT, type="PermissionDeniedError", param=param)


def budget_spent(message: str, retry_after_s: int) -> Refused:
    return Refused(
        429,
        message,
        blame=Blame.CLIENT,
        type="RateLimitError",
        code="insufficient_quota",  # OpenAI's word for it
        retry_after_s=retry_after_s,
    )


def head_too_large(limit_bytes: int) -> Refused:
    return Refused(
        431,
        f"The request head is larger than {limit_bytes} bytes (max_header_bytes).",
        blame=Blame.CLIENT,
        type="RequestHeaderFieldsTooLargeError",
    )


def unknown_decision(decision_id: str) -> Refused:
    return Refused(
        404,
        f"There is no decision `{decision_id[:100]}` of yours: it was never made, concerned no tiers, or is forgotten.",
        blame=Blame.CLIENT,
        type="NotFoundError",
        param="decision_id",
    )


def forgotten_decision(decision_id: str) -> Refused:
    return Refused(
        404,
        f"There is no decision `{decision_id[:100]}`: it was never made, or later ones took its place (`receipts`).",
        blame=Blame.CLIENT,
        type="NotFoundError",
        param="id",
    )


def no_feedback_here() -> Refused:
    return Refused(
        501,
        "Feedback is not kept here: the balancer runs without an outcome log (outcome_log).",
        blame=Blame.BALANCER,
        type="NotImplementedError",
    )


def too_much_feedback() -> Refused:
    return Refused(
        429,
        "Too much feedback at once.",
        blame=Blame.CLIENT,
        type="RateLimitError",
        retry_after_s=1,
    )


def feedback_not_written() -> Refused:
    return Refused(
        503,
        "The feedback could not be written.",
        blame=Blame.BALANCER,
        type="ServiceUnavailableError",
        retry_after_s=5,
    )
