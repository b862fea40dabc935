"""Which cells are run, and the running of them over all cores. A cell is a workload at a rate, by an arm that is asked for a
share, from a seed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from math import log
from typing import Any

from benchmarks.joint.prompts import WEAK_QUALITY, WORKLOADS, spread, traffic
from benchmarks.joint.simulation import ARMS_OF_TIERS, LARGE, Outcome, play
from benchmarks.simulator.request import Request
from benchmarks.stats import percentile

SHARE = 0.3
SHARES = (0.27, 0.3, 0.33, 0.36)
"""What the other arms are asked for: their quality at equal share is less, so that they are compared where it is the same."""
LOADS = (0.7, 0.8, 0.9)
SEEDS = {"chat": (1, 2), "documents": (1,), "bursts": (1,)}
DURATION_S = 240.0
QUICK_S = 60.0
SETTLED = 1 / 3
"""So much of the time only fills caches and lets the share settle."""
LIMIT_S = 2.0
SECANTS = 2
CALIBRATED_ON = 101
RIVALS = ("turns", "conversations")
BOUNDS = ("all_large", "all_small")
ABLATIONS = ("joint_no_band", "joint_not_sticky")
SUBJECT = "joint"
MIDDLE = 0.8
ABLATED = ("chat", "conversations", MIDDLE)
"""Where bounds and ablations are run."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """`load` is of what `rival` bears; traffic arrives for `duration_s`."""

    workload: str
    rival: str
    load: float
    arm: str
    share: float
    seed: int
    duration_s: float = DURATION_S

    @property
    def rate(self) -> float:
        return self.load * WORKLOADS[self.workload].capacity[self.rival]


def cells(
    seeds: Mapping[str, Sequence[int]] = SEEDS,
    loads: Iterable[float] = LOADS,
    duration_s: float = DURATION_S,
) -> list[Cell]:
    """`seeds` by workload."""
    found = []
    asked = ((workload, seed) for workload in seeds for seed in seeds[workload])
    for (workload, seed), rival, load in product(asked, RIVALS, loads):
        arms = [(SUBJECT, SHARE), *((rival, share) for share in SHARES)]
        if (workload, rival, load) == ABLATED:
            arms += [(arm, SHARE) for arm in (*ABLATIONS, *BOUNDS)]
        found += [Cell(workload, rival, load, arm, share, seed, duration_s) for arm, share in arms]
    return found


def run_cell(cell: Cell) -> Row:
    settle_s = SETTLED * cell.duration_s
    made, asked = traffic(WORKLOADS[cell.workload], cell.rate, cell.seed, cell.duration_s, settle_s)
    outcome = play(ARMS_OF_TIERS[cell.arm], made, asked, cell.share, spread(), cell.seed)
    return {**asdict(cell), "rate": cell.rate, **_figures(outcome, settle_s, cell.duration_s)}


def run_cells(wanted: Iterable[Cell], jobs: int, done: Callable[[Cell], None]) -> list[Row]:
    """In the order of the cells, whoever is done first."""
    ordered = list(wanted)
    found: dict[Cell, Row] = {}
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(run_cell, cell): cell for cell in ordered}
        for future in as_completed(running):
            found[running[future]] = future.result()
            done(running[future])
    return [found[cell] for cell in ordered]


def capacity(workload: str, arm: str) -> float:
    """Conversations a second at which the arm, asked for SHARE, has a P90 of TTFT of LIMIT_S. From a seed of which
    nothing is reported.
    """
    known = WORKLOADS[workload].capacity[arm]

    def p90_s(rate: float) -> float:
        cell = Cell(workload, arm, rate / known, arm, SHARE, CALIBRATED_ON)
        return float(run_cell(cell)["ttft_p90_s"])

    at = [(rate, log(p90_s(rate) / LIMIT_S)) for rate in (0.9 * known, 1.15 * known)]
    for _ in range(SECANTS):
        (one, low), (other, high) = sorted(at, key=lambda found: abs(found[1]))[:2]
        rate = one - low * (other - one) / (high - low)
        at.append((rate, log(p90_s(rate) / LIMIT_S)))
    return min(at, key=lambda found: abs(found[1]))[0]


def _figures(outcome: Outcome, start_s: float, over_s: float) -> Row:
    """Of the requests that arrived while it was measured. One without its answer counts with the time that it has waited."""
    end_s = outcome.run.end_s
    measured = [(request, asked) for request, asked in outcome.asked if start_s <= request.arrived_s < over_s]
    count = len(measured)
    ttft = [_since(request, request.first_token_s, end_s) for request, _ in measured]
    e2e = [_since(request, request.finished_s, end_s) for request, _ in measured]
    strong = [asked.gain for request, asked in measured if request.view.model == LARGE.model]
    return {
        "requests": count,
        "quality": WEAK_QUALITY + sum(strong) / count,
        "retained": sum(strong) / sum(asked.gain for _, asked in measured),
        "strong_share": len(strong) / count,
        "usd_per_1000": 1000 * sum(outcome.usd(request) for request, _ in measured) / count,
        "ttft_p50_s": percentile(ttft, 50),
        "ttft_p90_s": percentile(ttft, 90),
        "e2e_p50_s": percentile(e2e, 50),
        "e2e_p90_s": percentile(e2e, 90),
        "lost": sum(bool(request.lost) for request, _ in measured),
        "unfinished": sum(request.finished_s is None for request, _ in measured),
    }


def _since(request: Request, moment_s: float | None, end_s: float) -> float:
    return (end_s if moment_s is None else moment_s) - request.arrived_s
