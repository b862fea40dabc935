"""Sessions of several turns: chat and coding agents. Closed loop within a session, open loop between sessions.

All lengths are drawn before the run, so that every policy meets the same sessions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.workloads.traffic import Session, Text, Turn, Writer, lognormal, poisson


@dataclass(frozen=True, slots=True)
class Habits:
    """How the sessions of one kind of client go on."""

    turns: Callable[[Random], int]
    user_tokens: Callable[[Random], int]
    output_tokens: Callable[[Random], int]
    think_s: Callable[[Random], float]
    most_tokens: int


CHAT = Habits(
    turns=lambda rng: min(15, 1 + int(rng.expovariate(1 / 4.5))),
    user_tokens=lambda rng: lognormal(rng, 250, 1.5, 16, 6_000),
    output_tokens=lambda rng: lognormal(rng, 250, 0.9, 8, 1_500),
    think_s=lambda rng: 2 + rng.expovariate(1 / 18),
    most_tokens=32_000,
)
AGENT = Habits(
    turns=lambda rng: min(60, 2 + int(rng.expovariate(1 / 18))),
    user_tokens=lambda rng: lognormal(rng, 900, 1.5, 50, 12_000),
    output_tokens=lambda rng: lognormal(rng, 180, 1.0, 10, 1_500),
    think_s=lambda rng: 0.5 + rng.expovariate(1 / 4),
    most_tokens=100_000,
)


def converse(
    rng: Random,
    writer: Writer,
    habits: Habits,
    opening: Text,
    arrival_s: float,
    user: str,
    label: str = "",
) -> Session:
    """One session on top of what its first prompt begins with."""
    text = opening
    turns = []
    for number in range(habits.turns(rng)):
        prompt = writer.append(text, habits.user_tokens(rng))
        output_tokens = habits.output_tokens(rng)
        text = writer.append(prompt, output_tokens)
        turns.append(Turn(prompt.tokens, output_tokens, habits.think_s(rng) if number else 0.0))
        if text.tokens > habits.most_tokens:
            break
    return Session(arrival_s, user, text.keys, tuple(turns), opening.system, label=label)


def chat(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """20 system prompts of 300 to 2,500 tokens, Zipf; about 5 turns, 20 s of thought between them."""
    writer = Writer()
    systems = [writer.system(rng.randrange(300, 2_500)) for _ in range(20)]
    weights = [1 / rank for rank in range(1, 21)]
    return [
        converse(rng, writer, CHAT, rng.choices(systems, weights)[0], arrival, f"chat {number}")
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]


def agents(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """Coding agents: one of 4 tool prompts (6,000 tokens), 12,000 tokens of repository, about 20 steps that read 900
    tokens of tool output and write 180.
    """
    writer = Writer()
    tools = [writer.system(6_000) for _ in range(4)]
    sessions = []
    for number, arrival in enumerate(poisson(rng, rate, duration_s)):
        opening = writer.append(
            rng.choices(tools, (4, 3, 2, 1))[0], lognormal(rng, 12_000, 0.7, 2_000, 50_000)
        )
        sessions.append(converse(rng, writer, AGENT, opening, arrival, f"agent {number}"))
    return sessions
