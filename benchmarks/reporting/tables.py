"""A run's document as tables. Pure."""

from collections.abc import Mapping
from typing import Any

from benchmarks.report import Table, number
from benchmarks.reporting.figures import LATENCIES, PERCENTILES

_TITLES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2E"}
_GROUPS = {"by_replica": "replica", "by_label": "label", "by_route": "route", "stages": "stage"}


def tables(document: Mapping[str, Any]) -> list[Table]:
    made = [_latencies(document), _counts(document), _rates(document)]
    made += [
        _group(title, document[key])
        for key, title in _GROUPS.items()
        if len(document[key]) > 1 or (key == "by_label" and document[key])
    ]
    if document["errors"]:
        rows = [(error, number(count)) for error, count in document["errors"].items()]
        made.append(Table("Why requests were not answered", ("error", "requests"), rows))
    return made


def percent(value: float | None, digits: int = 1) -> str | None:
    return None if value is None else f"{100 * value:.{digits}f} %"


def _latencies(document: Mapping[str, Any]) -> Table:
    columns = ("", "mean", *(f"P{q}" for q in PERCENTILES), "deviation")
    keys = ("mean", *(f"p{q}" for q in PERCENTILES), "std")
    rows = [(_TITLES[name], *(number(document[f"{key}_{name}_ms"], 1) for key in keys)) for name in LATENCIES]
    return Table(f"{document['label']}: latency in ms, of answered requests", columns, rows)


def _counts(document: Mapping[str, Any]) -> Table:
    rows = [("requests", number(document["num_prompts"]))]
    rows += [(outcome, number(count)) for outcome, count in document["outcomes"].items()]
    rows.append(("valid", "yes" if document["valid"] else f"no: {document['invalid']}"))
    return Table("What became of the requests", ("", "count"), rows)


def _rates(document: Mapping[str, Any]) -> Table:
    rows = [
        ("requests/s, by the time all were answered", number(document["request_throughput"], 2)),
        ("goodput, requests/s", number(document["request_goodput"], 2)),
        ("goodput, share of all requests", percent(document["goodput_share"])),
        ("output tokens/s, by the time all were answered", number(document["output_throughput"], 1)),
        ("output tokens/s within the window", number(document["window_output_throughput"], 1)),
        ("most requests at once", number(document["max_concurrent_requests"])),
        ("hit rate by usage", percent(document["hit_rate"])),
        ("hit rate by the engines", percent(document["engine_hit_rate"])),
        ("hit rate predicted", percent(document["predicted_hit_rate"])),
        ("CPU of the balancer, s", number(document["balancer_cpu_s"], 2)),
        ("generator late, P99 ms", number(document["p99_late_ms"], 2)),
    ]
    return Table("Rates and caches", ("", "value"), [row for row in rows if row[1] is not None])


def _group(title: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = (title, "requests", "ok", "failed", "tok in", "tok out", "hits", "good")
    latencies = ("TTFT P50", "P90", "P99", "E2E P90")
    rows = [
        (
            name or "(none)",
            *(number(group[key]) for key in ("num_prompts", "completed", "failed")),
            *(number(group[key]) for key in ("total_input_tokens", "total_output_tokens")),
            percent(group["hit_rate"]),
            percent(group["goodput_share"]),
            *(number(group[key], 1) for key in ("p50_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "p90_e2el_ms")),
        )
        for name, group in groups.items()
    ]
    return Table(f"By {title} (latencies in ms)", (*columns, *latencies), rows)
