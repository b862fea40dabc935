"""Prompts that share the beginning of their group: llm-d's capacity benchmark and its variants. Open loop.

150 groups of 5 prompts; 6,000 tokens of system prompt a group, 1,200 of question, 8 replicas (llm-d-kv-cache,
benchmarking/73-capacity). Fixed: the 750 prompts repeat to the word, so even the question is cached. Fresh: each
question is new, so 83 % is the most that a cache can serve. Groups grow with the fleet: all of them together
take 73 % of its KV cache.
"""

from dataclasses import replace
from random import Random

from benchmarks.workloads.traffic import Session, Text, Traffic, Writer, ask_once, poisson

GROUPS_PER_REPLICA = 150 / 8
PROMPTS_PER_GROUP = 5
SYSTEM_TOKENS = 6_000
QUESTION_TOKENS = 1_200
FILL_RATE_PER_REPLICA = 15 / 8
"""Requests a second of the warm-up, in which every prompt is sent once."""

FILL = "fill"
"""The stage that warms caches up, and in which nothing is measured."""
LADDER = (
    (3, 20), (10, 20), (15, 20), (20, 38), (22, 34), (25, 30), (30, 25), (35, 21), (40, 38), (43, 36), (46, 33),
    (49, 30), (52, 29), (55, 27), (57, 26), (60, 25),
)  # fmt: skip
"""(requests a second, seconds) of each stage, over 8 replicas."""
LADDER_S = sum(seconds for _, seconds in LADDER)


class _Corpus:
    def __init__(self, groups: int, output_tokens: int, *, fresh: bool) -> None:
        self.prompts = [(group, prompt) for group in range(groups) for prompt in range(PROMPTS_PER_GROUP)]
        self._writer = Writer()
        self._systems = [self._writer.system(SYSTEM_TOKENS) for _ in range(groups)]
        self._fixed = {} if fresh else {which: self._ask(which[0]) for which in self.prompts}
        self._output_tokens = output_tokens

    def _ask(self, group: int) -> Text:
        return self._writer.append(self._systems[group], QUESTION_TOKENS)

    def request(self, arrival_s: float, which: tuple[int, int]) -> Session:
        prompt = self._fixed.get(which) or self._ask(which[0])
        user = f"group {which[0]} prompt {which[1]}"
        return ask_once(arrival_s, user, prompt, self._output_tokens, repeats=which in self._fixed)

    def fill(self, rng: Random, rate: float) -> list[Session]:
        order = rng.sample(self.prompts, len(self.prompts))
        now = 0.0
        sessions = []
        for which in order:
            now += rng.expovariate(rate)
            sessions.append(self.request(now, which))
        return sessions


def questions(
    rng: Random,
    rate: float,
    replicas: int,
    duration_s: float,
    settle_s: float,
    *,
    fresh: bool,
    output_tokens: int = 400,
) -> Traffic:
    corpus = _Corpus(round(GROUPS_PER_REPLICA * replicas), output_tokens, fresh=fresh)
    sessions = corpus.fill(rng, min(rate, FILL_RATE_PER_REPLICA * replicas))
    start_s = sessions[-1].arrival_s
    sessions += [
        corpus.request(arrival, rng.choice(corpus.prompts))
        for arrival in poisson(rng, rate, duration_s, start_s)
    ]
    return Traffic(sessions, start_s + settle_s, start_s + duration_s)


def ladder(
    rng: Random, rate: float, replicas: int, duration_s: float, settle_s: float, *, output_tokens: int = 1_000
) -> Traffic:
    """Stage after stage at rising rates. Each starts when the one before has drained, as llm-d says of a later study.
    The stages are as published where `rate` is 1 for each replica and `duration_s` LADDER_S, else in proportion.
    """
    corpus = _Corpus(round(GROUPS_PER_REPLICA * replicas), output_tokens, fresh=False)
    fill = corpus.fill(rng, FILL_RATE_PER_REPLICA * rate)
    stages = [Traffic(fill, 0.0, fill[-1].arrival_s + 1, name=FILL)]
    for qps, published_s in LADDER:
        stage_s = published_s * (duration_s / LADDER_S)
        sessions = [
            corpus.request(arrival, rng.choice(corpus.prompts))
            for arrival in poisson(rng, qps * rate / 8, stage_s)
        ]
        stages.append(Traffic(sessions, 0.0, stage_s, name=f"{qps} qps"))
    first = None
    for stage in reversed(stages):
        first = replace(stage, then=first)
    assert first is not None
    return first
