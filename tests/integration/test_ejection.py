"""Replicas that fail behind a good /health, hang, sleep and come back, as clients of the front door meet it."""

import json

import pytest

from balancer.core.types import Fault, Health
from tests.accounting.test_metrics import value
from tests.embedded.replica_client import SLOW, replica
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import (
    DONE,
    LAST_CHUNK,
    METRICS,
    SSE_HEAD,
    answer,
    answers,
    chunk,
    event,
    silent,
    token,
)

OOPS = {"error": {"message": "CUDA error", "type": "InternalServerError", "code": 500}}
DEAD = {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
BUSY = {"error": {"message": "busy", "type": "ServiceUnavailableError", "code": 503}}
BY_TURNS = {"policy": "round_robin", "warmup_s": 0}


def probed(replica, more=5):
    start = len(replica.probes)
    return lambda: len(replica.probes) >= start + 3 * more


@on_both_loops
async def test_one_that_fails_behind_a_green_health_stays_out_and_costs_its_trials_only():
    async with cluster(2, ejection_s=60, **BY_TURNS) as (front, replicas):
        replicas[0].on_post = answers(500, OOPS)
        for number in range(40):
            assert (await front.ask(chat(str(number)))).json()["served_by"] == "r1"
            await until(probed(replicas[0], 1))
        assert len(replicas[0].posts) == 3
        state = front.fleet[0]
        assert (state.health, state.fault) == (Health.EJECTED, Fault.ERRORS)
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_replica_state", replica="r0", state="ejected") == 1
        assert value(page, "balancer_replica_state", replica="r0", state="healthy") == 0
        assert value(page, "balancer_replica_faults_total", replica="r0", reason="errors") == 1
        assert value(page, "balancer_replica_state_age_seconds", replica="r0") >= 0
        assert value(page, "balancer_panic", model_name="m") == 0


@async_test
async def test_one_whose_engine_says_that_it_is_dead_is_out_at_once_whatever_its_probe_says():
    async with cluster(2, ejection_s=60, **BY_TURNS) as (front, replicas):
        replicas[0].on_post = answers(500, DEAD)
        for number in range(10):
            assert (await front.ask(chat(str(number)))).json()["served_by"] == "r1"
            await until(probed(replicas[0], 1))
        assert len(replicas[0].posts) == 1
        assert front.fleet[0].fault is Fault.DEAD
        replicas[0].on_post = answer
        replicas[0].metrics = METRICS.replace(b"1000.0", b"2000.0")
        await until(lambda: front.fleet[0].health is Health.HEALTHY)


@async_test
async def test_it_is_back_with_its_first_answer_on_trial():
    async with cluster(2, ejection_s=0.05, **BY_TURNS) as (front, replicas):
        state = front.fleet[0]
        replicas[0].on_post = answers(500, OOPS)
        while state.ejections < 3:
            assert (await front.ask(chat())).status == 200
        replicas[0].on_post = answer
        while state.health is not Health.HEALTHY:
            assert (await front.ask(chat())).status == 200
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_replica_faults_total", replica="r0", reason="errors") == 1


@async_test
async def test_a_trial_is_one_request_at_a_time():
    async with cluster(2, ejection_s=0.05, policy="least_requests", warmup_s=0) as (front, replicas):
        state = front.fleet[0]
        replicas[0].on_post = answers(500, OOPS)
        while state.health is not Health.EJECTED:
            assert (await front.ask(chat())).status == 200
        replicas[0].on_post = silent
        sent = len(replicas[0].posts)
        await until(lambda: state.ejection.half_open(front.balancer._loop.time()))
        client = await front.client()
        client.send(stream())
        await until(lambda: len(replicas[0].posts) == sent + 1 or len(replicas[1].posts) > sent)
        for _ in range(10):
            assert (await front.ask(chat())).status == 200
        assert len(replicas[0].posts) == sent + 1


@pytest.mark.parametrize("status", [400, 404, 422, 429, 503])
@async_test
async def test_backpressure_and_clients_errors_eject_nobody(status):
    async with cluster(1) as (front, (replica,)):
        replica.on_post = answers(status, BUSY)
        for _ in range(12):
            assert (await front.ask(chat())).status == status
        assert front.fleet[0].health is Health.HEALTHY
        assert not front.fleet[0].faults
        replica.on_post = answer
        assert (await front.ask(chat())).status == 200


@async_test
async def test_overload_in_a_stream_ejects_nobody():
    async with cluster(2) as (front, replicas):
        for each in replicas:
            each.on_post = lambda connection, request: connection.write(
                SSE_HEAD, chunk(event(BUSY)), chunk(DONE), LAST_CHUNK
            )
        for _ in range(8):
            assert (await front.ask(stream())).status == 200
        assert all(state.health is Health.HEALTHY for state in front.fleet)


@async_test
async def test_the_only_replica_is_tried_however_often_it_fails():
    async with cluster(1, ejection_s=60) as (front, (replica,)):
        replica.on_post = answers(500, OOPS)
        for _ in range(6):
            assert (await front.ask(chat())).status == 500
        assert front.fleet[0].health is Health.EJECTED
        assert (await front.ask(target="/ready")).status == 200
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_panic", model_name="m") == 1
        replica.on_post = answer
        assert (await front.ask(chat())).status == 200


@async_test
async def test_an_engine_that_hangs_behind_a_green_health_gets_no_more_requests_and_is_back_when_it_answers():
    async with cluster(2, stall_s=0.3, **BY_TURNS) as (front, replicas):
        replicas[0].on_post = silent
        state = front.fleet[0]
        client = await front.client()
        client.send(stream())
        if not replicas[0].posts:
            await until(lambda: replicas[0].posts or replicas[1].posts)
        if not replicas[0].posts:
            await client.read()
            client.send(stream())
            await until(lambda: replicas[0].posts)
        await until(lambda: state.health is Health.EJECTED)
        assert state.fault is Fault.STALLED
        for _ in range(6):
            assert (await front.ask(chat())).json()["served_by"] == "r1"
        hung = next(c for c in replicas[0].open if c.requests == 1 and not c.sent_bytes)
        hung.write(SSE_HEAD, chunk(token("late")), chunk(DONE), LAST_CHUNK)
        await client.read()
        await until(lambda: state.health is Health.HEALTHY)
        assert front.idle()


@async_test
async def test_a_frozen_process_gets_no_more_requests():
    async with cluster(2, stall_s=0.3, metrics_timeout_s=0.05, health_interval_s=60, **BY_TURNS) as (
        front,
        replicas,
    ):
        state = front.fleet[0]
        replicas[0].on_post = silent
        replicas[0].on_probe["/metrics"] = silent
        clients = [await front.client() for _ in range(2)]
        for client in clients:
            client.send(stream())
        await until(lambda: state.health is Health.EJECTED)
        assert state.fault is Fault.STALLED
        for _ in range(4):
            assert (await front.ask(chat())).json()["served_by"] == "r1"


def one_token(request):
    return request.target == "/v1/completions" and json.loads(request.body)["max_tokens"] == 1


@async_test
async def test_a_probe_that_generates_finds_an_engine_that_hangs_and_is_no_traffic():
    async with cluster(2, health_probe="generate", health_timeout_s=0.1, **BY_TURNS) as (front, replicas):
        replicas[0].models = [{"id": "a-lora", "parent": "m"}, {"id": "m"}]
        await until(lambda: len(front.fleet[0].models) == 2)
        start = len(replicas[0].posts)
        await until(lambda: len(replicas[0].posts) > start + 3)
        assert all(one_token(request) for request in replicas[0].posts)
        assert {request.json()["model"] for request in replicas[0].posts} == {"m"}
        replicas[0].on_post = silent
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        assert front.fleet[0].fault is Fault.PROBE
        page = (await front.ask(target="/metrics")).body.decode()
        assert "balancer_requests_total{" not in page
        assert "balancer_attempts_total{" not in page
        replicas[0].on_post = answer
        await until(lambda: front.fleet[0].health is Health.HEALTHY)


@pytest.mark.parametrize("status", [404, 405, 429, 503])
@async_test
async def test_a_probe_that_generates_falls_back_to_health(status):
    async with cluster(1, health_probe="generate") as (front, (replica,)):
        replica.on_post = answers(status, BUSY)
        await until(lambda: len(replica.posts) >= 4)
        assert front.fleet[0].health is Health.HEALTHY
        replica.on_probe["/health"] = answers(500, b"")
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)


