"""Every workload by name: what it is, on what hardware the simulator runs it, and how much of it is load 1.0.

`capacity` is arrivals per second and replica (requests where the loop is open, sessions where it is closed). It is the
highest rate at which the oracle (pooled KV cache, exact queues) over 8 replicas keeps the P90 of TTFT at 2 s, for
hot_templates and the traces at 1.5 times its value without load, since their longest prompts alone take as much.
The others were found so, with `python -m benchmarks simulate --calibrate NAMES`; those of the five main workloads by the
same search over an earlier model, whose tables this one reproduces at them, and kept so that loads stay comparable.
Rough, over one seed and 2 or 4 replicas: prefix_repetition, mixed_routes, azure_conversation and tiers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from benchmarks.workloads import conversations, groups, others, scenarios, templates, tiers, traces
from benchmarks.workloads.traffic import Build, Traffic

Make = Callable[[Random, float, int, float, float], Traffic]
"""(rng, arrivals per second over all replicas, replicas, seconds, of these the first that warm up) to traffic."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`duration_s` and `settle_s` are what the simulator runs: arrivals for so long, measured after the first `settle_s`."""

    name: str
    tells: str
    hardware: str
    capacity: float
    loads: tuple[float, ...]
    duration_s: float
    settle_s: float
    make: Make

    def traffic(self, load: float, replicas: int, seed: int) -> Traffic:
        return self.at(load * self.capacity * replicas, replicas, seed)

    def at(
        self,
        rate: float,
        replicas: int,
        seed: int,
        *,
        duration_s: float | None = None,
        settle_s: float | None = None,
    ) -> Traffic:
        """The same for every policy: nothing but these decides it."""
        if duration_s is None:
            duration_s = self.duration_s
        if settle_s is None:
            settle_s = self.settled_s(duration_s)
        return self.make(Random(f"{self.name} {seed}"), rate, replicas, duration_s, settle_s)

    def settled_s(self, duration_s: float) -> float:
        """The same share of another duration."""
        return self.settle_s * duration_s / self.duration_s


def _steady(build: Build) -> Make:
    return lambda rng, rate, _, duration_s, settle_s: Traffic(
        build(rng, rate, duration_s), settle_s, duration_s
    )


_8B, _32B, _70B = "llama-3.1-8b-h100", "qwen3-32b-2xh100", "llama-3.1-70b-4xh100"
_RISING = (0.5, 0.7, 0.9, 1.0, 1.1)

