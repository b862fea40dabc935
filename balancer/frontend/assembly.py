"""The handler as the settings have it: what is immutable of it is made anew with each change."""

from collections.abc import Callable

from balancer.accounting.metrics import Metrics
from balancer.accounting.outcomes import OutcomeLog
from balancer.config import Settings, replica_authorization
from balancer.core.decider import Decider
from balancer.core.fleet.pins import ResponsePins
from balancer.frontend.auth import ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.handler import Handler
from balancer.frontend.own import OwnPages
from balancer.frontend.realtime import Realtime
from balancer.lifecycle import Lifecycle
from balancer.tiered import Tiers
from balancer.vllm_api.routes import inference_routes


def make_handler(
    settings: Settings,
    keys: ApiKeys,
    tiers: Tiers | None,
    *,
    lifecycle: Lifecycle,
    decider: Decider,
    pins: ResponsePins,
    own: OwnPages,
    metrics: Metrics,
    outcomes: OutcomeLog | None,
    is_draining: Callable[[], bool],
) -> Handler:
    realtime = Realtime(
        decider,
        replica_authorization=replica_authorization(settings),
        connect_timeout_s=settings.connect_timeout_s,
    )
    return Handler(
        lifecycle,
        decider,
        metrics,
        pins,
        own,
        realtime,
        inference_routes(scale_out=settings.scale_out_routes),
        keys,
        Claims(settings.timeout_headers, settings.tenant_header),
        outcomes,
        session_headers=settings.session_headers,
        request_id_headers=settings.request_id_headers if settings.access_log else None,
        max_body_bytes=settings.max_body_bytes,
        is_draining=is_draining,
        tiers=tiers,
        names_decisions=settings.decision_headers or tiers is not None or settings.receipts > 0,
        heal=settings.heal_json,
    )
