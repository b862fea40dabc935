"""Metrics of the outcome log: what it holds, what it lost, and what clients said."""

from collections.abc import Iterator

from balancer.accounting.exposition import Samples, counter, gauge
from balancer.accounting.outcomes import OutcomeLog

_ROWS = gauge("balancer_outcome_log_rows", "Requests that the outcome log holds.")
_ENTRIES = counter(
    "balancer_outcomes",
    "Requests for the outcome log: written, dropped (more at once than it takes), failed (the file was not writable).",
    "result",
)
_FEEDBACK = counter(
    "balancer_feedback",
    "Feedback by kind (rating, winner) and what became of it: kept, replaced (what was said before), unknown (no such decision), "
    "failed (not written).",
    "kind",
    "result",
)
_RESULTS = ("written", "dropped", "failed")


def collect(outcomes: OutcomeLog | None) -> Iterator[Samples]:
    """No samples, where there is no such log."""
    log = () if outcomes is None else (outcomes,)
    yield _ROWS, [((), each.rows) for each in log]
    yield _ENTRIES, [((result,), getattr(each, result)) for each in log for result in _RESULTS]
    yield _FEEDBACK, [item for each in log for item in each.feedback.items()]
