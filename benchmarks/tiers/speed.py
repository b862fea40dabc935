"""What a score costs in CPU, beside work of which everybody knows the cost, in the same run."""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from balancer.config.classifiers import bundled
from balancer.core.tiering.text import read_text
from balancer.core.tiering.types import Classifier
from balancer.core.types import RouteKind

CALLS: Final = 2000
WARM: Final = 20
ROUNDS: Final = 10
_SENTENCE = "Compare both designs, and explain why 3 of 7 replicas (42 %) would lose writes if the leader's clock jumps. "
PROMPTS: Final = {
    "short": "Prove that there are infinitely many primes of the form 4k + 3.",
    "2k characters": _SENTENCE * 19,
    "33k characters": _SENTENCE * 310,
    "1 MB": _SENTENCE * 9500,
    "2k characters of Korean": "두 설계를 비교하고 왜 복제본 7개 중 3개가 쓰기를 잃는지 설명하시오. " * 50,
    "one run of Han": "证明质数有无穷多个" * 1000,
    "every script": "".join(chr(code) for code in range(0x20, 0xD800, 11)),
    "lines alone": "\n" * 8192,
    "open tags": "<context" * 1000,
    "combining marks": "a\u0301\u0327\u0330" * 3000,
    "JSON in one line": "Which is the largest? " + '{"id":1,"n":"x"},' * 2000,
    "brackets": "[tier:" * 2000,
}


class Speed(NamedTuple):
    """Microseconds of CPU."""

    p50: float
    p99: float


def measure(calls: int = CALLS) -> dict[str, Speed]:
    """By prompt: to read a decoded request and to score it. `reference` is the SHA-256 of 64 KiB. In ROUNDS rounds over all
    prompts, each figure from its best round: what a neighbour on the machine takes is not the score's.
    """
    prior = bundled("prior")
    block = bytes(1 << 16)
    work: dict[str, Callable[[], object]] = {"reference": lambda: hashlib.sha256(block).digest()}
    for name, prompt in PROMPTS.items():
        body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
        work[name] = partial(_score, prior, body)
    rounds = [
        {name: _time(call, max(20, calls // ROUNDS)) for name, call in work.items()} for _ in range(ROUNDS)
    ]
    return {
        name: Speed(min(each[name].p50 for each in rounds), min(each[name].p99 for each in rounds))
        for name in work
    }


def _score(prior: Classifier, body: dict[str, Any]) -> object:
    return prior.score(read_text(RouteKind.CHAT, body))


def _time(call: Callable[[], object], calls: int) -> Speed:
    for _ in range(WARM):
        call()
    took = []
    for _ in range(calls):
        begun = time.thread_time()
        call()
        took.append(time.thread_time() - begun)
    took.sort()
    return Speed(1e6 * took[len(took) // 2], 1e6 * took[int(len(took) * 0.99)])
