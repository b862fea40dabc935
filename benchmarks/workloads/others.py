"""Traffic that no constant was chosen on: retrieval, very long code contexts, agents with sub-agents, batch jobs beside
chats, completions, and the two extremes, where every prompt is the same and where none shares anything.
"""

from dataclasses import replace
from random import Random

from benchmarks.workloads.conversations import AGENT, CHAT, converse
from benchmarks.workloads.script import COMPLETIONS_PATH
from benchmarks.workloads.traffic import EMPTY, Session, Writer, ask_once, lognormal, poisson


def retrieval(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """One instruction, then a document out of 400 (Zipf, about 12,000 tokens), then a question of 100."""
    writer = Writer()
    instruction = writer.system(800)
    documents = [writer.append(instruction, lognormal(rng, 12_000, 0.5, 2_000, 40_000)) for _ in range(400)]
    weights = [1 / rank for rank in range(1, len(documents) + 1)]
    return [
        ask_once(
            arrival,
            f"reader {number}",
            writer.append(rng.choices(documents, weights)[0], lognormal(rng, 100, 0.6, 10, 600)),
            lognormal(rng, 300, 0.6, 20, 1_000),
        )
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]


def long_code(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """Code assistants over 30,000 to 110,000 tokens of context: 2 to 8 turns, 1,500 tokens in and 600 out."""
    writer = Writer()
    tools = writer.system(5_000)
    habits = replace(
        AGENT,
        turns=lambda rng: rng.randint(2, 8),
        user_tokens=lambda rng: lognormal(rng, 1_500, 1.0, 50, 12_000),
        output_tokens=lambda rng: lognormal(rng, 600, 0.8, 20, 3_000),
        think_s=lambda rng: 2 + rng.expovariate(1 / 15),
        most_tokens=120_000,
    )
    return [
        converse(
            rng,
            writer,
            habits,
            writer.append(tools, rng.randrange(30_000, 105_000)),
            arrival,
            f"coder {number}",
        )
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]


def sub_agents(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """Agents of which every third step starts 4 to 10 sub-agents at once; all share the parent's tools, and the parent
    goes on when the last of them has ended. Group sizes as in published traces of coding agents (median 7).
    """
    writer = Writer()
    tools = writer.system(6_000)
    child = replace(AGENT, turns=lambda rng: rng.randint(2, 5))
    parent = replace(AGENT, turns=lambda rng: min(30, 2 + int(rng.expovariate(1 / 8))))
    sessions = []
    for number, arrival in enumerate(poisson(rng, rate, duration_s)):
        user = f"agent {number}"
        opening = writer.append(tools, lognormal(rng, 10_000, 0.7, 2_000, 40_000))
        session = converse(rng, writer, parent, opening, arrival, user, "parent")
        turns = list(session.turns)
        for step in range(2, len(turns) - 1, 3):
            children = tuple(
                converse(
                    rng, writer, child, writer.append(tools, lognormal(rng, 3_000, 0.8, 300, 20_000)),
                    rng.expovariate(1 / 0.2), f"{user} step {step} sub-agent {which}", "sub-agent",
                )
                for which in range(rng.randint(4, 10))
            )  # fmt: skip
            turns[step] = replace(turns[step], background=children)
        sessions.append(replace(session, turns=tuple(turns)))
    return sessions


def batch_beside_chat(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """Chats, and every 30 s a job of requests at once: 4,000 tokens that share a task of 1,000, 200 out."""
    writer = Writer()
    system = writer.system(1_200)
    sessions = [
        converse(rng, writer, CHAT, system, arrival, f"chat {number}", "chat")
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]
    for job in range(1, int(duration_s / 30)):
        task = writer.system(1_000)
        sessions += [
            ask_once(
                job * 30 + rng.uniform(0, 1),
                f"job {job}",
                writer.append(task, lognormal(rng, 4_000, 0.5, 500, 16_000)),
                200,
                label="batch",
            )
            for _ in range(round(rate * 8))
        ]
    return sessions


def all_identical(rng: Random, rate: float, duration_s: float) -> list[Session]:
    prompt = Writer().append(EMPTY, 6_000)
    return [ask_once(arrival, "all", prompt, 200, repeats=True) for arrival in poisson(rng, rate, duration_s)]


def all_unique(rng: Random, rate: float, duration_s: float) -> list[Session]:
    writer = Writer()
    return [
        ask_once(arrival, f"user {number}", writer.append(EMPTY, lognormal(rng, 3_000, 1.2, 50, 30_000)), 200)
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]


def prefix_repetition(
    rng: Random,
    rate: float,
    duration_s: float,
    *,
    prefix_len: int = 256,
    suffix_len: int = 256,
    num_prefixes: int = 10,
    output_len: int = 128,
) -> list[Session]:
    """As `vllm bench serve --dataset-name prefix_repetition` has it, by the names of its options: completions."""
    writer = Writer()
    prefixes = [writer.append(EMPTY, prefix_len) for _ in range(num_prefixes)]
    return [
        replace(
            ask_once(arrival, f"user {number}", writer.append(rng.choice(prefixes), suffix_len), output_len),
            path=COMPLETIONS_PATH,
        )
        for number, arrival in enumerate(poisson(rng, rate, duration_s))
    ]


def mixed_routes(rng: Random, rate: float, duration_s: float) -> list[Session]:
    """Half chats under one of 5 system prompts, half completions of about 600 tokens; of either a third in one piece."""
    writer = Writer()
    systems = [writer.system(1_000) for _ in range(5)]
    sessions = []
    for number, arrival in enumerate(poisson(rng, rate, duration_s)):
        stream = rng.random() < 2 / 3
        whole = "" if stream else ", whole"
        if rng.random() < 0.5:
            session = converse(
                rng, writer, CHAT, rng.choice(systems), arrival, f"chat {number}", f"chat{whole}"
            )
        else:
            prompt = writer.append(EMPTY, lognormal(rng, 600, 1.0, 32, 4_000))
            output_tokens = lognormal(rng, 150, 0.8, 8, 1_000)
            session = ask_once(arrival, f"text {number}", prompt, output_tokens, label=f"completion{whole}")
            session = replace(session, path=COMPLETIONS_PATH)
        sessions.append(replace(session, stream=stream))
    return sessions
