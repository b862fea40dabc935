"""What is told to those who watch: the state, the stream of events, the page's files. And nothing while nobody does."""

import asyncio
import dataclasses
import json
import re

import pytest

from balancer.accounting import watch
from balancer.accounting.receipts import Receipts
from balancer.accounting.record import Record
from balancer.config import ConfigError, Mistake
from balancer.core.types import Decision, Health, ReplicaId
from balancer.frontend import live
from balancer.frontend import state as state_of_all
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import METRICS
from tests.integration.test_admin import admin

EVENT = re.compile(rb"event: (\w+)\n(?:id: (\d+)\n)?data: (.*)\n\n")


async def state(front):
    return (await admin(front, "state")).json()


class Watching:
    """Someone who reads /admin/events."""

    def __init__(self, client, answer):
        self.client, self.answer = client, answer
        self.events = []

    async def until(self, condition):
        """Read on until one of the events is that one; its value."""
        async with asyncio.timeout(10):
            while True:
                found = [value for kind, value in self.events if condition(kind, value)]
                if found:
                    return found[0]
                size = int(await self.client.reader.readline(), 16)
                data = await self.client.reader.readexactly(size + 2)
                self.events += [(kind.decode(), json.loads(text)) for kind, _, text in EVENT.findall(data)]


async def watching(front, **request):
    client = await front.client(listener=1)
    client.send(target="/admin/events", **request)
    return Watching(client, await client.head())


@on_both_loops
async def test_the_state_tells_of_replicas_and_decisions():
    async with cluster(2, admin_port=0) as (front, _):
        await front.ask(stream("x", stream_options={"include_usage": True}))
        told = await state(front)  # nobody has looked before: what it begins with is what the receipts know
        (decision,) = told["decisions"]
        assert (decision["status"], decision["state"], decision["attempts"]) == (200, "ended", 1)
        replica, other = told["replicas"]
        if replica["name"] != decision["replica"]:
            replica, other = other, replica
        assert {replica["name"], other["name"]} == {"r0", "r1"}
        ttft_s = pytest.approx(decision["ttft_s"], rel=watch.BIN, abs=1e-4)
        assert replica["ttft_p50_s"] == replica["ttft_p90_s"] == told["total"]["ttft_p90_s"] == ttft_s
        assert other["ttft_p50_s"] is None
        assert [each for each in replica["ttft_points_s"] if each is not None] == [[ttft_s, ttft_s]]
        assert told["watched_s"] == told["up_s"]
        assert told["total"]["answers_per_s"] == pytest.approx(1 / max(1.0, told["up_s"]))
        assert (told["alerts"], told["tiers"]) == ([], [])


@on_both_loops
async def test_events_come_as_they_happen():
    async with cluster(admin_port=0) as (front, (replica,)):
        answer = []
        usual, replica.on_post = replica.on_post, lambda *request: answer.append(request)
        watcher = await watching(front)
        assert watcher.answer.get("Content-Type") == "text/event-stream"
        assert watcher.answer.get("Cache-Control") == "no-store"
        await watcher.until(lambda kind, _: kind == "state")
        client = await front.client()
        client.send(chat(model="m"))
        made = await watcher.until(lambda kind, _: kind == "decision")
        assert (made["model"], made["route"], made["state"]) == ("m", "/v1/chat/completions", "running")
        usual(*answer[0])
        ended = await watcher.until(lambda kind, told: kind == "decision" and told["state"] == "ended")
        assert (ended["id"], ended["status"], ended["ended_by"]) == (made["id"], 200, "answer")
        # who comes later is told of what was before, and its receipt is there
        later = await watching(front)
        assert (await later.until(lambda kind, _: kind == "decision"))["id"] == made["id"]
        whole = (await admin(front, f"decisions/{made['id']}")).json()
        assert whole["trail"][0]["candidates"][0]["replica"] == "r0"


@async_test
async def test_a_retry_is_told_at_once():
    async with cluster(2, admin_port=0, policy="round_robin") as (front, replicas):
        asked = []
        usual = replicas[1].on_post
        for replica in replicas:
            replica.on_post = lambda *request: asked.append(request)
        watcher = await watching(front)
        client = await front.client()
        client.send(chat())
        first = await watcher.until(lambda kind, _: kind == "decision")
        asked[0][0].respond(503, {"error": {"message": "busy"}})
        again = await watcher.until(lambda kind, told: kind == "decision" and told["attempts"] == 2)
        assert (again["id"], again["state"]) == (first["id"], "running")
        assert again["replica"] != first["replica"]
        usual(*asked[1])
        ended = await watcher.until(lambda kind, told: kind == "decision" and told["state"] == "ended")
        assert (ended["status"], ended["attempts"]) == (200, 2)


