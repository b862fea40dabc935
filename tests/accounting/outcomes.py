"""Records of tiered requests, and rows of the outcome log, as the tests want them."""

import dataclasses

from balancer.accounting.outcome_store import Outcome
from balancer.accounting.outcomes import Keeps
from balancer.accounting.record import Record, Tiered
from balancer.core.tiering.types import StrongShare
from balancer.core.types import Usage

SECRET_WORDS = "the prompt that nobody may keep"
KEEPS = Keeps(1000, 90, prompts=False)


def tiered_record(decision_id="d0", **more):
    """`more` are fields of the Record or of its Tiered."""
    names = {field.name for field in dataclasses.fields(Tiered)}
    tiered = {
        "asked": "auto",
        "tier": "small",
        "model": "m8",
        "reason": "score",
        "score": 0.25,
        "spread": 0.1,
        "threshold": 0.7,
        "propensity": 0.975,
        "tenant": "acme",
        "conversation": b"c" * 16,
        "target": StrongShare(0.3),
        "options": (("small", 0.0001), ("large", 0.001)),
        "text": SECRET_WORDS,
    }
    record = {
        "path": "/v1/chat/completions",
        "arrived_at": 10.0,
        "model": "auto",
        "status": 200,
        "token_at": 10.5,
        "ended_at": 12.0,
        "usage": Usage(100, 20, 50),
        "usd": 0.0001,
        "decision_id": decision_id,
    }
    tiered |= {name: value for name, value in more.items() if name in names}
    record |= {name: value for name, value in more.items() if name not in names}
    return Record(**record, tiered=Tiered(**tiered))


def outcome(number=0, **more):
    """A row; `number` makes its id and time."""
    values = {
        "id": f"d{number}",
        "at": 1_000_000.0 + number,
        "virtual": "auto",
        "target": "share 0.3",
        "tenant": "acme",
        "conversation": number.to_bytes(8, "big"),
        "score": 0.5,
        "spread": 0.1,
        "threshold": 0.7,
        "tier": "small",
        "model": "m8",
        "reason": "score",
        "rule": "",
        "arm": "",
        "propensity": 1.0,
        "explored": False,
        "shadow": "",
        "status": 200,
        "ended_by": "answer",
        "ttft_s": 0.5,
        "duration_s": 2.0,
        "prompt_tokens": 100,
        "cached_tokens": 50,
        "output_tokens": 20,
        "usd": 0.0001,
        "options": [("small", 0.0001), ("large", 0.001)],
        "left": [],
        "prompt": None,
    }
    return Outcome(**(values | more))
