"""What another replica, or another connection, can still make good is made good unseen; the rest is told truly."""

import pytest

from balancer.core.types import Health
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import (
    DONE,
    LAST_CHUNK,
    SSE_HEAD,
    Replica,
    answer,
    answers,
    chunk,
    event,
    silent,
    token,
)

BUSY = {"error": {"message": "busy", "type": "ServiceUnavailableError", "code": 503}}
LONG = "x" * 4000


def served(replicas):
    return [len(replica.posts) for replica in replicas]


async def prefer(front, replicas):
    """Warm one replica's cache, so that this prompt goes there first: it, and the others."""
    name = (await front.ask(chat(LONG))).json()["served_by"]
    for replica in replicas:
        replica.posts.clear()
    preferred = next(replica for replica in replicas if replica.name == name)
    return preferred, [replica for replica in replicas if replica is not preferred]


@on_both_loops
async def test_a_closed_port_is_passed_over_and_remembered():
    async with cluster(2, health_interval_s=60) as (front, replicas):
        preferred, (other,) = await prefer(front, replicas)
        await preferred.stop()
        for _ in range(3):
            assert (await front.ask(chat(LONG))).json()["served_by"] == other.name
        state = next(state for state in front.fleet if state.id == preferred.name)
        assert state.health is Health.UNHEALTHY
        assert front.idle()


@on_both_loops
async def test_no_post_is_lost_to_a_replica_that_closes_after_each_answer():
    async with cluster() as (front, (replica,)):
        replica.on_post = lambda connection, request: connection.respond(
            200, {"n": request.json()["n"]}, close=True
        )
        client = await front.client()
        for number in range(50):
            reply = await client.ask(chat(n=number))
            assert (reply.status, reply.json()) == (200, {"n": number})
        assert [post.json()["n"] for post in replica.posts] == list(range(50))


@on_both_loops
async def test_no_post_is_lost_to_a_replica_that_closes_idle_connections_when_the_next_request_comes():
    async with cluster() as (front, (replica,)):

        def once(connection, request):
            if connection.requests > 1:
                replica.posts.remove(request)
                connection.reset()
            else:
                answer(connection, request)

        replica.on_post = once
        client = await front.client()
        for number in range(50):
            assert (await client.ask(chat(n=number))).status == 200
        assert [post.json()["n"] for post in replica.posts] == list(range(50))
        assert front.fleet[0].health is Health.HEALTHY


@pytest.mark.parametrize("end", ["fin", "reset"])
@on_both_loops
async def test_a_connection_lost_before_the_first_byte_is_made_good_elsewhere(end):
    async with cluster(2) as (front, replicas):
        preferred, (other,) = await prefer(front, replicas)
        preferred.on_post = lambda connection, request: getattr(connection, end)()
        assert (await front.ask(chat(LONG))).json()["served_by"] == other.name
        assert (await front.ask(stream(LONG))).complete
        assert front.idle()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@async_test
async def test_a_replica_that_declines_is_passed_over(status):
    async with cluster(2) as (front, replicas):
        preferred, (other,) = await prefer(front, replicas)
        preferred.on_post = answers(status, BUSY)
        for body in (chat(LONG), stream(LONG)):
            assert (await front.ask(body)).status == 200
        assert served([preferred, other])[1] == 2


@on_both_loops
async def test_overload_as_the_first_event_of_a_200_is_passed_over():
    async with cluster(2) as (front, replicas):
        preferred, (other,) = await prefer(front, replicas)

        def overloaded(connection, request):
            connection.write(SSE_HEAD, chunk(b": wait\n\n"), chunk(event(BUSY)), chunk(DONE), LAST_CHUNK)

        preferred.on_post = overloaded
        reply = await front.ask(stream(LONG))
        assert reply.events()[1]["choices"][0]["delta"]["content"] == other.name
        assert served([preferred, other]) == [1, 1]
        other.on_post = overloaded
        reply = await front.ask(stream(LONG))
        assert (reply.status, reply.complete) == (200, True)
        assert reply.body == b": wait\n\n" + event(BUSY) + DONE


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
@async_test
async def test_the_clients_own_errors_are_verbatim_and_tried_once(status):
    async with cluster(2) as (front, replicas):
        for replica in replicas:
            replica.on_post = answers(status, {"error": "\u4f60 did it"}, [("X-Request-Id", "7")])
        for body in (chat(), stream()):
            reply = await front.ask(body)
            assert (reply.status, reply.json(), reply.get("x-request-id")) == (
                status,
                {"error": "\u4f60 did it"},
                "7",
            )
        assert sum(served(replicas)) == 2
        assert all(state.health is Health.HEALTHY for state in front.fleet)


