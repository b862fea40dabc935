import asyncio
import json

import pytest
from aiohttp import web
from typer.testing import CliRunner

from balancer.core.admission import Line
from balancer.core.fleet.fleet import Fleet
from balancer.core.scheduling import RoundRobin
from benchmarks.__main__ import app
from benchmarks.backend import serving
from benchmarks.goals import Status
from benchmarks.load.client import Client
from benchmarks.load.loops import closed_loop
from benchmarks.overhead.aiohttp_proxy import make_app
from benchmarks.overhead.arms import OBSERVATION, chosen
from benchmarks.overhead.bodies import BODIES, requests
from benchmarks.overhead.figures import GOALS, figures, spoiled, tables, verdicts
from benchmarks.overhead.rows import Cost, Latency, ManyStreams, Measured
from benchmarks.overhead.unobserved import Unobserved


def cost(arm, body, repeat, cpu_us, errors=None):
    return Cost(
        arm=arm,
        body=body,
        repeat=repeat,
        answers=100,
        errors=errors or {},
        requests_per_s=1000.0,
        reads_per_answer=128.0,
        cpu_us_per_request=cpu_us,
        cpu_source="schedstat",
    )


def streams(arm, count, lost, cpu_us, growth):
    errors = {"connection lost": lost} if lost else {}
    return ManyStreams(arm, count, lost, errors, 1000, cpu_us, "schedstat", growth)


def result(measured):
    arms = ("direct", "balancer/cache_aware", "nginx", "vllm-router/cache_aware")
    return {
        "figures": figures(measured),
        "spoiled": sorted(spoiled(measured)),
        "arms": {arm: {"version": None, "trouble": None} for arm in arms},
        "plan": {"many_streams": 2000},
    }


def verdict_of(measured, figure, reference=None):
    (found,) = [
        verdict
        for verdict in verdicts(result(measured))
        if verdict.goal.figure == figure and (reference is None or verdict.goal.reference == reference)
    ]
    return found


OURS = "balancer/cache_aware"
PEER = "vllm-router/cache_aware"


def test_figures_are_medians_over_repeats():
    measured = Measured(
        costs=[cost("nginx", "stream", repeat, cpu) for repeat, cpu in enumerate((1280, 2560, 9000))]
    )

    found = figures(measured)

    assert found["cpu_us/nginx/stream"] == 2560
    assert found["cpu_us_per_chunk/nginx"] == 20
    assert found["chunks_per_read/nginx"] == 1


def test_added_latency_is_against_the_direct_way_of_the_same_repeat():
    rows = [
        Latency("direct", "small", 0, 300.0, {}, [0.001] * 10),
        Latency("nginx", "small", 0, 300.0, {}, [0.003] * 10),
        Latency("direct", "small", 1, 300.0, {}, [0.011] * 10),
        Latency("nginx", "small", 1, 300.0, {}, [0.013] * 10),
    ]

    found = figures(Measured(latencies=rows))

    assert found["added_p50_ms/nginx/small"] == pytest.approx(2.0)
    assert found["p99_ms/nginx/small"] == pytest.approx(8.0)
    assert "added_p50_ms/direct/small" not in found


def test_a_goal_against_a_peer():
    measured = Measured(costs=[cost(OURS, "small", 0, 60), cost(PEER, "small", 0, 100)])

    found = verdict_of(measured, f"cpu_us/{OURS}/small")

    assert (found.status, found.value) == (Status.MET, 0.6)
    assert verdict_of(measured, f"cpu_us/{OURS}/8k").status is Status.NOT_MEASURED


def test_errors_of_ours_miss_the_goal_and_errors_of_a_peer_unmake_it():
    bad = {"status 503": 1}
    ours = Measured(costs=[cost(OURS, "small", 0, 60, bad), cost(PEER, "small", 0, 100)])
    peer = Measured(costs=[cost(OURS, "small", 0, 60), cost(PEER, "small", 0, 100, bad)])

    assert verdict_of(ours, f"cpu_us/{OURS}/small").status is Status.MISSED
    assert verdict_of(peer, f"cpu_us/{OURS}/small").status is Status.NOT_MEASURED


def test_many_streams_are_set_beside_few():
    rows = [streams(OURS, 16, 0, 10.0, 0), streams(OURS, 2000, 0, 12.0, 2000 * 32 * 1024)]

    measured = Measured(streams=rows)

    assert verdict_of(measured, f"streams_lost/{OURS}").status is Status.MET
    assert verdict_of(measured, f"streams_kib/{OURS}").value == 32
    assert verdict_of(measured, f"streams_cpu_ratio/{OURS}").value == pytest.approx(1.2)


def test_a_lost_stream_misses_all_three_goals():
    rows = [streams(OURS, 16, 0, 10.0, 0), streams(OURS, 2000, 1, 10.0, 0)]

    measured = Measured(streams=rows)

    assert {verdict.status for verdict in verdicts(result(measured)) if "streams" in verdict.goal.figure} == {
        Status.MISSED
    }


