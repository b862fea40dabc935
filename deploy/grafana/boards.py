"""The dashboards: boards/*.yaml say what they show, and this makes Grafana's JSON of it, with grafana-foundation-sdk.

In a board's file a panel has `queries` (legend: PromQL) or `quantiles` of a histogram. <M> and <R> stand for the selected models
and replicas, <rate> for Grafana's interval. `event` names what must happen before a panel shows anything, beside requests
being answered. Spans are of 24 columns.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
NAMES = ("fleet", "routing", "latency", "tiers", "replica")
TITLES = {
    "fleet": "Fleet",
    "routing": "Routing and cache",
    "latency": "Latency",
    "tiers": "Tiers and cost",
    "replica": "Replica, GPU",
}

_SHORT = {"<M>": 'model_name=~"$model_name"', "<R>": 'replica=~"$replica"', "<rate>": "$__rate_interval"}
_SPANS = {"stat": 4, "timeseries": 8, "state": 12, "heatmap": 8}
_HEIGHTS = {"stat": 4}
_HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries` are legends and expressions."""

    title: str
    about: str
    kind: str
    unit: str
    span: int
    stacked: bool
    event: str
    queries: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    name: str
    title: str
    about: str
    rows: Sequence[Row]

    @property
    def uid(self) -> str:
        return f"balancer-{self.name}"

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def boards() -> list[Board]:
    return [
        _board(name, yaml.safe_load((HERE / "boards" / f"{name}.yaml").read_text("utf-8"))) for name in NAMES
    ]


def annotations() -> list[dict[str, str]]:
    told = yaml.safe_load((HERE / "annotations.yaml").read_text("utf-8"))
    return [each | {"expr": _whole(each["expr"])} for each in told]


def documents() -> dict[Path, str]:
    """Each file of dashboards/ and what stands in it."""
    return {HERE / "dashboards" / f"{board.uid}.json": _json(board) for board in boards()}


def _board(name: str, told: Mapping[str, Any]) -> Board:
    rows = [Row(row["title"], [_panel(panel) for panel in row["panels"]]) for row in told["rows"]]
    return Board(name, told["title"], told["about"], rows)


def _panel(told: Mapping[str, Any]) -> Panel:
    kind = told.get("kind", "timeseries")
    queries = told.get("queries", {}).items() if "queries" in told else _quantiles(**told["quantiles"])
    return Panel(
        told["title"],
        told.get("about", ""),
        kind,
        told.get("unit", "short"),
        told.get("span", _SPANS[kind]),
        told.get("stacked", False),
        told.get("event", ""),
        [(legend, _whole(expr)) for legend, expr in queries],
    )


def _quantiles(
    of: str, where: str = "", by: str = "", only: Sequence[int] = (50, 90, 99)
) -> Iterator[tuple[str, str]]:
    labels = f"le, {by}" if by else "le"
    chosen = f"{{{where}}}" if where else ""
    for percent in only:
        legend = f"{{{{{by}}}}}" if by else f"P{percent}"
        yield (
            legend,
            f"histogram_quantile(0.{percent}, sum by ({labels}) (rate({of}_bucket{chosen}[<rate>])))",
        )


def _whole(expr: str) -> str:
    for short, whole in _SHORT.items():
        expr = expr.replace(short, whole)
    return expr


# -- Grafana's JSON


def _json(board: Board) -> str:
    from grafana_foundation_sdk.builders import dashboard  # noqa: PLC0415 - who only reads the boards needs no SDK
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415
    from grafana_foundation_sdk.models import dashboard as models  # noqa: PLC0415

    source = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["vllm", "balancer"])
        .timezone("browser")
        .time("now-30m", "now")
        .refresh("10s")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, label, query in (
        ("model_name", "Model", "label_values(balancer_requests_total, model_name)"),
        ("replica", "Replica", "label_values(balancer_replica_healthy, replica)"),
    ):
        made.with_variable(
            dashboard.QueryVariable(name)
            .label(label)
            .query(query)
            .datasource(source)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
        )
    for each in annotations():
        made.annotation(
            dashboard.AnnotationQuery()
            .name(each["name"])
            .datasource(source)
            .enable(enable=True)
            .icon_color(each["colour"])
            .expr(each["expr"])
        )
    for name in NAMES:
        if name != board.name:
            made.link(
                dashboard.DashboardLink(TITLES[name])
                .type(models.DashboardLinkType.LINK)
                .url(f"/d/balancer-{name}")
                .keep_time(keep_time=True)
                .include_vars(include_vars=True)
            )
    numbers = count(1)
    for row in board.rows:
        made.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            made.with_panel(_built(panel, source).id(next(numbers)))
    document = json.loads(JSONEncoder(sort_keys=True, indent=1).encode(made.build()))
    for mark, each in zip(document["annotations"]["list"], annotations(), strict=True):
        mark["titleFormat"], mark["textFormat"] = (
            each["name"],
            each["text"],
        )  # of Prometheus; the SDK has no word for them
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _built(panel: Panel, source: Any) -> Any:
    from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, timeseries  # noqa: PLC0415
    from grafana_foundation_sdk.models import common as models  # noqa: PLC0415
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat  # noqa: PLC0415

    made = {"stat": stat, "timeseries": timeseries, "state": statetimeline, "heatmap": heatmap}[
        panel.kind
    ].Panel()
    made.title(panel.title).description(panel.about).datasource(source).unit(panel.unit)
    made.span(panel.span).height(_HEIGHTS.get(panel.kind, _HEIGHT))
    for number, (legend, expr) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number)).range()
        if panel.kind == "heatmap":
            query.format(PromQueryFormat.HEATMAP)
        made.with_target(query)
    if panel.kind == "timeseries":
        made.fill_opacity(20 if panel.stacked else 0).show_points(models.VisibilityMode.NEVER).min(0)
        made.legend(
            common.VizLegendOptions().show_legend(show_legend=True).placement(models.LegendPlacement.BOTTOM)
        )
        made.tooltip(
            common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING)
        )
        if panel.stacked:
            made.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL))
    elif panel.kind == "stat":
        made.graph_mode(models.BigValueGraphMode.AREA)
        made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return made
