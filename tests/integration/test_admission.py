"""Overload through the front door: who waits, in which order they go, and what those are told who may not."""

import asyncio

import pytest

from balancer import waiting_room
from balancer.core.fleet import replica as state_of_a_replica
from tests.accounting.test_metrics import total, value
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import CHAT, chat
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import METRICS
from tests.integration.test_holding import Desk, busy, held_are

ONE_SEAT = {"policy": "least_requests", "max_in_flight_per_replica": 1}
EVERY_POLICY = ["round_robin", "cache_aware", "predicted_latency"]


async def wait_as(front, texts, **headers):
    """One more client for each, whose requests wait, called by these texts."""
    clients = []
    for text in texts:
        client = await front.client()
        there = len(front.balancer.decider.line)
        client.send(chat(text), headers={name.replace("_", "-"): each for name, each in headers.items()})
        await held_are(front, there + 1)
        clients.append(client)
    return clients


async def served(desk, clients):
    """Each in turn; the texts, in the order in which the replicas got them."""
    for number in range(len(clients)):
        await desk.came(number + 1)
        assert len(desk.asked) == number + 1
        desk.answer(number)
    for client in clients:
        assert (await client.read()).status == 200
    return desk.texts()


@pytest.mark.parametrize("policy", EVERY_POLICY)
@on_both_loops
async def test_a_replica_gets_no_more_than_its_limit_under_any_policy(policy):
    async with cluster(2, policy=policy, max_in_flight_per_replica=1) as (front, replicas):
        desk = Desk(replicas)
        first = await busy(front, desk)
        waiting = await wait_as(front, "abcd")
        assert [state.in_flight for state in front.fleet] == [1, 1]
        assert sorted(desk.names()) == ["r0", "r1"]
        for number in range(6):
            await desk.came(number + 1)
            assert all(state.in_flight <= 1 for state in front.fleet)
            desk.answer(number)
        for client in first + waiting:
            assert (await client.read()).status == 200
        await until(front.idle)


@async_test
async def test_a_replica_may_have_a_limit_of_its_own():
    async with cluster(max_in_flight_per_replica=7) as (front, (replica,)):
        assert front.fleet[0].max_in_flight == 7
        own = {"url": replica.url, "name": "x", "max_in_flight": 2}
        async with balancing(own, max_in_flight_per_replica=7) as other:
            assert other.fleet[0].max_in_flight == 2


@on_both_loops
async def test_order_of_arrival_then_urgency():
    async with cluster(**ONE_SEAT) as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        clients += await wait_as(front, ["plain", "plain too"])
        clients += await wait_as(front, ["patient"], x_request_timeout="500")
        clients += await wait_as(front, ["hurried"], x_request_timeout="300")
        clients += await wait_as(front, ["low"], X_Vllm_Priority="5")
        clients += await wait_as(front, ["urgent"], X_Vllm_Priority="-5")
        in_body = await front.client()
        in_body.send(chat("urgent by its body", priority=-2))
        await held_are(front, 7)
        page = (await front.ask(target="/metrics")).body
        lengths = {
            name: value(page, "balancer_held_requests", model_name="m", priority=name)
            for name in ("high", "default", "low")
        }
        assert lengths == {"high": 2, "default": 4, "low": 1}
        order = await served(desk, [*clients, in_body])
        assert order[1:3] == ["urgent", "urgent by its body"]
        assert order[3:] == ["hurried", "patient", "plain", "plain too", "low"]
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_queue_drain_rate", model_name="m") > 0
        assert value(page, "balancer_held_requests", model_name="m", priority="default") == 0


@pytest.mark.parametrize("status", [503, 429])
@on_both_loops
async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(status):
    async with cluster(**ONE_SEAT, max_waiting=2, overload_status=status) as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        clients += await wait_as(front, "ab")
        refused = await front.ask(chat("c"))
        assert refused.status == status
        assert 1 <= int(refused.get("retry-after")) <= 60
        error = refused.json()["error"]
        assert error["code"] == status
        assert error["type"] == {503: "ServiceUnavailableError", 429: "RateLimitError"}[status]
        in_anthropics = await front.ask(chat("d", max_tokens=5), target="/v1/messages")
        assert in_anthropics.status == status
        assert in_anthropics.json()["error"]["type"] in {"overloaded_error", "rate_limit_error"}
        assert await served(desk, clients) == ["first", "a", "b"]
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_refused_total", model_name="m", reason="queue_full") == 2
        assert total(page, "balancer_held_seconds_count") == 2
        await until(front.idle)


@on_both_loops
async def test_a_full_queue_makes_room_for_a_higher_priority():
    async with cluster(**ONE_SEAT, max_waiting=2) as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        (stays, goes) = await wait_as(front, "ab")
        urgent = await front.client()
        urgent.send(chat("urgent", priority=-1))
        told = await goes.read()
        assert (told.status, told.get("retry-after") is not None) == (503, True)
        assert await served(desk, [*clients, stays, urgent]) == ["first", "urgent", "a"]


