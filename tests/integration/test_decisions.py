"""Why a request went where it went: GET /admin/decisions, and one with all that is known of it."""

import gc

import pytest

from balancer.core.scheduling.lane import Lane
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import Replica, answers, silent
from tests.fakes.tiers import KEY, tiered
from tests.integration.test_admin import admin

LONG = "a question that fills some blocks " * 60


async def decisions(front, query=""):
    return (await admin(front, f"decisions{query}")).json()["decisions"]


async def told(front, answer):
    return (await admin(front, f"decisions/{answer.get('x-balancer-decision-id')}")).json()


@on_both_loops
async def test_a_decision_is_told_with_every_candidate_and_what_came_of_it():
    async with cluster(2, admin_port=0) as (front, _):
        await front.ask(stream(LONG))
        answer = await front.ask(stream(LONG))
        whole = await told(front, answer)
        assert (whole["state"], whole["status"], whole["ended_by"]) == ("ended", 200, "answer")
        (attempt,) = whole["trail"]
        assert attempt["replica"] == answer.get("x-balancer-replica")
        assert attempt["reason"] == answer.get("x-balancer-reason") == "cached"
        assert "longest part of the prompt" in attempt["rule"]
        assert attempt["outcome"] == "answered"
        assert attempt["matched_tokens"]["routing_history"] > 400
        assert 0 <= attempt["first_byte_s"] <= attempt["ttft_s"] <= attempt["duration_s"]
        first, second = attempt["candidates"]
        assert first["chosen"]
        assert not second["chosen"]
        assert first["cost"] < second["cost"]
        assert first["parts_s"].keys() == {"wait", "work", "load", "harm"}
        assert sum(first["parts_s"].values()) == pytest.approx(first["cost"])
        assert second["matched_tokens"] == {"routing_history": 0}
        assert whole["ttft_s"] >= attempt["ttft_s"]


@on_both_loops
async def test_each_attempt_is_a_decision_under_one_id():
    async with cluster(2, admin_port=0, policy="round_robin") as (front, replicas):
        replicas[0].on_post = answers(500, {"error": {"message": "no", "type": "x", "code": 500}})
        seen = [await told(front, await front.ask(chat())) for _ in range(2)]
        trail = next(each["trail"] for each in seen if each["attempts"] == 2)
        assert [(each["replica"], each["outcome"], each["status"]) for each in trail] == [
            ("r0", "answered", 500),
            ("r1", "answered", 200),
        ]
        assert trail[0]["rule"] == "Its turn was longest ago."


@on_both_loops
async def test_the_latest_come_first_and_can_be_filtered():
    async with cluster(2, admin_port=0, policy="round_robin") as (front, replicas):
        ids = [(await front.ask(chat())).get("x-balancer-decision-id") for _ in range(4)]
        listed = await decisions(front)
        assert [each["id"] for each in listed] == ids[::-1]
        assert [each["id"] for each in await decisions(front, "?limit=1")] == ids[-1:]
        assert len(await decisions(front, "?replica=r0&status=200")) == 2
        assert await decisions(front, "?model=other") == []
        assert len(await decisions(front, "?tenant=")) == 4
        client = await front.client()
        replicas[0].on_post = replicas[1].on_post = silent
        client.send(stream())
        await until(lambda: sum(state.in_flight for state in front.fleet) == 1)
        (running,) = await decisions(front, "?state=running")
        assert (running["status"], running["ttft_s"], running["duration_s"]) == (None, None, None)
        whole = (await admin(front, f"decisions/{running['id']}")).json()
        assert whole["trail"][0]["outcome"] is None
        await client.close()
        await until(front.idle)
        left = (await decisions(front, "?outcome=cancelled"))[0]
        assert (left["id"], left["status"]) == (running["id"], 499)


@pytest.mark.parametrize(
    ("target", "status", "param"),
    [
        ("decisions/nope", 404, "id"),
        ("decisions?limit=0", 400, "limit"),
        ("decisions?limit=x", 400, "limit"),
        ("decisions?colour=red", 400, "colour"),
    ],
)
@async_test
async def test_what_cannot_be_told(target, status, param):
    async with cluster(1, admin_port=0) as (front, _):
        answer = await admin(front, target)
        assert (answer.status, answer.json()["error"]["param"]) == (status, param)
        assert (await admin(front, "decisions", method="POST")).status == 405


@async_test
async def test_no_more_are_kept_than_asked_for():
    async with cluster(1, admin_port=0, receipts=2, decision_headers=False) as (front, _):
        for _ in range(5):
            await front.ask(chat())
        assert len(await decisions(front)) == 2
    async with cluster(1, admin_port=0, receipts=0) as (front, _):
        await front.ask(chat())
        assert await decisions(front) == []


@async_test
async def test_a_replica_that_left_is_held_no_longer_than_its_decisions():
    one, other = [await Replica(name).start() for name in ("one", "other")]
    async with balancing(one, other, admin_port=0, receipts=1) as front:
        await front.ask(chat())
        await front.reload(one, admin_port=0, receipts=1)
        await front.ask(chat())
        await until(lambda: not front.balancer.decider.fleet.leaving)
        gc.collect()
        lanes = [each.replica.id for each in gc.get_objects() if isinstance(each, Lane)]
        assert "one" in lanes
        assert "other" not in lanes
    for replica in (one, other):
        await replica.stop()


@async_test
async def test_a_tier_is_told_with_what_each_offered(monkeypatch):
    monkeypatch.setenv("HOSTED_API_KEY", KEY)
    async with tiered({"auto": {"tiers": ["small", "large"], "threshold": 0.5}}, admin_port=0) as tiers:
        whole = await told(tiers.front, await tiers.ask())
        (attempt,) = whole["trail"]
        assert [offer["tier"] for offer in attempt["offers"]] == ["small", "large"]
        assert attempt["tier"] == whole["tiering"]["tier"] == whole["tier"]
        assert all(offer["usd"] > 0 and offer["ttft_s"] > 0 for offer in attempt["offers"])
