"""The plot: well-formed, a panel for each workload, a line for each arm, and larger is higher."""

from math import log10
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.report import write_json
from benchmarks.simulator.comparison import Averages
from benchmarks.simulator.plot import svg
from tests.benchmarks.xml_of import xml_of

SVG = "{http://www.w3.org/2000/svg}"
P90S = {
    "predicted_latency": (0.2, 0.4), "session": (2.0, 40.0), "random": (1.0, 30.0), "round_robin": (0.9, 25.0),
    "least_requests": (0.8, 20.0), "cache_aware": (0.3, 1.0), "preble_e2": (0.4, 2.0), "lmetric": (0.5, 3.0),
    "lmetric_np": (0.1, 0.2), "oracle2": (0.1, 0.2),
}  # fmt: skip
ROWS = [
    {
        "workload": workload, "load": load, "variant": "", "stage": "", "arm": arm, "seed": 1, "ttft_p90_s": p90,
    }
    for workload in ("chat", "agents")
    for arm, p90s in P90S.items()
    for load, p90 in zip((0.5, 1.0), p90s, strict=True)
]  # fmt: skip


def groups(text: str) -> list[ET.Element]:
    return xml_of(text).findall(f"{SVG}g")


def panels(text: str) -> list[ET.Element]:
    return groups(text)[:-1]


def lines(panel: ET.Element) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for group in panel.findall(f"{SVG}g"):
        points = group.find(f"{SVG}polyline").get("points").split()
        found[group.find(f"{SVG}title").text] = [tuple(map(float, point.split(","))) for point in points]
    return found


def test_every_workload_has_a_panel_and_every_arm_a_line_in_it():
    text = svg(Averages(ROWS))
    assert [panel.find(f"{SVG}text").text for panel in panels(text)] == ["chat", "agents"]
    for panel in panels(text):
        drawn = lines(panel)
        assert set(drawn) == set(P90S)
        assert list(drawn)[-1] == "predicted_latency"  # on top
    legend = "".join(groups(text)[-1].itertext())
    assert all(arm in legend for arm in P90S)


def test_points_stand_in_logarithmic_proportion_and_in_the_order_of_loads():
    drawn = lines(panels(svg(Averages(reversed(ROWS))))[0])
    (x1, low), (x2, high) = drawn["session"]
    assert x1 < x2
    (_, one), (_, other) = drawn["predicted_latency"]
    assert (low - high) / log10(20) == pytest.approx((one - other) / log10(2), rel=0.01)
    assert low > high  # up is slower


def test_the_bound_ends_where_it_is_none():
    assert len(lines(panels(svg(Averages(ROWS)))[0])["oracle2"]) == 1


def test_an_arm_without_a_figure_leaves_a_gap():
    rows = [{**row, "ttft_p90_s": None} if row["arm"] == "random" else row for row in ROWS]
    assert lines(panels(svg(Averages(rows)))[0])["random"] == []


def test_the_command_draws_a_kept_result(tmp_path):
    figures = ("ttft_p50_s", "ttft_p99_s", "e2e_p90_s", "hit_rate", "output_tokens_per_s", "unfinished")
    rows = [{**dict.fromkeys(figures, 1.0), **row} for row in ROWS]
    kept, drawn = tmp_path / "r.json", tmp_path / "new" / "r.svg"
    write_json(
        kept, {"benchmark": "simulate", "fingerprint": {}, "plan": {"suite": "policies"}, "rows": rows}
    )
    ran = CliRunner().invoke(app, ["simulate", "--render", str(kept), "--plot", str(drawn)])
    assert ran.exit_code == 0, ran.output
    assert len(panels(drawn.read_text(encoding="utf-8"))) == 2
