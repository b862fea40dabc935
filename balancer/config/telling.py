"""Settings of what is told of requests and decisions: log, receipts, journal, traces."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from balancer.config.group import AT_START, Group
from balancer.config.kinds import Bytes, File, Share, lower, number
from balancer.config.urls import CollectorUrl


class Logging(Group):
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(lower)] = (
        "info"
    )
    """Least severe level that is logged."""

    log_format: Literal["console", "json"] = "console"
    """Lines for people, or one JSON object a line."""

    access_log: bool = False
    """Log one line for every request, but for those that got one of the balancer's own pages."""

    otlp_traces_endpoint: Annotated[CollectorUrl | None, AT_START] = None
    """Send traces to this collector, by OTLP over HTTP: `http://host:4318`, or the whole URL of another path. What OpenTelemetry
    reads from OTEL_* variables holds: headers, certificates, limits, resource. Needs the extra `otel`. Default: no traces, and
    trace headers of clients pass untouched."""

    trace_sample: Annotated[Share | None, AT_START] = None
    """Share of the requests that are traced, of those that come without a `traceparent`; with one, what it says holds. Default:
    as OTEL_TRACES_SAMPLER says, else all."""

    receipts: Annotated[int, "whole number", BeforeValidator(number), Field(ge=0), AT_START] = 1000
    """How many of the latest requests the admin API can explain: who could have had them, at what cost, and what came of it."""

    journal: Annotated[File | None, AT_START] = None
    """Write down all that decisions are made from in this file, so that `balancer replay` can make them again. Of a prompt it
    holds hashes of its blocks and their number, never text."""

    journal_max_bytes: Annotated[Bytes, AT_START] = 256 * 1024 * 1024
    """A journal file that is so large is renamed to FILE.1, that one to FILE.2, and so on, and a new one begun."""

    journal_keep: Annotated[int, "whole number", BeforeValidator(number), Field(ge=0), AT_START] = 4
    """So many journal files are kept, beside the one that is written."""