ASLEEP = METRICS + b'vllm:engine_sleep_state{engine="0",sleep_state="awake"} 0.0\n'


@on_both_loops
async def test_one_that_sleeps_gets_nothing_and_when_all_sleep_that_is_said_at_once():
    async with cluster(2) as (front, replicas):
        replicas[0].metrics = ASLEEP
        await until(lambda: front.fleet[0].health is Health.ASLEEP)
        for _ in range(4):
            assert (await front.ask(chat())).json()["served_by"] == "r1"
        replicas[1].metrics = ASLEEP
        await until(lambda: front.fleet[1].health is Health.ASLEEP)
        refused = await front.ask(chat())
        assert (refused.status, refused.get("retry-after")) == (503, "1")
        assert (await front.ask(target="/ready")).status == 503
        replicas[0].metrics = METRICS
        replicas[1].metrics = ASLEEP.replace(b"0.0\n", b"1.0\n")
        await until(lambda: front.fleet[1].health is Health.HEALTHY)
        assert (await front.ask(chat())).json()["served_by"] == "r1"


@async_test
async def test_a_replica_that_is_put_to_sleep_by_its_own_route():
    async with replica(dev_mode=True) as first, replica(dev_mode=True) as second:
        urls = [str(each.session._base_url).rstrip("/") for each in (first, second)]
        async with balancing(*urls) as front:
            state = front.fleet[0]
            index = front.balancer.decider.policy._index
            for text in ("a", "b", "c", "d"):
                assert (await front.ask(chat(text * 4000, max_tokens=2))).status == 200
            assert index.held_blocks(state.slot) > 10
            async with first.session.post("/sleep?level=2") as response:
                assert response.status == 200
            await until(lambda: state.health is Health.ASLEEP)
            assert index.held_blocks(state.slot) == 0
            assert (await first.get("/is_sleeping"))[1] == {"is_sleeping": True}
            async with first.session.get("/health") as response:
                assert response.status == 200
            for text in ("a", "b", "c", "d"):
                assert (await front.ask(chat(text * 4000, max_tokens=2))).status == 200
            async with first.session.post("/wake_up") as response:
                assert response.status == 200
            await until(lambda: state.health is Health.HEALTHY)