@async_test
async def test_no_minute_is_kept_while_nobody_watches(monkeypatch):
    monkeypatch.setattr(watch, "LINGER_S", 0.05)
    async with cluster(admin_port=0) as (front, _):
        seen = front.balancer.metrics.watch
        await front.ask(chat())
        assert not seen.on
        await state(front)
        assert seen.on

        async with asyncio.timeout(10):
            while seen.on:
                await front.ask(chat())
        kept = sum(each.answers for each in seen.total.seconds(0.0))
        await front.ask(chat())
        assert sum(each.answers for each in seen.total.seconds(0.0)) == kept


@async_test
async def test_without_receipts_there_are_no_decisions_and_all_else():
    async with cluster(admin_port=0, receipts=0) as (front, _):
        watcher = await watching(front)
        await watcher.until(lambda kind, _: kind == "state")
        await front.ask(stream())
        told = await state(front)
        assert told["decisions"] == []
        assert told["watched_s"] < 60
        assert told["replicas"][0]["ttft_p50_s"] is not None


def ended(number, at=1.0, attempts=1):
    record = Record("/v1/chat/completions", at, model="m", decision_id=f"d{number}")
    for _ in range(attempts):
        record.sends(Decision(ReplicaId("r"), "cached"), at, at, ())
    record.ended_at = at
    return record


def test_a_flood_is_counted_and_not_shown():
    receipts = Receipts(1000)
    news = live.News(receipts)
    for number in range(2 * live.RECENT):
        receipts.begins(ended(number))
    news.look(1.0)
    assert (len(news.since(0)), news.skipped) == (live.RECENT, 0)  # of those before it began, the latest
    first = json.loads(news.since(0)[-1].text)
    assert first["id"] == f"d{2 * live.RECENT - 1}"
    seen = news.number
    for number in range(200, 200 + 3 * live.MOST_SHOWN):
        receipts.begins(ended(number))
    news.look(1.01)  # too soon
    assert news.since(seen) == []
    news.look(2.0)
    assert (len(news.since(seen)), news.skipped) == (live.MOST_SHOWN, 2 * live.MOST_SHOWN)
    seen = news.number
    news.look(3.0)
    assert news.since(seen) == []  # nothing is told twice, nor later
    assert news.skipped == 2 * live.MOST_SHOWN


def test_what_clients_say_is_cut():
    record = ended(1)
    record.model = record.tenant = "x" * 5000
    told = live.told(record)
    assert (len(told["model"]), len(told["tenant"])) == (live.MOST_TEXT, live.MOST_TEXT)


@async_test
async def test_who_does_not_read_is_let_go_and_the_others_are_not(monkeypatch):
    monkeypatch.setattr(live, "SLOW_S", 0.2)
    monkeypatch.setattr(live, "EVERY_S", 0.001)
    monkeypatch.setattr(live, "LOOK_S", 0.001)
    async with cluster(admin_port=0) as (front, _):
        await state(front)
        deaf = await front.client(listener=1, receive_buffer_bytes=2048)
        deaf.send(target="/admin/events")
        watcher = await watching(front)

        async def read_on():
            while True:
                await watcher.client.reader.read(2**16)

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_on())
            live_part = front.balancer._admin._live
            await until(lambda: live_part._watchers == 2)
            await until(lambda: live_part._watchers == 1, within_s=20)
            assert not reading.done()
            reading.cancel()


@async_test
async def test_so_many_may_watch_and_no_more(monkeypatch):
    monkeypatch.setattr(live, "MOST_WATCHERS", 1)
    async with cluster(admin_port=0) as (front, _):
        watcher = await watching(front)
        refused = await admin(front, "events")
        assert (refused.status, refused.get("Retry-After")) == (503, "10")
        await watcher.client.close()
        await until(lambda: not front.balancer._admin._live._watchers)
        again = await watching(front)
        assert again.answer.status == 200


@async_test
async def test_alerts_say_what_is_wrong_and_what_to_do():
    async with cluster(2, admin_port=0) as (front, replicas):
        await replicas[1].stop()
        await until(lambda: front.fleet[1].health is Health.UNHEALTHY)
        (alert,) = (await state(front))["alerts"]
        assert (alert["severity"], alert["subject"], alert["runbook"]) == (
            "ticket",
            "r1",
            "BalancerReplicaOut",
        )
        assert "unhealthy (refused)" in alert["what"]
        assert alert["action"].startswith("Nothing listens there")
        await replicas[0].stop()
        await until(lambda: front.fleet[0].health is Health.UNHEALTHY)
        alerts = (await state(front))["alerts"]
        assert [(each["severity"], each["subject"]) for each in alerts] == [
            ("page", "m"),
            ("ticket", "r0"),
            ("ticket", "r1"),
        ]


