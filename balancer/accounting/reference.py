"""The reference of the metrics, made from their families: a page, and the table of the README."""

from collections.abc import Iterator

from balancer.accounting.exposition import Family, Kind
from balancer.accounting.metrics import Metrics
from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.scheduling import RoundRobin

_HEAD = """# Metrics

Written by `scripts/generate-metrics-reference` from the families in `balancer/accounting/`; do not edit by hand.

What `/metrics` tells, in the order of its page, in Prometheus's text format or in OpenMetrics, as the scraper asks. Beside it
stand `process_*` (memory, CPU, open files) and `python_*` of prometheus_client. Times are seconds, sizes tokens, money USD.

Labels are bounded whatever clients send. `model_name` is a model that some replica serves, else `other`, or empty where a request
names none; `tenant` is the name of a configured API key, else `other`, or empty where no key is asked for; `tier` is empty for
what asked for a model by its own name. `route` is `other` for what no replica answered and names no model that is served.
Histograms have vLLM's bucket edges (vllm/v1/metrics/loggers.py, the same from 0.8.5 to 0.33), but for phases, which begin at
10 µs, and tokens.

| metric | type | labels | what |
|---|---|---|---|
"""


def families() -> list[Family]:
    """All of a balancer's."""
    fleet = Fleet()
    return [family for family, _ in Metrics(fleet, "", Line(fleet, RoundRobin())).families()]


def page() -> str:
    rows = [
        f"| `{_name(family)}` | {family.kind} | {_labels(family)} | {family.help} |\n"
        for family in families()
    ]
    return _HEAD + "".join(rows)


def table() -> str:
    """The README's: families of a kind are told apart by name and labels."""
    rows = [f"| `{_name(family)}` | {_labels(family)} | {family.help} |" for family in families()]
    return "\n".join(["| metric | by | what |", "|---|---|---|", *rows])


def sample_names() -> Iterator[str]:
    """Every name that a query can ask for."""
    for family in families():
        if family.kind is Kind.HISTOGRAM:
            yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
        else:
            yield family.sample_name


def _name(family: Family) -> str:
    return family.sample_name


def _labels(family: Family) -> str:
    return ", ".join(f"`{label}`" for label in family.labels)
