"""The admin API: what it tells, draining one replica, and reloading."""

import dataclasses

import pytest

from balancer.config import load
from balancer.core.types import Health
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import Client, chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import LAST_CHUNK, ROLE, SSE_HEAD, Replica, chunk, token


async def admin(front, target, method="GET", **request):
    client = await front.client(listener=1)
    answer = await client.ask(b"" if method == "POST" else None, target=f"/admin/{target}", **request)
    await client.close()
    return answer


async def described(front, name="r0"):
    listed = (await admin(front, "replicas")).json()["replicas"]
    return next(each for each in listed if each["name"] == name)


@on_both_loops
async def test_replicas_are_described():
    async with cluster(2, admin_port=0) as (front, replicas):
        assert await described(front) == {
            "name": "r0",
            "url": replicas[0].url,
            "state": "serving",
            "health": "healthy",
            "in_flight": 0,
            "pending_prefill_tokens": 0,
            "models": ["m"],
            "last_error": None,
            "gpu": None,
        }
        await replicas[1].stop()
        await until(lambda: front.fleet[1].health is Health.UNHEALTHY)
        down = await described(front, "r1")
        assert down["health"] == "unhealthy"
        assert "no connection" in down["last_error"]


@on_both_loops
async def test_a_drained_replica_ends_what_it_has_and_gets_nothing_new():
    async with cluster(2, admin_port=0, policy="round_robin") as (front, replicas):
        connections = []

        def begin(connection, request):
            connection.write(SSE_HEAD, chunk(ROLE))
            connections.append(connection)

        usual, replicas[0].on_post = replicas[0].on_post, begin
        client = await front.client()
        client.send(stream())
        answer = await client.head()
        drained = (await admin(front, "replicas/r0/drain", "POST")).json()
        assert (drained["state"], drained["in_flight"]) == ("draining", 1)
        for _ in range(4):
            assert (await front.ask(chat())).json()["served_by"] == "r1"
        connections[0].write(chunk(token("a")), LAST_CHUNK)
        await client.read(answer)
        assert (answer.complete, answer.body) == (True, ROLE + token("a"))
        assert (await described(front))["in_flight"] == 0
        # it is still probed: whoever upgrades it sees when it is back
        await replicas[0].stop()
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        await replicas[0].start()
        await until(lambda: front.fleet[0].health is Health.HEALTHY)
        assert (await described(front))["state"] == "draining"
        replicas[0].on_post = usual
        assert (await admin(front, "replicas/r0/undrain", "POST")).json()["state"] == "serving"
        assert {(await front.ask(chat())).json()["served_by"] for _ in range(4)} == {"r0", "r1"}


@async_test
async def test_a_drain_lasts_until_somebody_undoes_it():
    async with cluster(2, admin_port=0) as (front, replicas):
        given = [{"url": replica.url, "name": replica.name} for replica in replicas]
        await admin(front, "replicas/r0/drain", "POST")
        await front.reload(*given, max_attempts=2)
        assert (await described(front))["state"] == "draining"
        moved = await Replica("r0").start()
        await front.reload({"url": moved.url, "name": "r0"}, given[1])
        assert (await described(front))["state"] == "draining"
        await front.reload({"url": moved.url, "name": "r0", "drain": True}, given[1])
        await admin(front, "replicas/r0/undrain", "POST")
        assert (await described(front))["state"] == "serving"
        await front.reload({"url": moved.url, "name": "r0", "drain": True}, given[1], max_attempts=1)
        assert (await described(front))[
            "state"
        ] == "serving"  # the file says nothing that it did not say before
        await front.reload({"url": moved.url, "name": "r0"}, given[1])
        await front.reload({"url": moved.url, "name": "r0", "drain": True}, given[1])
        assert (await described(front))["state"] == "draining"
        await moved.stop()


@async_test
async def test_when_all_drain_nobody_is_ready():
    replica = await Replica().start()
    async with balancing({"url": replica.url, "name": "r0", "drain": True}) as front:
        assert (await front.ask(target="/ready")).status == 503
        refused = await front.ask(chat())
        assert (refused.status, refused.get("retry-after")) == (503, "1")
        assert replica.posts == []
    await replica.stop()


