"""Everything that `tiers` measures, in order. Labels of a test are never in what is tested; see each protocol's module."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.core.tiering.score.ridge import Doubles, Rows
from balancer.learning.metrics import CPTS, advantage, measure, resamples
from balancer.learning.prompts import Prompts, prompts
from benchmarks.tiers import held_out, own, promises, speed
from benchmarks.tiers.data import FAMILY, Data
from benchmarks.tiers.fitting import Index, ship
from benchmarks.tiers.held_out import HeldOut

Step = Callable[[str], None]
UNSEEN: Final = "MMLU, unseen subjects"
LABELS: Final = (100, 300, 1000)
MOST_DRAWN_ROWS: Final = 4000
"""A sample of a larger set is drawn from so many of its rows, evenly spaced, where floors are tried."""


@dataclass(frozen=True, slots=True)
class Plan:
    draws: int = 300
    runs: int = 200
    calls: int = speed.CALLS
    seed: int = 0


QUICK: Final = Plan(draws=40, runs=10, calls=200)


def steps(data: Data) -> int:
    return held_out.steps(data) + len(_in_domain(data)) + len(set(data.sources.tolist())) + 2


def run(data: Data, plan: Plan, step: Step) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
    """The result's rows, and the arrays of the weights that all of the data gives."""
    rows = prompts(data.prompts).rows
    held = held_out.hold_out(data, rows, step)
    found: list[dict[str, Any]] = []
    for source in np.unique(data.sources):
        step(str(source))
        here = data.of(str(source))
        raw, share = held.raw(data, rows, str(source)), held.percentiles(data, rows, str(source))
        weak, strong = data.weak[here], data.strong[here]
        few = np.linspace(0, len(here) - 1, min(len(here), MOST_DRAWN_ROWS)).astype(np.int64)
        broken, broken_half, kept_share = promises.floor_broken(
            raw[few], weak[few], strong[few], plan.runs, plan.seed
        )
        found.append(
            _measured(f"held out/{source}", data, here, raw, plan)
            | {
                "setting": _setting(held, str(source)),
                "held_share": promises.held_share(share, plan.seed),
                "fixed_share": promises.fixed_share(share),
                "floor_broken": broken,
                "floor_broken_half": broken_half,
                "floor_share": kept_share,
            }
        )
    for title, source, folds in _in_domain(data):
        step(title)
        here = data.of(source)
        seen = _with_prior(data, rows, held, source)
        if title == UNSEEN:
            seen = replace(seen, domains=np.unique(data.tasks[here], return_inverse=True)[1])
        found.append(_measured(title, data, here, own.out_of_fold(data, seen, here, folds), plan))
    labels: dict[str, list[float]] = {}
    if len(here := data.of("llmrouter")) > 2 * max(LABELS):
        step("own labels")
        seen = _with_prior(data, rows, held, "llmrouter")
        labels = {str(n): values for n, values in own.curve_of_labels(data, seen, here, LABELS).items()}
    step("speed")
    result = {
        "rows": found,
        "labels": labels,
        "shipped": held.shipped._asdict(),
        "speed": {name: took._asdict() for name, took in speed.measure(plan.calls).items()},
    }
    return result, ship(data, rows, held.shipped, held.whole, dict(held.members))


def _setting(held: HeldOut, source: str) -> dict[str, float]:
    family = FAMILY.get(source, source)
    setting = held.settings.get(family, held.shipped)
    return {**setting._asdict(), "inner": held.inner.get(family, float("nan"))}


def _in_domain(data: Data) -> list[tuple[str, str, NDArray[np.int64]]]:
    rows = []
    if len(here := data.of("routellm-mmlu")):
        rows.append((UNSEEN, "routellm-mmlu", own.by_task(data.tasks[here])))
    for title, source in (("GSM8K, 5-fold", "routellm-gsm8k"), ("LLMRouter, 5-fold", "llmrouter")):
        if len(here := data.of(source)):
            rows.append((title, source, own.by_prompt(len(here))))
    return rows


def _with_prior(data: Data, rows: Rows, held: HeldOut, source: str) -> Prompts:
    """The source's prompts, each with what a prior says of it that was trained without its family."""
    return Prompts(rows.take(data.of(source)), None, held.percentiles(data, rows, source))


def _measured(title: str, data: Data, here: Index, scores: Doubles, plan: Plan) -> dict[str, Any]:
    weak, strong = data.weak[here], data.strong[here]
    length = np.array([float(len(data.prompts[i])) for i in here])
    draws = resamples(len(here), plan.draws, plan.seed)
    ours, longer = measure(scores, weak, strong, draws), measure(length, weak, strong, draws)
    return {
        "title": title,
        "rows": len(here),
        "weak": float(weak.mean()),
        "strong": float(strong.mean()),
        "apgr": asdict(ours.apgr),
        "cpt": {str(part): asdict(ours.cpt[part]) for part in CPTS},
        "length": asdict(longer.apgr),
        "above_length": asdict(advantage(scores, length, weak, strong, draws)),
    }
