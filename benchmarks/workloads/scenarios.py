"""llm-d's scenarios A and B, where decoding and fresh prefill are what is short, not the cache (llm-d-kv-cache, benchmarking).

6 groups of 1,000 users share a system prompt of 1,000 tokens each; every answer takes 1,000. A: questions of 30 tokens, and users
who go on; of how many turns and how soon is not published: 2 to 6 turns and 5 s between them here. B: one question of 3,000.
"""

from random import Random

from benchmarks.workloads.conversations import Habits, converse
from benchmarks.workloads.traffic import Session, Writer, ask_once, poisson

GROUPS = 6
USERS_PER_GROUP = 1_000
SYSTEM_TOKENS = 1_000
OUTPUT_TOKENS = 1_000

_A = Habits(
    turns=lambda rng: rng.randint(2, 6),
    user_tokens=lambda _: 30,
    output_tokens=lambda _: OUTPUT_TOKENS,
    think_s=lambda rng: rng.expovariate(1 / 5),
    most_tokens=32_000,
)
_B_QUESTION_TOKENS = 3_000


def scenario_a(rng: Random, rate: float, duration_s: float) -> list[Session]:
    writer = Writer()
    systems = [writer.system(SYSTEM_TOKENS) for _ in range(GROUPS)]
    return [
        converse(rng, writer, _A, rng.choice(systems), arrival, f"user {number}")
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]


def scenario_b(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """Open loop: each arrival is a user drawn at random, who asks the same question again when drawn again."""
    writer = Writer()
    systems = [writer.system(SYSTEM_TOKENS) for _ in range(GROUPS)]
    prompts = [
        (f"user {user} of group {group}", writer.append(systems[group], _B_QUESTION_TOKENS))
        for group in range(GROUPS)
        for user in range(USERS_PER_GROUP)
    ]
    sessions = []
    for arrival in poisson(rng, rate, duration_s):
        user, prompt = rng.choice(prompts)
        sessions.append(ask_once(arrival, user, prompt, OUTPUT_TOKENS, repeats=True))
    return sessions
