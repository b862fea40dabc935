"""The result document of a run: made, and held against another. Files are `benchmarks.report`'s. Pure.

It is plain JSON with the field names of `vllm bench serve` at its top, so that tools for those files read
it; where it has several stages, the figures of each stand under `stages`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from benchmarks.load.record import Record
from benchmarks.reporting.counters import NO_PREDICTION, engine_hit_rate
from benchmarks.reporting.figures import Window, by_group, due_in, figures
from benchmarks.reporting.service import ServiceLevel
from benchmarks.reporting.timeline import timeline
from benchmarks.workloads.script import Script

RUN = "run"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """A played script. `stages` has the measured window of each; `invalid` says why the run shall not be believed.

    `engines` and `prediction` are what `counters` found; `balancer_cpu_s` is the CPU that the balancer took.
    """

    records: Sequence[Record]
    started_at: datetime
    stages: Mapping[str, Window]
    late_s: Sequence[float] = ()
    invalid: str | None = None
    interrupted: bool = False
    engines: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    prediction: Mapping[str, Any] | None = None
    balancer_cpu_s: float | None = None


def run_result(
    observed: Observed,
    script: Script,
    *,
    facts: Mapping[str, Any],
    url: str,
    model: str,
    level: ServiceLevel | None = None,
) -> Document:
    """`facts`: the fingerprint of what it was measured on."""
    return {
        "benchmark": RUN,
        "fingerprint": dict(facts),
        "plan": plan(script, level),
        "date": observed.started_at.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "openai",
        "backend": "openai",
        "label": script.name,
        "base_url": url,
        "model_id": model,
        "tokenizer_id": None,  # no tokenizer is loaded here: the target is asked
        "request_rate": script.facts.get("rate"),
        "burstiness": script.facts.get("burstiness", 1.0),
        "max_concurrency": None,  # an open loop has no bound
        **measured(observed, level),
    }


def plan(script: Script, level: ServiceLevel | None) -> dict[str, Any]:
    return {
        "workload": script.name,
        "digest": script.digest(),
        "goodput": level.facts() if level else None,
        **script.facts,
    }


def measured(observed: Observed, level: ServiceLevel | None = None) -> dict[str, Any]:
    """All figures of a played script: of its windows together, of each stage, by group and by second."""
    windows = list(observed.stages.values())
    kept = [record for window in windows for record in due_in(observed.records, window)]
    whole = figures(observed.records, windows, level)
    return {
        **whole,
        "engine_hit_rate": engine_hit_rate(observed.engines) if observed.engines else None,
        **(observed.prediction or NO_PREDICTION),
        "balancer_cpu_s": observed.balancer_cpu_s,
        "valid": observed.invalid is None and not observed.interrupted,
        "invalid": "interrupted" if observed.interrupted else observed.invalid,
        **_late(observed.late_s),
        "windows": {name: list(window) for name, window in observed.stages.items()},
        "stages": {
            name: figures(observed.records, [window], level) for name, window in observed.stages.items()
        }
        if len(observed.stages) > 1
        else {},
        "by_replica": by_group(kept, lambda record: record.replica, level),
        "by_label": by_group(kept, lambda record: record.label or None, level),
        "by_route": by_group(kept, lambda record: record.path, level),
        "engines": {name: dict(engine) for name, engine in observed.engines.items()},
        "timeline": timeline(observed.records),
    }


def refuse_to_compare(one: Document, other: Document) -> None:
    """ValueError, with what differs, unless both runs played the same script under the same service level."""
    mine, theirs = one["plan"], other["plan"]
    if mine["digest"] == theirs["digest"] and mine["goodput"] == theirs["goodput"]:
        return
    differing = [
        f"{name} {mine.get(name)} and {theirs.get(name)}"
        for name in dict.fromkeys([*mine, *theirs])
        if mine.get(name) != theirs.get(name)
    ]
    raise ValueError(f"the runs are not comparable, they differ in: {'; '.join(differing)}")


def _late(late_s: Sequence[float]) -> dict[str, float | None]:
    """How late the generator itself was."""
    ms = 1000 * np.array(late_s)
    return {
        "p50_late_ms": float(np.percentile(ms, 50)) if ms.size else None,
        "p99_late_ms": float(np.percentile(ms, 99)) if ms.size else None,
        "max_late_ms": float(ms.max()) if ms.size else None,
    }
