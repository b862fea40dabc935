"""Figures, ratios and tables from requests and rows that are known."""

import pytest

from balancer.core.types import Decision, ReplicaId, RequestView, RouteKind
from balancer.embedded.engine import EngineRequest
from benchmarks.simulator.comparison import Averages, geometric_mean, pooled, tables, worst_over_oracle
from benchmarks.simulator.figures import figures
from benchmarks.simulator.request import Request
from benchmarks.simulator.simulation import Run
from benchmarks.simulator.suites import SUITES


def request(arrived_s, first_s, finished_s, *, cached=0, replica="r0", lost=""):
    made = Request(
        RequestView(RouteKind.CHAT, prompt_tokens=100), EngineRequest("x", 100, 50), arrived_s, lambda _: None
    )
    made.first_token_s, made.finished_s, made.lost = first_s, finished_s, lost
    made.cached_tokens = None if first_s is None else cached
    made.decision = Decision(ReplicaId(replica), "")
    return made


def test_figures_count_those_that_arrived_in_the_window_and_tokens_that_came_out_in_it():
    run = Run(
        [
            request(-1.0, 0.5, 1.0),  # before it, but its answer comes out in it
            request(0.0, 0.5, 2.0, cached=50),
            request(1.0, 2.5, 30.0, replica="r1"),
            request(2.0, None, None, replica="r1"),
            request(3.0, 4.0, None, lost="broken", replica="r1"),
        ],
        end_s=42.0,
    )
    told = figures(run, 0.0, 10.0, 2)
    assert (told.requests, told.unfinished, told.lost) == (4, 1, 1)
    assert told.ttft_p50_s == 1.5
    assert told.ttft_p90_s == 40.0  # still waiting after 40 s
    assert told.e2e_p90_s == 40.0
    assert told.hit_rate == 0.25
    assert told.output_tokens_per_s == 10.0
    assert told.imbalance == pytest.approx(4 / 3)


def test_a_window_without_requests_has_no_latency():
    told = figures(Run(end_s=1.0), 0.0, 1.0, 2)
    assert (told.requests, told.ttft_p90_s, told.hit_rate, told.imbalance) == (0, None, None, None)


def row(workload, load, arm, p90, *, seed=1, variant="", stage="", tokens=100.0):
    return {
        "workload": workload, "load": load, "arm": arm, "seed": seed, "variant": variant, "stage": stage,
        "requests": 10, "ttft_mean_s": p90, "ttft_p50_s": p90, "ttft_p90_s": p90, "ttft_p99_s": p90, "e2e_p90_s": p90,
        "hit_rate": 0.5, "output_tokens_per_s": tokens, "imbalance": 1.0, "unfinished": 0, "lost": 0,
    }  # fmt: skip


ROWS = [
    row("chat", 0.9, "predicted_latency", 1.0, seed=1),
    row("chat", 0.9, "predicted_latency", 3.0, seed=2),
    row("chat", 0.9, "random", 8.0),
    row("chat", 0.9, "round_robin", 4.0),
    row("chat", 0.9, "oracle2", 0.5),
    row("agents", 0.85, "predicted_latency", 8.0),
    row("agents", 0.85, "round_robin", 4.0),
    row("agents", 0.85, "oracle2", 4.0),
]


def test_a_ratio_is_of_the_mean_over_seeds_to_the_best_other_policy_that_is_no_oracle():
    averages = Averages(ROWS)
    chat = ("chat", 0.9, "", "")
    assert averages.figure(chat, "predicted_latency", "ttft_p90_s") == 2.0
    assert averages.over_best(chat, "predicted_latency", "ttft_p90_s") == 0.5
    assert averages.over_best(chat, "round_robin", "ttft_p90_s") == 2.0
    assert averages.over_oracle(chat, "predicted_latency", "ttft_p90_s") == 4.0
    assert (
        Averages([row("chat", 1.0, arm, 1.0) for arm in ("predicted_latency", "oracle2")]).over_oracle(
            ("chat", 1.0, "", ""), "predicted_latency", "ttft_p90_s"
        )
        is None
    )
    assert averages.over_best(chat, "predicted_latency", "output_tokens_per_s", max) == 1.0


def test_cells_are_pooled_by_geometric_mean_within_a_band_of_load():
    averages = Averages(ROWS)
    assert pooled(averages, "predicted_latency", "ttft_p90_s", lambda load: load < 1) == pytest.approx(
        1.0
    )  # 0.5 and 2
    assert pooled(averages, "predicted_latency", "ttft_p90_s", lambda load: load > 1) is None
    assert (
        pooled(averages, "random", "ttft_p90_s", lambda load: load < 1) is None
    )  # it was not run everywhere
    assert worst_over_oracle(averages, "predicted_latency") == 4.0


def test_a_geometric_mean_with_a_value_missing_is_missing():
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert geometric_mean([1.0, None]) is None
    assert geometric_mean([]) is None


def test_tables_show_every_cell_and_a_summary():
    found = tables({"plan": {"suite": "policies"}, "rows": ROWS})
    assert [table.columns[0] for table in found] == ["chat 0.9", "agents 0.85", "load"]
    assert [line[0] for line in found[0].rows] == ["predicted_latency", "random", "round_robin", "oracle2"]
    assert [line[0] for line in found[-1].rows] == ["predicted_latency", "random", "round_robin"]


def test_the_ladders_table_adds_what_client_and_tokenizer_take():
    rows = [row("ladder", 1.0, "predicted_latency", 0.1, stage=stage) for stage in ("fill", "3 qps")]
    (table,) = tables({"plan": {"suite": "ladder"}, "rows": rows})
    assert list(table.rows) == [("fill", "0.35"), ("3 qps", "0.35")]


def test_the_faults_table_shows_each_circumstance_over_the_same_without_it():
    rows = [
        row("chat", 0.9, "predicted_latency", 2.0),
        row("chat", 0.9, "predicted_latency", 3.0, variant="join", stage="after"),
    ]
    (table,) = tables({"plan": {"suite": "faults"}, "rows": rows})
    assert [line[1] for line in table.rows] == ["2.00 (1.00)", "3.00 (1.50)"]


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_a_suite_has_no_cell_twice_and_no_oracle_where_replicas_fail(suite):
    cells = suite.expand(suite.arms, suite.seeds)
    assert len(set(cells)) == len(cells)
    assert not [
        cell for cell in cells if cell.arm == "oracle2" and cell.variant in {"join", "restart", "throttle"}
    ]
