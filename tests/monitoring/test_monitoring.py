"""Real Prometheus reads what the demo's processes tell, by the files of deploy/: every query of every panel has an answer.

Run by scripts/test-monitoring. MONITORING_PICTURES names a folder for pictures of the boards.
"""

import asyncio
import json
import math
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from deploy.grafana.boards import HERE, annotations, boards
from deploy.grafana.picture import picture
from tests.monitoring.stage import PROMETHEUS, WINDOW_S, play, staged

pytestmark = [pytest.mark.monitoring, pytest.mark.timeout(170)]

ALERTS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))["groups"][0]["rules"]
PANELS = {f"{board.name}/{panel.title}": panel for board in boards() for panel in board.panels}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with staged(tmp_path_factory.mktemp("monitoring")) as stage:
        asyncio.run(play(stage))
        yield stage


def asked(stage, path, **arguments):
    url = f"http://127.0.0.1:{stage.prometheus}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    return told["data"]


def series(stage, expr):
    """As a panel would have it that shows all of the run: labels and points."""
    for name, value in {"$model_name": ".*", "$replica": ".*", "$__rate_interval": f"{WINDOW_S}s"}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    found = asked(stage, "query_range", query=expr, start=stage.began_s, end=stage.ended_s, step=1)["result"]
    return [(each["metric"], [(float(at), float(value)) for at, value in each["values"]]) for each in found]


def finite(found):
    return [value for _, points in found for _, value in points if math.isfinite(value)]


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_has_something_to_show(stage, name):
    panel = PANELS[name]
    assert panel.event in {"", *stage.happened}
    for legend, expr in panel.queries:
        values = finite(series(stage, expr))
        assert values, f"{legend}: {expr}"
        if panel.event:
            assert max(values) > 0, f"{legend}: {expr}"


@pytest.mark.parametrize("mark", annotations(), ids=lambda mark: mark["name"])
def test_what_is_marked_on_panels_happened(stage, mark):
    assert finite(series(stage, mark["expr"]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["record"])
def test_a_recorded_rule_has_values(stage, rule):
    assert finite(series(stage, rule["record"]))


def test_both_jobs_are_scraped_whole(stage):
    up = {(metric["job"], metric["instance"]): points[-1][1] for metric, points in series(stage, "up")}
    assert len(up) == 1 + len(stage.replicas)
    assert set(up.values()) == {1}


def test_what_went_wrong_was_alerted(stage):
    rules = asked(stage, "rules", type="alert")["groups"][0]["rules"]
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in ALERTS}
    assert {rule["health"] for rule in rules} == {"ok"}
    pending = {metric["alertname"] for metric, _ in series(stage, "ALERTS")}
    assert {"BalancerRefuses", "BalancerReplicaOut"} <= pending, pending


def test_the_first_errors_are_seen(stage):
    """They are in no series before, so that the series must have been there."""
    (panel,) = [panel for panel in PANELS.values() if panel.title == "Errors"]
    assert max(finite(series(stage, panel.queries[0][1]))) > 0.05


def test_the_default_policy_was_served_to_two_tenants(stage):
    told = series(stage, 'sum by (tenant) (balancer_tokens_total{kind="output"})')
    assert {metric["tenant"]: points[-1][1] > 0 for metric, points in told} == {"search": True, "chat": True}


def test_the_dashboards_ask_what_the_panels_say():
    for board in boards():
        document = json.loads((HERE / "dashboards" / f"{board.uid}.json").read_text("utf-8"))
        shown = [panel for panel in document["panels"] if panel["type"] != "row"]
        assert [panel["title"] for panel in shown] == [panel.title for panel in board.panels]
        asks = [[target["expr"] for target in panel["targets"]] for panel in shown]
        assert asks == [[expr for _, expr in panel.queries] for panel in board.panels]


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_a_picture_of_each_board(stage, board, tmp_path):
    answers = {panel.title: [series(stage, expr) for _, expr in panel.queries] for panel in board.panels}
    drawn = picture(board, answers, stage.began_s)
    assert drawn.count("<polyline") >= sum(panel.kind != "heatmap" for panel in board.panels)
    path = Path(os.environ.get("MONITORING_PICTURES", tmp_path)) / f"{board.uid}.svg"
    path.write_text(drawn, "utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "rules.yml", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing(command):
    assert shutil.which("promtool"), (
        "promtool comes with Debian's prometheus: scripts/test-monitoring installs it"
    )
    done = subprocess.run(
        ["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
