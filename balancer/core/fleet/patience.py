"""How long a silent replica is believed to be busy. Never a flat limit on an answer: long prompts and long queues are no fault.

    port closed, engine dead   GONE_S
    out, asleep                at least DOUBTFUL_S, DOUBTFUL times the TTFT that was predicted
    healthy, HTTP head due     HEADLESS_S: vLLM sends the head of a stream before it begins to compute (providers need not)
    healthy                    at least TRUSTED_S, TRUSTED times the TTFT that was predicted; UNSEEN_S where nothing but the end
                               of the answer would show that it works (no stream, and it never told its counters)

Silence is the whole replica's: a byte on any of its connections, or a token counter of its engine that moves, is a sign of
life for all that wait there. Only of one that is gone each attempt must show its own.
"""

from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health

GONE_S = 3.0
DOUBTFUL_S = 5.0
DOUBTFUL = 2.0
HEADLESS_S = 15.0
TRUSTED_S = 60.0
TRUSTED = 10.0
UNSEEN_S = 600.0

_DOUBTED = frozenset({Health.UNHEALTHY, Health.EJECTED, Health.ASLEEP})


def patience_s(replica: ReplicaState, predicted_s: float | None, *, streams: bool, begun: bool) -> float:
    """Seconds without a sign of life after which an attempt there is given up."""
    expected_s = predicted_s or 0.0
    if replica.gone:
        return GONE_S
    if replica.health in _DOUBTED:
        return max(DOUBTFUL_S, DOUBTFUL * expected_s)
    if streams and not begun and not replica.external:
        return HEADLESS_S
    seen = streams or replica.sample is not None
    return max(TRUSTED_S if seen else UNSEEN_S, TRUSTED * expected_s)
