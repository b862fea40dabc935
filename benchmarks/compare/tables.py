"""A comparison as tables: every arm of a cell with its noise, beside the subject, and beside what the simulator said. Pure."""

from collections.abc import Mapping, Sequence

from benchmarks.compare.judge import Measured
from benchmarks.compare.prediction import error
from benchmarks.compare.samples import E2E, FIGURES, TOKENS, TTFT, Arm, paired
from benchmarks.compare.statistics import Interval, interval, ratio, told, value_of
from benchmarks.report import Table, number
from benchmarks.reporting.tables import percent
from benchmarks.stats import median

_COLUMNS = (
    "TTFT P90 ms [95 %]",
    "beside",
    "predicted",
    "measured/predicted",
    "E2E P90",
    "beside",
    "tok/s",
    "beside",
    "hits",
    "unanswered",
    "runs",
)


def tables(measured: Measured, subject: str) -> list[Table]:
    """ "beside" is the arm's figure to the subject's."""
    found = []
    for (workload, load), arms in measured.items():
        rows = [
            (name, *_figures(arm, None if name == subject else arms.get(subject)))
            for name, arm in arms.items()
        ]
        found.append(Table(f"{workload} at load {load:g}, beside {subject}", ("arm", *_COLUMNS), rows))
    return found


def overviews(measured: Measured, arms: Sequence[str]) -> list[Table]:
    """TTFT P90 by load at a glance. In brackets: times the lowest of the other arms, so below 1 where the arm has the lowest."""
    found = []
    for workload in dict.fromkeys(name for name, _ in measured):
        cells = {load: cell for (name, load), cell in measured.items() if name == workload}
        values = {load: {arm: ttft_p90_ms(cell.get(arm)) for arm in arms} for load, cell in cells.items()}
        rows = [(arm, *(_beside_lowest(arm, cell) for cell in values.values())) for arm in arms]
        title = f"{workload}: TTFT P90 in ms by load (times the lowest of the others)"
        found.append(Table(title, ("arm", *(f"{load:g}" for load in cells)), rows))
    return found


def ttft_p90_ms(arm: Arm | None) -> float | None:
    """Over all repeats together."""
    return None if arm is None else value_of(list(arm.series[TTFT].values()), FIGURES[TTFT])


def _beside_lowest(arm: str, values: Mapping[str, float | None]) -> str | None:
    value = values[arm]
    lowest = min((each for other, each in values.items() if other != arm and each), default=None)
    if value is None:
        return None
    return f"{value:,.0f}" if lowest is None else f"{value:,.0f} ({value / lowest:.2f})"


def _figures(arm: Arm, subject: Arm | None) -> list[str | None]:
    ttft = interval(list(arm.series[TTFT].values()), FIGURES[TTFT])
    e2e, tokens = (interval(list(arm.series[name].values()), FIGURES[name]) for name in (E2E, TOKENS))
    beside = {
        name: None if subject is None else told(ratio(*paired(arm, subject, name), FIGURES[name]))
        for name in FIGURES
    }
    predicted = median([value for value in map(_predicted, arm.rows.values()) if value is not None])
    return [
        _with_noise(ttft),
        beside[TTFT],
        number(predicted),
        number(error(None if ttft is None else ttft.value, predicted), 2),
        number(None if e2e is None else e2e.value),
        beside[E2E],
        number(None if tokens is None else tokens.value),
        beside[TOKENS],
        percent(_hit_rate(arm)),
        f"{arm.unanswered_share:.1%}" if arm.unanswered else "0",
        str(len(arm.rows)),
    ]  # fmt: skip


def _hit_rate(arm: Arm) -> float | None:
    """As the engines counted it, warm-up too."""
    told = [row.get("engine_hit_rate") for row in arm.rows.values()]
    return median([rate for rate in told if rate is not None])


def _predicted(row: Mapping[str, object]) -> float | None:
    prediction = row.get("prediction")
    value = prediction.get("p90_ttft_ms") if isinstance(prediction, dict) else None
    return value if isinstance(value, float) else None


def _with_noise(found: Interval | None) -> str | None:
    if found is None or found.low is None or found.high is None:
        return None if found is None else number(found.value)
    return f"{found.value:,.0f} [{found.low:,.0f}, {found.high:,.0f}]"