@async_test
async def test_a_refused_configuration_is_told_until_one_holds():
    async with cluster(admin_port=0) as (front, (replica,)):

        def broken():
            raise ConfigError([Mistake("port", "a number")])

        reloader = front.balancer.reloader
        reloader.loaded = dataclasses.replace(reloader.loaded, again=broken)
        assert (await admin(front, "reload", "POST")).status == 422
        (alert,) = (await state(front))["alerts"]
        assert (alert["subject"], alert["runbook"]) == ("configuration", "BalancerConfigRefused")
        assert "port: expected a number" in alert["what"]
        await front.reload(replica, admin_port=0, max_attempts=2)
        assert (await state(front))["alerts"] == []


@async_test
async def test_hits_are_those_of_the_engines_own_counters():
    async with cluster(admin_port=0) as (front, (replica,)):

        def told(queries, hits):
            replica.metrics = (
                METRICS
                + (
                    f'vllm:prefix_cache_queries_total{{engine="0"}} {queries}.0\n'
                    f'vllm:prefix_cache_hits_total{{engine="0"}} {hits}.0\n'
                ).encode()
            )

        told(1000, 900)
        await until(lambda: front.fleet[0].sample.prefix_hits_tokens == 900)
        assert (await state(front))["replicas"][0]["hit_rate"] is None  # nothing came since somebody looks
        told(31_000, 3_900)
        await until(lambda: front.fleet[0].sample.prefix_hits_tokens == 3_900)
        now = await state(front)
        assert (now["replicas"][0]["hit_rate"], now["replicas"][0]["hit_rate_from"]) == (0.1, "engine")
        assert now["total"]["hit_rate"] == 0.1
        (alert,) = now["alerts"]
        assert "10% of its prompt tokens were cached in the last minute, 90% before" in alert["what"]


@async_test
async def test_the_pages_files_need_no_key_and_what_they_fetch_does():
    async with cluster(admin_port=0, admin_api_key="secret") as (front, _):
        client = await front.client(listener=1)
        page = await client.ask(target="/ui")
        assert page.status == 200
        policy = page.get("Content-Security-Policy")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.get("X-Content-Type-Options") == "nosniff"
        for name in re.findall(rb'(?:href|src)="(ui/[^"]+)"', page.body):
            found = await client.ask(target=f"/{name.decode()}")
            assert (found.status, found.get("Content-Security-Policy")) == (200, policy)
        assert b"<script>" not in page.body
        assert b"style=" not in page.body
        known = await client.ask(target="/ui", headers={"If-None-Match": page.get("ETag")})
        assert (known.status, known.body) == (304, b"")
        moved = await client.ask(target="/ui/")
        assert (moved.status, moved.get("Location")) == (308, "../ui")
        for target in ("/admin/state", "/admin/events"):
            assert (await client.ask(target=target)).status == 401
        key = {"Authorization": "Bearer secret"}
        assert (await client.ask(target="/admin/state", headers=key)).status == 200
        assert (await watching(front, headers=key)).answer.status == 200


@pytest.mark.parametrize(
    "path", ["/ui/../admin.py", "/ui/..%2fadmin.py", "/ui/nothing.js", "/ui/__init__.py", "/uix", "/"]
)
@async_test
async def test_nothing_else_is_a_file(path):
    async with cluster(admin_port=0) as (front, _):
        client = await front.client(listener=1)
        assert (await client.ask(target=path)).status == 404


@async_test
async def test_without_a_page_there_is_none():
    async with cluster(admin_port=0, ui=False) as (front, replicas):
        client = await front.client(listener=1)
        assert (await client.ask(target="/ui")).status == 404
        await front.reload(*replicas, admin_port=0, ui=True)
        assert (await client.ask(target="/ui")).status == 200
        assert (await client.ask(b"", target="/ui")).status == 405


@async_test
async def test_who_watches_keeps_nobody_from_stopping():
    async with balancing("http://127.0.0.1:9", wait_for=None, admin_port=0) as front:
        watcher = await watching(front)
        await watcher.until(lambda kind, _: kind == "state")
        async with asyncio.timeout(5):
            await front.balancer.close()


@async_test
async def test_others_run_while_the_state_of_many_replicas_is_made(monkeypatch):
    monkeypatch.setattr(state_of_all, "SLICE_S", 0.0)
    replicas = [{"url": f"http://127.0.0.1:{port}", "name": f"r{port}"} for port in range(1, 65)]
    async with balancing(*replicas, wait_for=None) as front:
        ran = 0

        async def other():
            nonlocal ran
            while True:
                ran += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            running = group.create_task(other())
            told = await front.balancer._admin._live._states.state()
            running.cancel()
        assert len(told["replicas"]) == 64
        assert ran >= 64
