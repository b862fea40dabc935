"""Whether a run can be believed for its generator's sake. Pure."""

from collections.abc import Sequence

from benchmarks.stats import median, percentile

LATE_S = 0.010
LATE_SHARE = 0.05


def lagged(late_s: Sequence[float], ttft_s: Sequence[float]) -> str | None:
    """Why the run is invalid, or None: the P99 of lateness is over 10 ms and over 5 % of the median TTFT.

    A late request is charged its lateness, so the latencies are no lower than they were; but they are the generator's,
    and the rhythm was not the script's. P99 is as far out as results look: who is late more seldom moves none of them much.
    A twentieth of what is measured is within the noise between runs, and event loops are always late by some milliseconds.
    """
    late = percentile(late_s, 99)
    allowed_s = max(LATE_S, LATE_SHARE * (median(ttft_s) or 0.0))
    if late is None or late <= allowed_s:
        return None
    return f"the load generator was late: P99 {late * 1e3:.1f} ms, allowed {allowed_s * 1e3:.1f} ms"
