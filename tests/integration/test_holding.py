"""Requests that are held in the balancer, through the front door: each gets its answer, or is told why not."""

import asyncio

import pytest

from balancer import waiting_room
from tests.accounting.test_metrics import total, value
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import on_both_loops, until
from tests.fakes.policies import hold
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, USAGE, answer, chunk, token

DEFAULT = {"model_name": "m", "priority": "default"}


class Desk:
    """Replicas that answer when they are told to."""

    def __init__(self, replicas):
        self.asked = []
        for replica in replicas:
            replica.on_post = lambda connection, request: self.asked.append((connection, request))

    def names(self):
        return [connection.replica.name for connection, _ in self.asked]

    def texts(self):
        return [request.json()["messages"][0]["content"] for _, request in self.asked]

    async def came(self, count):
        await until(lambda: len(self.asked) >= count)

    async def answer_all(self, count):
        """Each as soon as it is there."""
        for number in range(count):
            await self.came(number + 1)
            self.answer(number)

    def answer(self, number):
        answer(*self.asked[number])


async def held_are(front, count):
    await until(lambda: len(front.balancer.decider.line) == count)


async def holding(front, count):
    """So many more clients, each of whose requests is held; they are called by their number."""
    clients = [await front.client() for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(chat(str(number)))
        await held_are(front, number + 1)
    return clients


async def busy(front, desk):
    """One client for each replica, whose requests are under way."""
    clients = []
    for number in range(len(front.fleet)):
        client = await front.client()
        client.send(chat("first"))
        clients.append(client)
        await desk.came(number + 1)
    return clients


def nothing_left(front, policy):
    assert front.idle()
    assert len(front.balancer.decider.line) == 0
    assert not policy.waiting
    assert policy.told["waits"] == policy.told["waits_no_more"]


@pytest.fixture
def _no_tick(monkeypatch):
    """Whoever goes is sent by what happens, not by the passing of time."""
    monkeypatch.setattr(waiting_room, "TICK_S", 3600.0)


@pytest.mark.usefixtures("_no_tick")
@on_both_loops
async def test_who_is_held_goes_when_a_replica_is_free_in_the_order_of_arrival():
    async with cluster(2) as (front, replicas):
        policy, desk = hold(front), Desk(replicas)
        first = await busy(front, desk)
        held = await holding(front, 4)
        assert (await front.ask(target="/load")).json() == {"server_load": 6}
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_held_requests", **DEFAULT) == 4
        await desk.answer_all(6)
        for client in first + held:
            assert (await client.read()).status == 200
        assert desk.texts()[2:] == ["0", "1", "2", "3"]
        await until(front.idle)
        nothing_left(front, policy)
        page = (await front.ask(target="/metrics")).body
        assert value(page, "balancer_held_requests", **DEFAULT) == 0
        assert total(page, "balancer_held_seconds_count") == 4
        assert total(page, "balancer_held_seconds_sum") > 0


@pytest.mark.usefixtures("_no_tick")
@on_both_loops
async def test_a_first_token_is_heard_of_before_the_answer_ends():
    async with cluster() as (front, (replica,)):
        policy, desk = hold(front), Desk([replica])
        policy.release = lambda waiting, replicas, now: (
            None if replicas[0].pending_tokens else (waiting[0], waiting[0].decision._replace(wait=False))
        )
        client = await front.client()
        client.send(stream("first"))
        await desk.came(1)
        await holding(front, 1)
        connection, _ = desk.asked[0]
        connection.write(SSE_HEAD, chunk(ROLE))
        begun = await client.head()
        await client.more(begun)
        assert len(front.balancer.decider.line) == 1
        connection.write(chunk(token("a")))
        await desk.came(2)
        assert front.fleet[0].in_flight == 2
        connection.write(chunk(USAGE), chunk(DONE), LAST_CHUNK)
        assert (await client.read(begun)).complete


@pytest.mark.usefixtures("_no_tick")
@pytest.mark.parametrize("leave", ["close", "reset"])
@on_both_loops
async def test_a_client_that_leaves_takes_its_request_along(leave):
    async with cluster() as (front, (replica,)):
        policy, desk = hold(front), Desk([replica])
        (first,) = await busy(front, desk)
        stays, leaves, also_stays = await holding(front, 3)
        await leaves.close() if leave == "close" else leaves.reset()
        await held_are(front, 2)
        await desk.answer_all(3)
        for client in (first, stays, also_stays):
            assert (await client.read()).status == 200
        await until(front.idle)
        assert desk.texts() == ["first", "0", "2"]
        nothing_left(front, policy)
        page = (await front.ask(target="/metrics")).body.decode()
        assert 'code="499",ended_by="client",model_name="m"' in page


@on_both_loops
async def test_a_crowd_that_leaves_while_its_turn_comes():
    async with cluster(2) as (front, replicas):
        policy, desk = hold(front), Desk(replicas)
        await busy(front, desk)
        held = await holding(front, 20)
        for number in (0, 1):
            desk.answer(number)
        for client in held:
            client.reset()
        await until(front.idle)
        nothing_left(front, policy)
        assert (await front.ask(target="/health")).status == 200


@on_both_loops
async def test_draining_waits_for_those_who_are_held():
    async with cluster() as (front, (replica,)):
        policy, desk = hold(front), Desk([replica])
        first = await busy(front, desk)
        held = await holding(front, 2)
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(front.balancer.drain())
            await until(lambda: not front.balancer.listeners.is_open(front.balancer._server))
            for number in range(3):
                await desk.came(number + 1)
                assert not draining.done()
                desk.answer(number)
            for client in first + held:
                assert (await client.read()).status == 200
        nothing_left(front, policy)


@on_both_loops
async def test_patience_with_those_who_are_held_has_its_limit():
    async with cluster(drain_timeout_s=0.2) as (front, (replica,)):
        policy, desk = hold(front), Desk([replica])
        await busy(front, desk)
        (held,) = await holding(front, 1)
        async with asyncio.timeout(5):
            await front.balancer.drain()
            refused = await held.read()
            assert (refused.status, refused.get("connection")) == (503, "close")
        await until(front.idle)
        assert len(desk.asked) == 1
        nothing_left(front, policy)


@on_both_loops
async def test_when_a_replica_dies_those_who_were_held_for_it_go_elsewhere():
    async with cluster(2) as (front, replicas):
        policy, desk = hold(front), Desk(replicas)
        first = await busy(front, desk)
        held = await holding(front, 2)
        assert {waiting.decision.replica for waiting in policy.waiting} == {"r0", "r1"}
        alive = 1 - int(desk.names()[0][1])
        dead = replicas[1 - alive]
        await dead.stop()
        await desk.came(4)  # a retry does not wait: both of the dead one's went on at once
        for number in range(5):
            await desk.came(number + 1)
            if desk.asked[number][0].replica is not dead:
                desk.answer(number)
        for client in first + held:
            given = await client.read()
            assert (given.status, given.json()["served_by"]) == (200, f"r{alive}")
        await until(front.idle)
        nothing_left(front, policy)


@on_both_loops
async def test_when_all_replicas_die_everybody_is_told():
    async with cluster(2, health_failure_threshold=1) as (front, replicas):
        policy, desk = hold(front), Desk(replicas)
        first = await busy(front, desk)
        held = await holding(front, 4)
        for replica in replicas:
            await replica.stop()
        for client in first + held:
            given = await client.read()
            assert (given.status, given.get("retry-after")) in {(502, "1"), (503, "1")}
        await until(front.idle)
        nothing_left(front, policy)


@on_both_loops
async def test_when_all_replicas_drain_everybody_is_told():
    async with cluster(2) as (front, replicas):
        policy, desk = hold(front), Desk(replicas)
        first = await busy(front, desk)
        held = await holding(front, 3)
        for state in front.fleet:
            state.draining = True
        for client in held:
            assert (await client.read()).status == 503
        for number, client in enumerate(first):
            desk.answer(number)
            assert (await client.read()).status == 200
        await until(front.idle)
        nothing_left(front, policy)


@on_both_loops
async def test_a_policy_that_fails_leaves_nobody_waiting():
    async with cluster() as (front, (replica,)):
        policy, desk = hold(front), Desk([replica])
        await busy(front, desk)
        policy.release = lambda waiting, replicas, now: 1 / 0
        client = await front.client()
        client.send(chat())
        assert (await client.read()).status == 500
        assert not policy.waiting
        desk.answer(0)
        await until(front.idle)


@on_both_loops
async def test_the_default_policy_holds_what_would_only_queue():
    async with cluster() as (front, (replica,)):
        desk = Desk([replica])
        first = await front.client()
        first.send(stream("word " * 400_000))
        await desk.came(1)
        (held,) = await holding(front, 1)
        desk.answer(0)
        assert (await first.read()).complete
        await desk.came(2)
        desk.answer(1)
        assert (await held.read()).status == 200
        await until(front.idle)
