"""One replica's part of a stream: what is done to it beside relaying."""

from dataclasses import dataclass

from balancer.vllm_api.splice import Splice, WithoutIds
from balancer.vllm_api.tape import Tape


@dataclass(slots=True, eq=False)
class Leg:
    """`tape` records what the client is given, `rewrite` makes it what the client may see, `splice` joins it to what another
    replica began.
    """

    tape: Tape | None = None
    rewrite: WithoutIds | None = None
    splice: Splice | None = None


WHOLE = Leg()
