"""A replica that takes requests and never answers tells nothing of its speed: that must not make it look fast."""

import pytest

from balancer.core.scheduling import Charge
from balancer.core.scheduling.predicted_latency import PredictedLatency
from balancer.core.types import Usage
from tests.core.scheduling.stage import Stage, asked

REQUESTS = 120
EVERY_S = 0.1
OUTPUT_TOKENS = 2


def sent_to_the_hung(answer_s, *, stream):
    """Of two replicas `a` hangs, and `b` takes that long for each answer."""
    stage = Stage(lambda index, rng: PredictedLatency(index), 2)
    due = []
    hung = 0
    for number in range(REQUESTS):
        stage.now += EVERY_S
        while due and due[0][0] <= stage.now:
            at_s, charge = due.pop(0)
            if stream:
                charge.first_token(at_s)
            charge.release(
                at_s, Usage(charge.request.prompt_tokens, OUTPUT_TOKENS), output_events=OUTPUT_TOKENS
            )
        request = asked(chr(ord("A") + number))
        request.stream = stream
        decision = stage.policy.choose(request, stage.fleet, stage.now)
        charge = Charge(request, stage[decision.replica], decision, stage.policy, stage.now)
        if decision.replica == "a":
            hung += 1
        else:
            due.append((stage.now + answer_s, charge))
    return hung


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("answer_s", [0.01, 0.3])
def test_it_gets_less_than_its_share(answer_s, stream):
    assert sent_to_the_hung(answer_s, stream=stream) < REQUESTS / 3
