import asyncio
import json

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.goals import Status
from benchmarks.scrape.command import figures, tables, verdicts
from benchmarks.scrape.page import Written, counted, written
from benchmarks.scrape.streams import Gaps
from tests.accounting.test_metrics import read, value

PLAN = {"replicas": 3, "models": 2, "streams": 4, "windows": 1, "window_s": 0.5, "interval_s": 0.2}


def kept(*, page_s=0.02, quiet_s=0.04, scraped_s=0.04):
    page = Written(100, 10, [page_s, page_s], [page_s, page_s], [0.001, 0.003])
    seen = Gaps([quiet_s] * 200, [scraped_s] * 200, [0.05], 100)
    return {"benchmark": "scrape", "fingerprint": {}, "plan": PLAN, "figures": figures(page, seen)}


@pytest.mark.parametrize(
    ("given", "met"),
    [({}, [True, True]), ({"page_s": 0.06}, [False, True]), ({"scraped_s": 0.05}, [True, False])],
    ids=["fine", "slow page", "late chunks"],
)
def test_a_goal_is_missed_by_what_is_too_slow(given, met):
    assert [verdict.status is Status.MET for verdict in verdicts(kept(**given))] == met


def test_tables_show_what_was_measured():
    page, streams = tables(kept())
    assert ("written in, P50, ms", "20.0") in page.rows
    assert streams.rows == [
        ("quiet", "40.00", "40.00", "40.00", "200"),
        ("scraped", "40.00", "40.00", "40.00", "200"),
    ]


def test_every_replica_has_series_for_every_model():
    page = read(counted(3, 2).render("")[0])
    name = "balancer_time_to_first_token_seconds_count"
    assert len({labels for found, labels in page if found == name}) == 6


def test_the_page_of_a_small_fleet_is_written():
    found = written(3, 2, 4)
    assert found.series > 6 * 90
    assert len(found.took_s) == len(found.longest_s) == 4
    assert all(longest <= whole + 0.05 for longest, whole in zip(found.longest_s, found.took_s, strict=True))


def test_pieces_make_the_same_page_as_one_go():
    metrics = counted(2, 1)
    whole, content_type = metrics.render("")
    pieces, same_type = asyncio.run(metrics.page(""))
    assert content_type == same_type
    volatile = ("process_", "python_", "_age_seconds", "balancer_asyncio_tasks")

    def settled(page):
        return [line for line in page.decode().splitlines() if not any(part in line for part in volatile)]

    assert settled(pieces) == settled(whole)
    assert value(pieces, "balancer_replica_healthy", replica="gpu-00.cluster.internal:8000") == 1


def test_a_run_from_the_command_line(tmp_path):
    path = tmp_path / "result.json"
    small = ("--replicas", "3", "--models", "2", "--streams", "4", "--windows", "1", "--duration", "0.5")
    done = CliRunner().invoke(app, ["scrape", *small, "--interval", "0.2", "--json", str(path)])
    assert done.exit_code == 0, done.output
    got = json.loads(path.read_text())["figures"]
    assert got["gaps/quiet"] > 10
    assert got["gaps/scraped"] > 10
    assert got["scrapes"] >= 1
    again = CliRunner().invoke(app, ["scrape", "--render", str(path)])
    assert again.exit_code == 0
    assert "P99.9" in again.output