@on_both_loops
async def test_when_all_are_busy_the_last_says_so_itself():
    async with cluster(3, policy="round_robin") as (front, replicas):
        for replica in replicas:
            replica.on_post = answers(429, {"full": replica.name}, [("Retry-After", "7")])
        for body in (chat(), stream()):
            reply = await front.ask(body)
            assert (reply.status, reply.get("retry-after"), reply.json()) == (
                429,
                "7",
                {"full": replicas[2].name},
            )
        assert served(replicas) == [2, 2, 2]
        assert all(state.health is Health.HEALTHY for state in front.fleet)


@async_test
async def test_no_more_attempts_fail_than_allowed():
    async with cluster(4, policy="round_robin", max_attempts=2) as (front, replicas):
        for replica in replicas:
            replica.on_post = answers(500, BUSY)
        assert (await front.ask(chat())).status == 500
        assert served(replicas) == [1, 1, 0, 0]


@async_test
async def test_each_replica_may_say_once_that_it_is_busy():
    async with cluster(5, policy="round_robin", max_attempts=2) as (front, replicas):
        for replica in replicas[:4]:
            replica.on_post = answers(503, BUSY)
        assert (await front.ask(chat())).json()["served_by"] == "r4"
        assert served(replicas) == [1, 1, 1, 1, 1]
    async with cluster(2, max_attempts=9) as (front, replicas):
        for replica in replicas:
            replica.on_post = answers(503, BUSY)
        assert (await front.ask(chat())).status == 503
        assert served(replicas) == [1, 1]


@on_both_loops
async def test_when_all_have_failed_the_balancer_says_so():
    async with cluster(2, health_interval_s=60) as (front, replicas):
        for replica in replicas:
            replica.on_post = lambda connection, request: connection.reset()
        reply = await front.ask(chat())
        assert (reply.status, reply.get("retry-after")) == (502, "1")
        assert reply.json()["error"]["type"] == "BadGatewayError"
        assert "127.0.0.1" not in reply.body.decode()
        for replica in replicas:
            await replica.stop()
        assert (await front.ask(chat())).status == 502
        assert (await front.ask(chat(), target="/v1/messages")).json()["type"] == "error"
        assert front.idle()


@async_test
async def test_garbage_is_passed_over():
    async with cluster(2) as (front, replicas):
        preferred, (other,) = await prefer(front, replicas)
        preferred.on_post = lambda connection, request: connection.write(b"SSH-2.0-x\r\n\r\n")
        assert (await front.ask(chat(LONG))).json()["served_by"] == other.name


@on_both_loops
async def test_a_replica_that_does_not_begin_in_time_is_passed_over():
    async with cluster(2, first_byte_timeout_s=0.2) as (front, replicas):
        preferred, (other,) = await prefer(front, replicas)
        preferred.on_post = silent
        assert (await front.ask(chat(LONG))).json()["served_by"] == other.name
        other.on_post = silent
        reply = await front.ask(chat(LONG))
        assert reply.status == 504
        assert "0.2 s" in reply.json()["error"]["message"]
        await until(
            lambda: all(
                c.closed.is_set()
                for r in replicas
                for c in r.connections
                if c.requests == 1 and not c.sent_bytes
            )
        )
        assert front.idle()


@async_test
async def test_a_wait_without_a_limit_has_none():
    async with cluster() as (front, (replica,)):
        replica.on_post = silent
        client = await front.client()
        client.send(stream())
        await until(lambda: replica.posts)
        connection = next(c for c in replica.open if c.requests == 1 and not c.sent_bytes)
        connection.write(SSE_HEAD, chunk(token("late")), LAST_CHUNK)
        assert (await client.read()).body == token("late")


@async_test
async def test_a_replica_that_was_never_there():
    gone = await Replica("gone").start()
    await gone.stop()
    async with balancing(gone, wait_for=None) as front:
        assert (await front.ask(chat())).status in {502, 503}
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        reply = await front.ask(chat())
        assert reply.status == 502
        await gone.start()
        await until(lambda: front.fleet[0].health is Health.HEALTHY)
        assert (await front.ask(chat())).status == 200
    await gone.stop()


@async_test
async def test_who_is_busy_is_not_asked_by_every_request():
    async with cluster(4, policy="round_robin") as (front, replicas):
        for replica in replicas[:3]:
            replica.on_post = answers(503, BUSY, [("Retry-After", "5")])
        statuses = [(await front.ask(chat())).status for _ in range(60)]
        assert statuses == [200] * 60
        assert served(replicas[:3]) == [1, 1, 1]
