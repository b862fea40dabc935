"""Metrics of the outcome log: what it holds, what it lost, and what clients said."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from balancer.accounting.outcomes import OutcomeLog


def collect(outcomes: OutcomeLog | None) -> Iterator[Metric]:
    """No samples, where there is no such log."""
    rows = GaugeMetricFamily("balancer_outcome_log_rows", "Requests that the outcome log holds.")
    entries = CounterMetricFamily(
        "balancer_outcomes",
        "Requests for the outcome log: written, dropped (more at once than it takes), failed (the file was not writable).",
        labels=("result",),
    )
    feedback = CounterMetricFamily(
        "balancer_feedback",
        "Feedback by kind (rating, winner) and what became of it: kept, replaced (what was said before), unknown (no such "
        "decision), failed (not written).",
        labels=("kind", "result"),
    )
    if outcomes is not None:
        rows.add_metric((), outcomes.rows)
        for result in ("written", "dropped", "failed"):
            entries.add_metric((result,), getattr(outcomes, result))
        for key, count in outcomes.feedback.items():
            feedback.add_metric(key, count)
    yield from (rows, entries, feedback)
