"""What a run comes to. Pure.

A request without its answer counts with the time that it has waited so far, so that no policy looks better by leaving
requests unanswered; one that was lost counts as `lost` and in no latency.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.simulator.request import Request
from benchmarks.simulator.simulation import Run
from benchmarks.stats import percentile


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the requests that arrived in a window. None: there was nothing to measure.

    `hit_rate` is cached over prompt tokens, as the engines counted them; `output_tokens_per_s` is of the answers
    completed in the window; `imbalance` is the busiest replica's share of the requests over an even one.
    """

    requests: int
    ttft_mean_s: float | None
    ttft_p50_s: float | None
    ttft_p90_s: float | None
    ttft_p99_s: float | None
    e2e_p90_s: float | None
    hit_rate: float | None
    output_tokens_per_s: float
    imbalance: float | None
    unfinished: int
    lost: int


def figures(run: Run, start_s: float, end_s: float, replicas: int) -> Figures:
    arrived = [request for request in run.requests if start_s <= request.arrived_s < end_s]
    kept = [request for request in arrived if not request.lost]
    ttft = [_since(request.first_token_s, request, run.end_s) for request in kept]
    e2e = [_since(request.finished_s, request, run.end_s) for request in kept]
    admitted = [request for request in kept if request.cached_tokens is not None]
    prompt_tokens = sum(request.view.prompt_tokens for request in admitted)
    output_tokens = sum(
        request.engine.output_tokens
        for request in run.requests
        if request.finished_s is not None and start_s <= request.finished_s < end_s
    )
    return Figures(
        requests=len(arrived),
        ttft_mean_s=sum(ttft) / len(ttft) if ttft else None,
        ttft_p50_s=percentile(ttft, 50),
        ttft_p90_s=percentile(ttft, 90),
        ttft_p99_s=percentile(ttft, 99),
        e2e_p90_s=percentile(e2e, 90),
        hit_rate=sum(r.cached_tokens or 0 for r in admitted) / prompt_tokens if prompt_tokens else None,
        output_tokens_per_s=output_tokens / (end_s - start_s),
        imbalance=_imbalance(kept, replicas),
        unfinished=sum(request.finished_s is None for request in kept),
        lost=len(arrived) - len(kept),
    )


def _since(moment_s: float | None, request: Request, end_s: float) -> float:
    return (end_s if moment_s is None else moment_s) - request.arrived_s


def _imbalance(requests: Sequence[Request], replicas: int) -> float | None:
    sent = Counter(request.decision.replica for request in requests if request.decision is not None)
    return max(sent.values()) * replicas / sent.total() if sent else None
