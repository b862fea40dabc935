"""The settings of the outcome log: what is kept of requests that were given to a tier, and for how long."""

from typing import Annotated

from balancer.config.group import AT_START, Group
from balancer.config.kinds import Count, File


class Outcomes(Group):
    outcome_log: Annotated[File | None, AT_START] = None
    """SQLite file in which the balancer notes what it chose for each request to a virtual model, by which score and with which
    probability, what came of it, and what clients say of it at `/v1/feedback`. No prompts, no keys. Balancers
    on one machine may share it. Default: none, and no feedback is taken."""

    outcome_log_max_rows: Count = 1_000_000
    """Most requests that the file holds, about 300 bytes each; the oldest go first."""

    outcome_log_max_days: Count = 90
    """How long a request stays in it."""

    outcome_log_prompts: bool = False
    """Keep the last user turn of each request there too, up to 4,000 characters, and comments of feedback: to train a classifier
    on them."""