@async_test
async def test_names_of_replicas_may_have_slashes():
    async with cluster(admin_port=0) as (front, (replica,)):
        await front.reload({"url": replica.url, "name": "gpu/b"})
        for name in ("gpu%2Fb", "gpu/b"):
            assert (await admin(front, f"replicas/{name}/drain", "POST")).json()["name"] == "gpu/b"


@pytest.mark.parametrize(
    ("target", "method", "status", "type_"),
    [
        ("replicas/nope/drain", "POST", 404, "NotFoundError"),
        ("replicas/r0/explode", "POST", 404, "NotFoundError"),
        ("replicas//drain", "POST", 404, "NotFoundError"),
        ("nope", "GET", 404, "NotFoundError"),
        ("replicas/r0/drain", "GET", 405, "MethodNotAllowedError"),
        ("replicas", "POST", 405, "MethodNotAllowedError"),
        ("reload", "GET", 405, "MethodNotAllowedError"),
    ],
)
@async_test
async def test_what_is_not_there_is_told_in_the_usual_shape(target, method, status, type_):
    async with cluster(admin_port=0) as (front, _):
        answer = await admin(front, target, method)
        assert answer.status == status
        assert answer.json()["error"]["type"] == type_
        assert front.fleet[0].draining is False


@async_test
async def test_the_admin_api_is_nowhere_else():
    async with cluster(admin_port=0, prometheus_port=0) as (front, _):
        for listener in (0, 1):
            client = await front.client(listener=listener)
            assert (await client.ask(target="/admin/replicas")).status == 404


@async_test
async def test_a_key_opens_it_and_shows_nowhere():
    secrets = {
        "admin_api_key": "adminsecret",
        "api_keys": ["clientsecret"],
        "replica_api_key": "replicasecret",
    }
    async with cluster(admin_port=0, wait_for=None, **secrets) as (front, _):
        for headers in ({}, {"Authorization": "Bearer clientsecret"}):
            refused = await admin(front, "config", headers=headers)
            assert (refused.status, refused.json()["error"]["type"]) == (401, "AuthenticationError")
        shown = await admin(front, "config", headers={"Authorization": "Bearer adminsecret"})
        assert b"secret" not in shown.body
        assert shown.json()["drain_timeout_s"] == {"value": 300.0, "origin": "test"}
        assert shown.json()["replicas"]["value"][0]["name"] == "r0"


@async_test
async def test_reload(tmp_path):
    file = tmp_path / "balancer.yaml"
    async with cluster(2, admin_port=0) as (front, replicas):
        reloader = front.balancer.reloader
        reloader.loaded = dataclasses.replace(reloader.loaded, again=lambda: load({}, {}, file))
        file.write_text("port: 70000\n")
        refused = await admin(front, "reload", "POST")
        assert (refused.status, refused.json()["error"]["param"]) == (422, "config")
        assert (
            "port: expected a port, at least 0 and at most 65535, given 70000"
            in refused.json()["error"]["message"]
        )
        assert len(front.fleet) == 2
        file.write_text(f"replicas: [{{url: '{replicas[0].url}', name: r0}}]\nlog_level: debug\n")
        done = (await admin(front, "reload", "POST")).json()
        assert (done["outcome"], done["removed"], done["added"], done["moved"]) == ("applied", ["r1"], [], [])
        assert "port" in done["waiting_for_restart"]
        shown = (await admin(front, "config")).json()
        assert shown["log_level"] == {"value": "debug", "origin": f"{file}:2"}
        assert shown["port"] == {"value": 0, "origin": "test"}
        assert (await admin(front, "reload", "POST")).json()["outcome"] == "unchanged"


@async_test
async def test_pages_for_operators_stay_while_requests_end():
    async with cluster(admin_port=0, drain_timeout_s=5) as (front, (replica,)):
        asked = []
        replica.on_post = lambda connection, request: asked.append(connection)
        client = await front.client()
        client.send(chat())
        await until(lambda: asked)
        draining = front.balancer._loop.create_task(front.balancer.drain())
        await until(lambda: not front.balancer.listeners.is_open(front.balancer._server))
        assert (await described(front))["in_flight"] == 1
        with pytest.raises(OSError):
            await Client.connect(front.balancer.listeners.ports[0])
        asked[0].respond(200, {})
        assert (await client.read()).status == 200
        await draining
