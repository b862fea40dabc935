"""Every workload by name: on what hardware it runs, and how much of it is load 1.0.

`capacity` is arrivals per second and replica (requests where the loop is open, sessions where it is closed). It is the
highest rate at which the oracle (pooled KV cache, exact queues) over 8 replicas keeps the P90 of TTFT at 2 s, for
hot_templates and the traces at 1.5 times its value without load, since their longest prompts alone take as much.
The others were found so, with `python -m benchmarks simulate --calibrate NAMES`; those of the five main workloads by the
same search over an earlier model, whose tables this one reproduces at them, and kept so that loads stay comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.workloads import conversations, groups, others, scenarios, templates, traces
from benchmarks.workloads.traffic import Build, Traffic

Make = Callable[[Random, float, int], Traffic]
"""(rng, arrivals per second over all replicas, replicas) to traffic."""


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    hardware: str
    capacity: float
    loads: tuple[float, ...]
    make: Make

    def traffic(self, load: float, replicas: int, seed: int) -> Traffic:
        """The same for every policy: nothing but these three decides it."""
        return self.make(Random(f"{self.name} {seed}"), load * self.capacity * replicas, replicas)


def _steady(build: Build, duration_s: float, settle_s: float) -> Make:
    """Arrivals for `duration_s`, measured after the first `settle_s`."""
    return lambda rng, rate, _: Traffic(build(rng, rate, duration_s), settle_s, duration_s)


_8B, _32B, _70B = "llama-3.1-8b-h100", "qwen3-32b-2xh100", "llama-3.1-70b-4xh100"

MAIN = (
    Workload("fresh_questions", _32B, 5.3, (0.5, 0.7, 0.9, 1.0, 1.1), groups.fresh_questions),
    Workload(
        "hot_templates", _70B, 2.46, (0.5, 0.7, 0.9, 1.0, 1.1), _steady(templates.hot_templates, 200, 80)
    ),
    Workload("agents", _70B, 0.185, (0.5, 0.7, 0.85, 1.0), _steady(conversations.agents, 200, 80)),
    Workload("mooncake", _70B, 0.75, (0.5, 0.7, 0.9, 1.1), _steady(traces.conversation, 400, 150)),
    Workload("chat", _8B, 4.6, (0.7, 0.9, 1.0), _steady(conversations.chat, 200, 80)),
)
OTHERS = (
    Workload("mooncake_synthetic", _70B, 0.83, (0.9,), _steady(traces.synthetic, 400, 150)),
    Workload("retrieval", _32B, 3.2, (0.9,), _steady(others.retrieval, 160, 60)),
    Workload("long_code", _70B, 0.031, (0.9,), _steady(others.long_code, 300, 120)),
    Workload("sub_agents", _70B, 0.15, (0.9,), _steady(others.sub_agents, 240, 100)),
    Workload("batch_beside_chat", _8B, 3.7, (0.9,), _steady(others.batch_beside_chat, 200, 80)),
    Workload("llm_d_a", _32B, 1.28, (0.9,), _steady(scenarios.scenario_a, 240, 120)),
    Workload("llm_d_b", _32B, 2.3, (0.9,), _steady(scenarios.scenario_b, 200, 80)),
    Workload("all_identical", _32B, 21.4, (0.9,), _steady(others.all_identical, 100, 40)),
    Workload("all_unique", _32B, 4.6, (0.9,), _steady(others.all_unique, 120, 40)),
)
LADDER = Workload("ladder", _32B, 1.0, (1.0,), lambda rng, _, replicas: groups.ladder(rng, replicas))
WORKLOADS = {workload.name: workload for workload in (*MAIN, *OTHERS, LADDER)}
