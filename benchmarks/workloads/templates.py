"""Hot templates beside growing chats, in the proportions of Mooncake's tool-and-agent trace (FAST'25). Open loop.

30 % of requests begin with the same 6,144 tokens and answer with 3 to 30, 20 % with another 2,560 and 13 to 24; the
rest are chats that share 512 tokens, read long inputs and come back with probability 0.45. An imitation, not the trace.
"""

from dataclasses import replace
from random import Random

from benchmarks.workloads.traffic import Session, Text, Writer, ask_once, lognormal, poisson


def hot_templates(rng: Random, rate: float, duration_s: float) -> list[Session]:
    writer = Writer()
    long, short, preamble = (writer.system(tokens) for tokens in (6_144, 2_560, 512))
    open_chats: list[tuple[str, Text]] = []
    sessions = []
    for number, arrival in enumerate(poisson(rng, rate, duration_s)):
        kind = rng.random()
        user = f"tool {number}"
        if kind < 0.3:
            prompt = writer.append(long, lognormal(rng, 600, 1.2, 16, 8_000))
            output_tokens = rng.choice((3, 3, 25, 30))
            text = prompt
        elif kind < 0.5:
            prompt = writer.append(short, lognormal(rng, 620, 0.5, 300, 3_000))
            output_tokens = rng.randrange(13, 25)
            text = prompt
        else:
            user, history = f"chat {number}", preamble
            if open_chats and rng.random() < 0.45:
                recent = int(rng.expovariate(1 / 60))
                user, history = open_chats.pop(max(0, len(open_chats) - 1 - recent))
            prompt = writer.append(history, lognormal(rng, 5_500, 1.3, 16, 60_000))
            output_tokens = lognormal(rng, 380, 0.7, 2, 1_500)
            text = writer.append(prompt, output_tokens)
            if prompt.tokens < 90_000:
                open_chats.append((user, text))
        session = ask_once(arrival, user, prompt, output_tokens, label=user.split()[0])
        sessions.append(replace(session, keys=text.keys))
    return sessions
