"""What is read beside the requests: health decides, every other page only informs."""

import pytest

from balancer.core.types import Health
from tests.accounting.test_metrics import value
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import METRICS, Replica, answers, silent

LONG = "x" * 4000


def reads(replica, page, more=3):
    """Whether so many further readings of a page have come."""
    start = sum(probe.target == page for probe in replica.probes)
    return lambda: sum(probe.target == page for probe in replica.probes) >= start + more


def garbage(connection, request):
    connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\x00\xff{[\n\x80")


@pytest.mark.parametrize(
    "script",
    [
        garbage,
        answers(404, b"gone"),
        answers(500, b"oops"),
        silent,
        lambda connection, request: connection.reset(),
        lambda connection, request: connection.write(b"SSH-2.0-x\r\n\r\n"),
        answers(200, b""),
        answers(200, b'{"data": [{"id": ' + b"[" * 2000),
    ],
    ids=["garbage", "404", "500", "silent", "reset", "no http", "empty", "deep"],
)
@pytest.mark.parametrize("page", ["/metrics", "/v1/models"])
@async_test
async def test_a_page_that_cannot_be_read_changes_nothing(page, script):
    async with cluster(metrics_timeout_s=0.1, health_timeout_s=0.1) as (front, (replica,)):
        state = front.fleet[0]
        replica.on_probe[page] = script
        await until(reads(replica, page))
        assert state.health is Health.HEALTHY
        assert state.models == {"m"}
        assert state.load(0.0) == 0
        assert (await front.ask(chat())).status == 200
        replica.models = [{"id": "m"}, {"id": "n"}]
        del replica.on_probe[page]
        await until(lambda: state.models == {"m", "n"})


@async_test
async def test_what_cannot_be_read_is_counted():
    async with cluster() as (front, (replica,)):
        replica.on_probe["/metrics"] = answers(404, b"")
        await until(reads(replica, "/metrics"))
        page = (await front.ask(target="/metrics")).body
        failures = "balancer_observer_failures_total"
        assert value(page, failures, observer="metrics", replica="r0") > 0
        assert value(page, failures, observer="health", replica="r0") == 0


@pytest.mark.parametrize(
    "script", [answers(503, b""), silent, lambda connection, request: connection.reset()]
)
@on_both_loops
async def test_a_replica_that_fails_its_probes_is_taken_out_and_comes_back(script):
    async with cluster(2, health_timeout_s=0.1) as (front, replicas):
        replicas[0].on_probe["/health"] = script
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        assert front.fleet[0].last_error
        for number in range(4):
            assert (await front.ask(chat(f"{number}" * 300))).json()["served_by"] == "r1"
        replicas[0].on_probe.clear()
        await until(lambda: front.fleet[0].health is Health.HEALTHY)


@async_test
async def test_one_failed_probe_is_none():
    async with cluster(health_failure_threshold=3) as (front, (replica,)):
        failures = 0

        def twice(connection, request):
            nonlocal failures
            failures += 1
            connection.respond(503 if failures % 3 else 200, b"")

        replica.on_probe["/health"] = twice
        await until(lambda: failures >= 9)
        assert front.fleet[0].health is Health.HEALTHY


@on_both_loops
async def test_a_restart_empties_the_index():
    async with cluster() as (front, (replica,)):
        state = front.fleet[0]
        index = front.balancer.decider.policy._index
        assert (await front.ask(chat(LONG))).status == 200
        assert index.held_blocks(state.slot) > 10
        replica.metrics = METRICS.replace(b"1000.0", b"2000.0")
        await until(lambda: index.held_blocks(state.slot) == 0)
        assert state.health is Health.HEALTHY


@on_both_loops
async def test_a_closed_port_empties_the_index():
    async with cluster(2) as (front, replicas):
        index = front.balancer.decider.policy._index
        name = (await front.ask(chat(LONG))).json()["served_by"]
        state = next(state for state in front.fleet if state.id == name)
        await replicas[int(name[1:])].stop()
        await until(lambda: state.health is Health.UNHEALTHY)
        assert index.held_blocks(state.slot) == 0


@async_test
async def test_the_engines_signals_arrive():
    async with cluster() as (front, (replica,)):
        replica.metrics = METRICS.replace(b'running{engine="0"} 0.0', b'running{engine="0"} 5.0')
        state = front.fleet[0]
        await until(lambda: state.sample and state.sample.running == 5)
        assert state.load(state.sample.taken_at) == 5


@async_test
async def test_models_are_refreshed():
    async with cluster() as (front, (replica,)):
        assert (await front.ask({**chat(), "model": "adapter"})).status == 404
        replica.models = [{"id": "m"}, {"id": "adapter", "parent": "m"}]
        await until(lambda: "adapter" in front.fleet[0].models)
        assert (await front.ask({**chat(), "model": "adapter"})).status == 200


@async_test
async def test_entries_of_a_list_that_are_no_models_are_left_out():
    async with cluster() as (front, (replica,)):
        replica.models = [{"id": 7}, {}, {"id": "m"}, {"id": "ok", "max_model_len": "long"}]
        await until(lambda: front.fleet[0].models == {"m", "ok"})
        assert {m["id"] for m in (await front.ask(target="/v1/models")).json()["data"]} == {"m", "ok"}


@async_test
async def test_a_replica_that_redirects_leads_nowhere():
    elsewhere = await Replica("elsewhere").start()
    async with cluster(health_failure_threshold=1) as (front, (replica,)):
        replica.on_probe["/health"] = answers(302, b"", [("Location", elsewhere.url + "/health")])
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        assert elsewhere.probes == []
    await elsewhere.stop()


@async_test
async def test_before_anything_is_known_requests_are_tried_all_the_same():
    replica = await Replica().start()
    for page in ("/health", "/v1/models", "/metrics"):
        replica.on_probe[page] = silent
    async with balancing(replica, wait_for=None) as front:
        await until(lambda: replica.probes)
        assert (await front.ask(target="/ready")).status == 503
        assert (await front.ask(chat())).status == 200
        assert front.fleet[0].health is Health.HEALTHY  # it answered
    await replica.stop()
