"""The handler, and what explains it, as the settings have them: what is immutable is made anew with each change."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from balancer.accounting.metrics import Metrics
from balancer.accounting.outcomes import OutcomeLog
from balancer.config import Settings, replica_authorization
from balancer.core.decider import Decider
from balancer.core.fleet.pins import ResponsePins
from balancer.frontend.asking import Asking
from balancer.frontend.auth import ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.explaining import Explainer
from balancer.frontend.handler import Handler
from balancer.frontend.own import OwnPages
from balancer.frontend.realtime import Realtime
from balancer.lifecycle import Lifecycle
from balancer.tiered import Tiers
from balancer.vllm_api.routes import inference_routes

if TYPE_CHECKING:
    from balancer.accounting.tracing import Tracing  # which needs an extra


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
    tracing: "Tracing | None",
) -> tuple[Handler, Explainer]:
    realtime = Realtime(
        decider,
        replica_authorization=replica_authorization(settings),
        connect_timeout_s=settings.connect_timeout_s,
    )
    asking = Asking(decider, tiers, settings.session_headers, heal=settings.heal_json)
    claims = Claims(settings.timeout_headers, settings.tenant_header)
    routes = inference_routes(scale_out=settings.scale_out_routes)
    handler = Handler(
        lifecycle,
        decider,
        metrics,
        pins,
        own,
        realtime,
        routes,
        keys,
        claims,
        asking,
        outcomes,
        request_id_headers=settings.request_id_headers,
        max_body_bytes=settings.max_body_bytes,
        is_draining=is_draining,
        tiers=tiers,
        names_decisions=settings.decision_headers or tiers is not None or settings.receipts > 0,
        writes_access_log=settings.access_log,
        tracing=tracing,
    )
    return handler, Explainer(decider, tiers, asking, claims, routes, pins)