@async_test
async def test_a_replica_that_is_paused_shows_it_nowhere_but_in_standing_still():
    async with replica(dev_mode=True, **SLOW) as first, replica(dev_mode=True, **SLOW) as second:
        urls = [str(each.session._base_url).rstrip("/") for each in (first, second)]
        async with balancing(*urls, stall_s=0.6, **BY_TURNS) as front:
            await first.post("/pause")
            clients = [await front.client() for _ in range(2)]
            for client in clients:
                client.send(stream(max_tokens=2))
            await until(lambda: front.fleet[0].health is Health.EJECTED)
            assert front.fleet[0].fault is Fault.STALLED
            assert front.fleet[1].health is Health.HEALTHY
            await first.post("/resume")
            for client in clients:
                assert (await client.read()).complete
            await until(lambda: front.fleet[0].health is Health.HEALTHY)


@async_test
async def test_one_that_is_back_is_not_flooded():
    async with cluster(2, policy="least_requests", warmup_s=600, health_interval_s=0.02) as (front, replicas):
        await replicas[0].stop()
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        for each in replicas:
            each.on_post = silent
        clients = [await front.client() for _ in range(30)]
        for client in clients[:10]:
            client.send(stream())
        await until(lambda: front.fleet[1].in_flight == 10)
        await replicas[0].start()
        await until(lambda: front.fleet[0].health is Health.HEALTHY)
        for client in clients[10:]:
            client.send(stream())
        await until(lambda: sum(state.in_flight for state in front.fleet) == 30)
        assert 1 <= front.fleet[0].in_flight <= 5


@async_test
async def test_the_side_loops_tell_their_age():
    async with cluster(1) as (front, (replica,)):
        replica.on_probe["/metrics"] = silent
        page = (await front.ask(target="/metrics")).body
        for loop in ("health", "models", "metrics"):
            age = value(page, "balancer_loop_last_success_age_seconds", loop=loop, replica="r0")
            assert 0 <= age < 60
            assert value(page, "balancer_loop_restarts_total", loop=loop, replica="r0") == 0
        assert value(page, "balancer_loop_last_success_age_seconds", loop="idle_connections", replica="") >= 0
