"""Optional dependencies: whether they are here. Each is imported by the one module that uses it."""

import importlib.util
from functools import cache


@cache
def can_heal() -> bool:
    """Whether json-repair is installed (the extra `heal`)."""
    return importlib.util.find_spec("json_repair") is not None


@cache
def can_trace() -> bool:
    """Whether OpenTelemetry's SDK and its OTLP exporter are installed (the extra `otel`)."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
