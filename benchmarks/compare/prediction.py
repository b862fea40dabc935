"""What the simulator says a cell will come to, to stand beside what was measured: the same traffic, fleet and policy in
virtual time. It knows no network, no tokenizer and no CPU: what these take is the error that it shows.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

from balancer.embedded.engine import PROFILES
from benchmarks.replica import MAX_NUM_BATCHED_TOKENS, scaled_profile
from benchmarks.simulator.arms import ARMS
from benchmarks.simulator.figures import Figures, figures
from benchmarks.simulator.simulation import Setting, simulate
from benchmarks.workloads.scale import scaled
from benchmarks.workloads.traffic import Traffic

Prediction = dict[str, float | None]
"""By the names that measured figures have."""


@dataclass(frozen=True, slots=True)
class Question:
    """A cell as the simulator takes it. `draw` makes its traffic, of the whole size; equal ones make the same. `arm` is the
    simulator's own name for the policy.
    """

    draw: Callable[[], Traffic]
    seed: int
    arm: str
    replicas: int
    profile: str
    scale: int = 1
    kv_share: float = 1.0


def predicted(
    questions: Collection[Question],
    jobs: int,
    known: Mapping[Question, Prediction] | None = None,
    done: Callable[[Question], None] = lambda _: None,
) -> dict[Question, Prediction]:
    """Each question once, over processes; `known` ones are not asked again."""
    found = dict(known or {})
    wanted = [question for question in dict.fromkeys(questions) if question not in found]
    if not wanted:
        return found
    with ProcessPoolExecutor(min(jobs, len(wanted))) as pool:
        asked = {pool.submit(answer, question): question for question in wanted}
        for future in as_completed(asked):
            found[asked[future]] = future.result()
            done(asked[future])
    return found


def answer(question: Question) -> Prediction:
    """Of the measured time as a whole, from the first stage to the last."""
    if question.arm not in ARMS:
        raise ValueError(f"arm: expected one of {', '.join(ARMS)}; got {question.arm!r}")
    traffic = scaled(question.draw(), question.scale)
    profile = replace(
        scaled_profile(PROFILES[question.profile], question.scale),
        kv_capacity_tokens=round(
            PROFILES[question.profile].kv_capacity_tokens * question.kv_share / question.scale
        ),
    )
    setting = Setting(
        (profile,) * question.replicas, max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS // question.scale
    )
    run = simulate(ARMS[question.arm], traffic, setting, question.seed)
    start_s = min(start_s for start_s, _ in run.windows.values())
    end_s = max(end_s for _, end_s in run.windows.values())
    return named(figures(run, start_s, end_s, question.replicas))


def named(found: Figures) -> Prediction:
    def ms(seconds: float | None) -> float | None:
        return None if seconds is None else 1000 * seconds

    return {
        "mean_ttft_ms": ms(found.ttft_mean_s),
        "p50_ttft_ms": ms(found.ttft_p50_s),
        "p90_ttft_ms": ms(found.ttft_p90_s),
        "p99_ttft_ms": ms(found.ttft_p99_s),
        "p90_e2el_ms": ms(found.e2e_p90_s),
        "window_output_throughput": found.output_tokens_per_s,
        "hit_rate": found.hit_rate,
    }


def error(measured: float | None, prediction: float | None) -> float | None:
    """Measured over predicted; None where either is missing or 0."""
    return measured / prediction if measured and prediction else None
