"""Whether there are traces: what the settings and OpenTelemetry's variables say, before its modules are imported."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from balancer.config import Settings
from balancer.config.extras import can_trace

if TYPE_CHECKING:
    from balancer.accounting.tracing import Tracing  # which needs an extra

log = logging.getLogger("balancer.tracing")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


def tracing_of(settings: Settings, environ: Mapping[str, str]) -> "Tracing | None":
    """None: nothing is traced, and nothing of OpenTelemetry was imported."""
    endpoint = settings.otlp_traces_endpoint
    if endpoint is None:
        named = next((name for name in _ENDPOINTS if environ.get(name)), None)
        if named is None or environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
            return None
        protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _SPOKEN)
        if protocol != _SPOKEN or not can_trace():
            lacking = (
                f"it asks for {protocol}" if protocol != _SPOKEN else "the extra `otel` is not installed"
            )
            log.warning("%s is set, but nothing is traced: %s", named, lacking)
            return None
    from balancer.accounting.tracing import start_tracing  # noqa: PLC0415 - needs an extra, and costs 0.3 s

    return start_tracing(endpoint, settings.trace_sample)