MAIN = (
    Workload(
        "fresh_questions",
        "llm-d's 150 groups (8 replicas): 6,000 tokens of shared system prompt, and a new question of 1,200 each time",
        _32B, 5.3, _RISING, 130, 30, partial(groups.questions, fresh=True),
    ),
    Workload(
        "hot_templates",
        "two hot templates (6,144 and 2,560 tokens) with short answers, beside chats that grow to 90,000 tokens",
        _70B, 2.46, _RISING, 200, 80, _steady(templates.hot_templates),
    ),
    Workload(
        "agents",
        "coding agents: 6,000 tokens of tools, 12,000 of repository, about 20 steps of 900 in and 180 out",
        _70B, 0.185, (0.5, 0.7, 0.85, 1.0), 200, 80, _steady(conversations.agents),
    ),
    Workload(
        "mooncake",
        "Mooncake's recorded conversations (FAST'25): prompts of 7,000 tokens in the median, 27,000 at P90",
        _70B, 0.75, (0.5, 0.7, 0.9, 1.1), 400, 150, _steady(partial(traces.replay, "mooncake_conversation.jsonl.gz")),
    ),
    Workload(
        "chat",
        "chats of about 5 turns over 20 system prompts (Zipf), 20 s of thought between turns",
        _8B, 4.6, (0.7, 0.9, 1.0), 200, 80, _steady(conversations.chat),
    ),
)  # fmt: skip
OTHERS = (
    Workload(
        "mooncake_synthetic",
        "Mooncake's synthetic trace: long shared prompts (11,600 tokens in the median), short answers",
        _70B, 0.83, (0.9,), 400, 150, _steady(partial(traces.replay, "mooncake_synthetic.jsonl.gz")),
    ),
    Workload(
        "retrieval",
        "questions of 100 tokens about one of 400 documents of 12,000 (Zipf)",
        _32B, 3.2, (0.9,), 160, 60, _steady(others.retrieval),
    ),
    Workload(
        "long_code",
        "code assistants over 30,000 to 110,000 tokens of context, 2 to 8 turns",
        _70B, 0.031, (0.9,), 300, 120, _steady(others.long_code),
    ),
    Workload(
        "sub_agents",
        "agents of which every third step starts 4 to 10 sub-agents at once and waits for the last",
        _70B, 0.15, (0.9,), 240, 100, _steady(others.sub_agents),
    ),
    Workload(
        "batch_beside_chat",
        "chats, and every 30 s a batch of prompts of 4,000 tokens at once",
        _8B, 3.7, (0.9,), 200, 80, _steady(others.batch_beside_chat),
    ),
    Workload(
        "llm_d_a",
        "llm-d's scenario A: 6 shared system prompts of 1,000 tokens, short questions, answers of 1,000, 2 to 6 turns",
        _32B, 1.28, (0.9,), 240, 120, _steady(scenarios.scenario_a),
    ),
    Workload(
        "llm_d_b",
        "llm-d's scenario B: 6 shared system prompts of 1,000 tokens, one question of 3,000, answers of 1,000",
        _32B, 2.3, (0.9,), 200, 80, _steady(scenarios.scenario_b),
    ),
    Workload(
        "all_identical",
        "one prompt of 6,000 tokens, the same each time",
        _32B, 21.4, (0.9,), 100, 40, _steady(others.all_identical),
    ),
    Workload(
        "all_unique",
        "prompts of about 3,000 tokens that share nothing",
        _32B, 4.6, (0.9,), 120, 40, _steady(others.all_unique),
    ),
)  # fmt: skip
FOR_RUNS = (
    Workload(
        "fixed_questions",
        "fresh_questions with its first 750 questions (8 replicas) again and again, as in llm-d's ladder, at one rate",
        _32B, 9.8, (0.9,), 130, 30, partial(groups.questions, fresh=False),
    ),
    Workload(
        "prefix_repetition",
        "as vllm bench serve has it: completions of one of 10 prefixes of 256 tokens and 256 new ones, 128 out",
        _8B, 52, (0.9,), 120, 40, _steady(others.prefix_repetition),
    ),
    Workload(
        "mixed_routes",
        "chats and completions, of each two thirds streamed",
        _8B, 10, (0.9,), 200, 80, _steady(others.mixed_routes),
    ),
    Workload(
        "azure_conversation",
        "Azure's recorded conversations (2023): lengths and arrivals, 1,000 tokens in, 115 out in the median",
        _8B, 13, (0.9,), 200, 80, _steady(partial(traces.excerpt, "azure_conversation.csv.gz")),
    ),
    Workload(
        "azure_code",
        "Azure's recorded code completions (2023): lengths and bursts, 1,500 tokens in, 13 out in the median",
        _8B, 6.25, (0.9,), 200, 80, _steady(partial(traces.excerpt, "azure_code.csv.gz")),
    ),
    Workload(
        "tiers",
        "real questions, half easy (GSM8K) and half hard (MATH, level 5), labelled so",
        _8B, 26, (0.9,), 120, 40, _steady(tiers.tiers),
    ),
)  # fmt: skip
"""No suite of the simulator has them."""
LADDER = Workload(
    "ladder",
    "llm-d's published ladder: its 750 fixed prompts (8 replicas) at 3 to 60 requests a second, stage after stage",
    _32B, 1.0, (1.0,), groups.LADDER_S, 0, groups.ladder,
)  # fmt: skip
WORKLOADS = {workload.name: workload for workload in (*MAIN, *OTHERS, *FOR_RUNS, LADDER)}
