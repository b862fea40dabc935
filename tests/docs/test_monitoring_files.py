"""Rules, alerts, boards and runbook speak of series that there are, and of each other. What needs Prometheus is in
tests/monitoring.
"""

import re
from pathlib import Path

import pytest
import yaml

from balancer.accounting.reference import families, page, sample_names, table
from deploy.grafana.boards import annotations, boards

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text("utf-8"))["groups"][0]["rules"]
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text("utf-8"))["tests"]
RUNBOOK = (FOLDER / "RUNBOOK.md").read_text("utf-8")

NAME = re.compile(r"(?<![\w:])balancer_\w+")
EXPRESSIONS = {
    **{rule["record"]: rule["expr"] for rule in RULES},
    **{alert["alert"]: alert["expr"] for alert in ALERTS},
    **{mark["name"]: mark["expr"] for mark in annotations()},
    **{
        f"{board.name}/{panel.title}": " ".join(expr for _, expr in panel.queries)
        for board in boards()
        for panel in board.panels
    },
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_series_is_one_of_ours(name):
    known = set(sample_names())
    assert [each for each in NAME.findall(EXPRESSIONS[name]) if each not in known] == []


def test_labels_that_are_asked_for_are_there():
    labels = {family.sample_name: set(family.labels) for family in families()}
    for name, expr in EXPRESSIONS.items():
        for metric, chosen in re.findall(r"(balancer_\w+)\{([^}]*)\}", expr):
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            asked = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", chosen))
            known = labels.get(metric) or labels.get(base)
            assert known is None or asked <= known | {"job", "instance", "le"}, (name, metric)


def test_recorded_rules_that_alerts_use_are_recorded():
    recorded = {rule["record"] for rule in RULES}
    used = {name for alert in ALERTS for name in re.findall(r"balancer:[\w:]+", alert["expr"])}
    assert used <= recorded


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do_and_is_tested(alert):
    name = alert["alert"]
    entry = RUNBOOK.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert len(entry.strip()) > 80
    assert f"({alert['labels']['severity']})" in entry
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook_url"].endswith(f"/deploy/prometheus/RUNBOOK.md#{name.lower()}")
    (test,) = [each for each in TESTS if each["name"] == name]
    silent, fires = test["alert_rule_test"]
    assert silent["exp_alerts"] == []
    assert len(fires["exp_alerts"]) == 1


def test_the_runbook_has_no_entry_without_an_alert():
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_the_reference_is_current():
    """scripts/generate-metrics-reference writes it."""
    assert (ROOT / "balancer" / "accounting" / "METRICS.md").read_text("utf-8") == page()
    assert table() in (ROOT / "README.md").read_text("utf-8")


def test_every_family_has_a_name_of_its_own_and_a_sentence():
    names = [family.name for family in families()]
    assert len(set(names)) == len(names)
    assert all(family.help.endswith(".") for family in families())
