"""How long a silent replica is believed to be busy. Never a flat limit on an answer: long prompts and long queues are no fault.

    port closed       GONE_S
    unhealthy         at least DOUBTFUL_S, DOUBTFUL times the TTFT that was predicted
    healthy           at least TRUSTED_S, TRUSTED times the TTFT that was predicted, UNSEEN_S where nothing but the end of the
                      answer would show that it works (it doesn't stream, and the engine's counters can't be read)

Silence is the whole replica's: a byte on any of its connections, or an engine counter that moves, is a sign of life of it
all, but for a port that is closed.
"""

from balancer.core.fleet.replica import SAMPLE_MAX_AGE_S, ReplicaState
from balancer.core.types import Health

GONE_S = 3.0
DOUBTFUL_S = 5.0
DOUBTFUL = 2.0
TRUSTED_S = 60.0
TRUSTED = 10.0
UNSEEN_S = 600.0


def patience_s(replica: ReplicaState, predicted_s: float | None, now: float, *, streams: bool) -> float:
    """Seconds without a sign of life after which an attempt there is given up."""
    expected_s = predicted_s or 0.0
    if replica.health is Health.UNHEALTHY:
        return GONE_S if replica.gone else max(DOUBTFUL_S, DOUBTFUL * expected_s)
    sample = replica.sample
    seen = streams or (sample is not None and now - sample.taken_at <= SAMPLE_MAX_AGE_S)
    return max(TRUSTED_S if seen else UNSEEN_S, TRUSTED * expected_s)
