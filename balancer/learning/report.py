"""What evaluation and calibration came to, for people and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from balancer.learning.calibrate import Promise
from balancer.learning.evaluate import Evaluation
from balancer.learning.metrics import CPTS, FLOORS, Curve, Interval, Measures

_HEAD = ("", "APGR", *(f"CPT({part:.0%})" for part in CPTS), *(f"{floor:.0%} quality" for floor in FLOORS))


def as_json(evaluation: Evaluation, usd: Mapping[str, float], models: Sequence[str]) -> dict[str, Any]:
    weak, strong = float(evaluation.weak.mean()), float(evaluation.strong.mean())
    return {
        "router": evaluation.router,
        "split": evaluation.split,
        "rows": evaluation.rows,
        "quality": {models[0]: round(weak, 4), models[-1]: round(strong, 4)},
        "measured": _measures(evaluation.measures),
        "length": _measures(evaluation.length),
        "random": {
            "apgr": 0.5,
            "cpt": _parts(evaluation.chance, CPTS),
            "share_for_quality": _floors(evaluation.chance),
        },
        "oracle": {"apgr": round(evaluation.best.apgr, 4), "share_for_quality": _floors(evaluation.best)},
        "over_length": _interval(evaluation.over_length),
        "cost_for_quality": {
            f"{floor:g}": _cost(evaluation.measures.floors[floor].value, usd, models) for floor in FLOORS
        },
        "routable": evaluation.verdict.routable,
        "verdict": evaluation.verdict.why,
    }


def as_text(evaluation: Evaluation, usd: Mapping[str, float], models: Sequence[str]) -> str:
    """A table of the router beside its baselines, the costs, and the verdict in one sentence."""
    weak, strong = float(evaluation.weak.mean()), float(evaluation.strong.mean())
    first, last = models[0], models[-1]
    rows: list[Sequence[str]] = [
        _HEAD,
        _row(evaluation.router, evaluation.measures),
        _row("prompt length", evaluation.length),
        _baseline("random", evaluation.chance),
        _baseline("oracle", evaluation.best),
    ]
    lines = [
        f"{evaluation.rows} rows, {evaluation.split}; all {first} {weak:.3f}, all {last} {strong:.3f}",
        *_aligned(rows),
        "CPT, quality: the least share of strong calls that closes so much of the gap, or keeps so much of the strong model's",
        "quality. In brackets 95 % intervals.",
    ]
    if usd:
        shares = {floor: evaluation.measures.floors[floor].value for floor in FLOORS}
        costs = [
            f"{floor:.0%} quality for {_cost(share, usd, models):.0%}" for floor, share in shares.items()
        ]
        lines.append(
            f"of the cost of all {last}: {', '.join(costs)}; all {first} is {usd[first] / usd[last]:.0%}"
        )
    lines.append(evaluation.verdict.why)
    return "\n".join(lines)


def _baseline(name: str, curve: Curve) -> Sequence[str]:
    shares = [*(curve.cpt(part) for part in CPTS), *(curve.share_for(floor) for floor in FLOORS)]
    return (name, f"{curve.apgr:.3f}", *(f"{share:.0%}" for share in shares))


def share_sentence(share: float, router: str, threshold: float) -> str:
    """RouteLLM's, which people look for."""
    return f"For {share * 100:.1f}% strong model calls for {router}, threshold = {threshold:.5f}"


def floor_sentence(floor: float, promise: Promise, router: str) -> str:
    step = promise.step
    if not promise.proven:
        return (
            f"For {floor:.0%} of the strong model's quality for {router}, threshold = {step.threshold:.5f}: all strong;"
            f" {promise.rows} rows prove no smaller share at 95 %"
        )
    return (
        f"For {floor:.0%} of the strong model's quality for {router}, threshold = {step.threshold:.5f}: {step.share:.1%}"
        f" strong model calls, which keep {step.kept:.1%} (at least {step.low:.1%} with 95 % confidence, {promise.rows} rows)"
    )


def _cost(share: float, usd: Mapping[str, float], models: Sequence[str]) -> float:
    """Of the cost of all strong. Without prices the weak model is taken as free."""
    ratio = usd[models[0]] / usd[models[-1]] if usd else 0.0
    return round(share + (1 - share) * ratio, 4)


def _measures(measures: Measures) -> dict[str, Any]:
    return {
        "apgr": _interval(measures.apgr),
        "cpt": {f"{part:g}": _interval(each) for part, each in measures.cpt.items()},
        "share_for_quality": {f"{floor:g}": _interval(each) for floor, each in measures.floors.items()},
    }


def _interval(interval: Interval) -> list[float | None]:
    return [round(v, 4) if v == v else None for v in (interval.value, interval.low, interval.high)]  # noqa: PLR0124 - NaN


def _parts(curve: Curve, parts: Sequence[float]) -> dict[str, float]:
    return {f"{part:g}": round(curve.cpt(part), 4) for part in parts}


def _floors(curve: Curve) -> dict[str, float]:
    return {f"{floor:g}": round(curve.share_for(floor), 4) for floor in FLOORS}


def _row(name: str, measures: Measures) -> Sequence[str]:
    shares = [*measures.cpt.values(), *measures.floors.values()]
    return (
        name,
        str(measures.apgr),
        *(f"{each.value:.0%} [{each.low:.0%}, {each.high:.0%}]" for each in shares),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