def test_tables_hold_a_row_for_each_arm_measured_or_not():
    rows = [streams(OURS, 16, 0, 10.0, 0), streams(OURS, 2000, 0, 12.0, 0)]
    measured = Measured(costs=[cost("nginx", "small", 0, 42.4)], streams=rows)

    cpu, latency, many = tables(result(measured))

    assert [row[0] for row in cpu.rows] == ["direct", OURS, "nginx", PEER]
    assert cpu.rows[2][1] == "42"
    assert cpu.rows[1][1] is None
    assert len(latency.rows) == 4
    assert [row[0] for row in many.rows] == [OURS]


def test_arms_are_chosen_by_name_or_by_family():
    assert [arm.name for arm in chosen(["nginx", "balancer"])] == [
        "balancer/round_robin",
        "balancer/cache_aware",
        "nginx",
    ]
    with pytest.raises(ValueError, match=r"--arms: expected some of .* got 'ngnix'"):
        chosen(["ngnix"])


def run(*arguments):
    return CliRunner().invoke(app, ["overhead", *arguments])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--arms", "ngnix"), "--arms: expected some of"),
        (("--bodies", "huge"), "--bodies: expected some of"),
        (("--render", "/no/such.json"), "expected a result of"),
    ],
)
def test_a_bad_option_is_told_in_words(arguments, told):
    done = run(*arguments)

    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", "").split())


def test_check_fails_on_a_missed_goal_and_only_then(tmp_path):
    path = tmp_path / "result.json"
    for cpu_us, code in ((60, 0), (90, 1)):
        kept = result(Measured(costs=[cost(OURS, "small", 0, cpu_us), cost(PEER, "small", 0, 100)]))
        path.write_text(json.dumps(kept | {"benchmark": "overhead", "fingerprint": {}}))

        assert run("--render", str(path), "--check").exit_code == code
        assert run("--render", str(path)).exit_code == 0


def test_every_goal_has_a_title_of_its_own():
    assert len({goal.title for goal in GOALS}) == len(GOALS)


def test_the_plain_proxy_passes_every_body_unharmed():
    async def main():
        async with serving(0) as one, serving(0) as two:
            runner = web.AppRunner(make_app([f"http://127.0.0.1:{port}" for port in (one, two)]))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = site._server.sockets[0].getsockname()[1]
            client = Client(port)
            try:
                return [
                    await closed_loop(
                        client, requests(body, port), connections=4, duration_s=20, max_requests=12
                    )
                    for body in BODIES.values()
                ]
            finally:
                client.close()
                await runner.cleanup()

    for tally in asyncio.run(main()):
        assert (tally.answers, tally.errors) == (12, {})


def test_a_run_from_the_command_line(tmp_path):
    path = tmp_path / "result.json"
    short = ("--duration", "1", "--repeats", "1", "--no-connections-test")

    done = run("--arms", "direct,aiohttp", "--bodies", "small", *short, "--json", str(path))

    assert done.exit_code == 0, done.output
    kept = json.loads(path.read_text())
    assert kept["arms"]["aiohttp"]["trouble"] is None
    assert kept["figures"]["errors/aiohttp"] == 0
    assert 10 < kept["figures"]["cpu_us/aiohttp/small"] < 100_000
    assert "cpu_us/direct/small" not in kept["figures"]
    assert "not measured" in done.output


def watched(*arms):
    """Costs of a request, by arm."""
    costs = [cost(arm, body, 0, cpu) for arm, cpu in arms for body in BODIES]
    measured = Measured(costs=costs)
    names = {arm.name: {"version": None, "trouble": None} for arm in OBSERVATION}
    return result(measured) | {"arms": names}


def test_what_telling_costs_has_goals_of_its_own():
    found = verdicts(watched(("observed", 114.0), ("counted", 104.0), ("unobserved", 100.0)))
    assert {verdict.goal.title: verdict.status for verdict in found} == {
        "CPU per request, small, all on to all off": Status.MET,
        "CPU per request, 8k, all on to all off": Status.MET,
        "CPU per chunk, paced, all on to all off": Status.MISSED,
        "CPU per chunk, as fast as it goes, all on to all off": Status.MISSED,
    }
    assert found[0].value == pytest.approx(1.14)
    arms = {"observed": 114.0, "journaled": 108.0, "counted": 104.0, "unobserved": 100.0}
    (cpu, *_) = tables(watched(*arms.items()))
    assert [row[0] for row in cpu.rows] == list(arms)


def test_the_unobserved_balancer_counts_nothing():
    fleet = Fleet()
    blind = Unobserved(fleet, "round_robin", Line(fleet, RoundRobin()))
    blind.add(None)
    blind.attempted("r0", "cached", "answered")
    assert b"balancer_" not in blind.render("")[0]


def test_a_run_of_what_telling_costs(tmp_path):
    path = tmp_path / "result.json"
    done = run("--observability", "--bodies", "small", "--quick", "--json", str(path))
    assert done.exit_code == 0, done.output
    kept = json.loads(path.read_text())
    assert list(kept["arms"]) == ["observed", "journaled", "counted", "unobserved"]
    assert [arm["trouble"] for arm in kept["arms"].values()] == [None] * 4
    assert all(kept["figures"][f"errors/{arm}"] == 0 for arm in kept["arms"])
    assert "all on to all off" in done.output