@on_both_loops
async def test_a_client_that_leaves_makes_room_at_once():
    async with cluster(**ONE_SEAT, max_waiting=2) as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        (stays, leaves) = await wait_as(front, "ab")
        await leaves.close()
        await held_are(front, 1)
        clients += await wait_as(front, "c")
        assert await served(desk, [*clients, stays]) == ["first", "a", "c"]


@on_both_loops
async def test_a_deadline_that_passes_in_the_queue_ends_the_waiting():
    async with cluster(**ONE_SEAT) as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        clients += await wait_as(front, "a")
        late = await front.ask(chat("late"), headers={"x-request-timeout": "0.1"})
        assert (late.status, late.json()["error"]["type"]) == (504, "GatewayTimeoutError")
        assert await served(desk, clients) == ["first", "a"]
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_refused_total", model_name="m", reason="deadline") == 1


@on_both_loops
async def test_the_longest_wait_is_bounded():
    async with cluster(**ONE_SEAT, max_wait_s=0.1) as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        late = await front.ask(chat("late"))
        assert (late.status, late.get("retry-after") is not None) == (503, True)
        assert await served(desk, clients) == ["first"]
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_refused_total", model_name="m", reason="waited_too_long") == 1


@pytest.mark.parametrize("by", ["key", "header"])
@on_both_loops
async def test_a_greedy_tenant_does_not_keep_another_waiting(by, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("greedy: k1\nmodest: k2\n")
    settings = {"api_key_file": keys} if by == "key" else {"tenant_header": "x-team"}
    who = [{"authorization": f"Bearer k{n}"} if by == "key" else {"x_team": str(n)} for n in (1, 2)]
    async with cluster(**ONE_SEAT, max_waiting=6, **settings) as (front, (replica,)):
        desk = Desk([replica])
        first = await front.client()
        first.send(chat("first"), headers={name.replace("_", "-"): each for name, each in who[0].items()})
        await desk.came(1)
        greedy = await wait_as(front, "abcdef", **who[0])
        modest = await front.client()
        modest.send(chat("modest"), headers={name.replace("_", "-"): each for name, each in who[1].items()})
        assert (await greedy.pop().read()).status == 503  # its last one made room
        await until(
            lambda: any(view.tenant in {"modest", "2"} for view in front.balancer.decider.line.requests())
        )
        order = await served(desk, [first, *greedy, modest])
        assert order.index("modest") <= 2
        assert [text for text in order if text != "modest"] == ["first", *"abcde"]


@pytest.mark.usefixtures("_no_tick")
@on_both_loops
async def test_a_retry_waits_where_all_are_at_their_limit_and_goes_first():
    async with cluster(2, **ONE_SEAT) as (front, replicas):
        desk = Desk(replicas)
        clients = await busy(front, desk)
        clients += await wait_as(front, "a")
        desk.asked[0][0].respond(500, {"error": "no"})
        await until(lambda: len(front.balancer.decider.line._retries) == 1)
        await desk.came(3)  # the seat that it left is another's now
        assert desk.texts()[2] == "a"
        desk.answer(1)
        await desk.came(4)
        assert desk.names()[3] == desk.names()[1]
        for number in (2, 3):
            desk.answer(number)
        for client in clients:
            assert (await client.read()).status == 200
        await until(front.idle)


@pytest.fixture
def _no_tick(monkeypatch):
    monkeypatch.setattr(waiting_room, "TICK_S", 3600.0)


FULL = METRICS.replace(b'waiting{engine="0"} 0.0', b'waiting{engine="0"} 3.0').replace(
    b'usage_perc{engine="0"} 0.0', b'usage_perc{engine="0"} 0.99'
)


@on_both_loops
async def test_a_full_engine_is_seen_in_its_metrics_and_stale_ones_hold_nobody_back(monkeypatch):
    async with cluster(policy="least_requests") as (front, (replica,)):
        desk = Desk([replica])
        clients = await busy(front, desk)
        replica.metrics = FULL
        await until(lambda: front.fleet[0].sample.kv_usage == 0.99)
        clients += await wait_as(front, "a")
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_replica_metrics_stale", replica="r0") == 0
        monkeypatch.setattr(state_of_a_replica, "SAMPLE_MAX_AGE_S", -1.0)
        await desk.came(2)
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_replica_metrics_stale", replica="r0") == 1
        for number in (0, 1):
            desk.answer(number)
        for client in clients:
            assert (await client.read()).status == 200


@async_test
async def test_nobody_waits_where_nobody_may():
    async with cluster(**ONE_SEAT, max_waiting=0) as (front, (replica,)):
        desk = Desk([replica])
        (first,) = await busy(front, desk)
        assert (await front.ask(chat("second"), target=CHAT)).status == 503
        desk.answer(0)
        assert (await first.read()).status == 200


@async_test
async def test_a_crowd_goes_through_a_few_seats():
    async with cluster(2, policy="least_requests", max_in_flight_per_replica=2) as (front, _):
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(front.ask(chat(str(number)))) for number in range(60)]
        assert {task.result().status for task in asking} == {200}
        await until(front.idle)
        assert len(front.balancer.decider.line) == 0
