"""Families of samples, written in Prometheus's two text formats.

prometheus_client takes 6 to 9 µs a sample: 64 replicas with four models have some 30,000, and the event loop would stand still
for 200 ms at each scrape. This takes less than a tenth of it, in pieces, so that whoever serves the page can let others run
between two of them. What others collect (the process's memory, files and CPU) is still encoded by prometheus_client.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats and
https://prometheus.io/docs/specs/om/open_metrics_spec.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from prometheus_client.exposition import choose_encoder

from balancer.accounting.histogram import Histogram

Value = float | Histogram
Samples = tuple["Family", Iterable[tuple[Sequence[str], Value]]]
"""A family with its samples: label values, in the order of the family's labels, and what was counted."""


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


_SUFFIX = {Kind.COUNTER: "_total", Kind.INFO: "_info"}


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is without the suffix that counters and infos have on the page; `help` is one or more sentences."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def sample_name(self) -> str:
        return self.name + _SUFFIX.get(self.kind, "")

    def pieces(self, samples: Iterable[tuple[Sequence[str], Value]], *, openmetrics: bool) -> Iterator[str]:
        """The family's part of the page, a few lines at a time."""
        name = self.name if openmetrics else self.sample_name
        kind = Kind.GAUGE if self.kind is Kind.INFO and not openmetrics else self.kind
        told = self.help.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {name} {told}\n# TYPE {name} {kind}\n"
        order = sorted(
            (label, place) for place, label in enumerate(self.labels)
        )  # as prometheus_client has it
        for values, value in samples:
            labels = ",".join([f'{label}="{_escaped(values[place])}"' for label, place in order])
            if isinstance(value, Histogram):
                yield _histogram(self.name, labels, value)
            else:
                braced = f"{{{labels}}}" if labels else ""
                yield f"{self.sample_name}{braced} {float(value)!r}\n"


def accepted(accept: str) -> tuple[bool, str]:
    """Whether the scraper takes OpenMetrics, and the content type of what it gets."""
    _, content_type = choose_encoder(accept)
    return content_type.startswith("application/openmetrics-text"), content_type


def written(families: Iterable[Samples], accept: str) -> tuple[bytes, str]:
    """A page of these alone, in one go, and its content type."""
    openmetrics, content_type = accepted(accept)
    pieces = [
        piece for family, samples in families for piece in family.pieces(samples, openmetrics=openmetrics)
    ]
    return "".join((*pieces, "# EOF\n" * openmetrics)).encode(), content_type


def counter(name: str, told: str, *labels: str) -> Family:
    return Family(name, Kind.COUNTER, told, labels)


def gauge(name: str, told: str, *labels: str) -> Family:
    return Family(name, Kind.GAUGE, told, labels)


def histogram(name: str, told: str, *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, told, labels)


def info(name: str, told: str, *labels: str) -> Family:
    return Family(name, Kind.INFO, told, labels)


def _histogram(name: str, labels: str, value: Histogram) -> str:
    head = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
    counts = value.cumulative()
    buckets = [f"{head}{edge}{count}" for edge, count in zip(_edges(value.edges), counts, strict=True)]
    braced = f"{{{labels}}}" if labels else ""
    tail = f".0\n{name}_count{braced} {counts[-1]}.0\n{name}_sum{braced} {float(value.sum)!r}\n"
    return ".0\n".join(buckets) + tail


@cache
def _edges(edges: tuple[float, ...]) -> list[str]:
    """The end of each bucket's labels."""
    return [f'{edge}"}} ' for edge in (*edges, "+Inf")]


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
