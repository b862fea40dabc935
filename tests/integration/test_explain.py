"""Where a request would go, asked of a running balancer: nothing is sent, and nothing is decided otherwise afterwards."""

import json

import pytest

from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops
from tests.fakes.tiers import KEY, tiered
from tests.integration.test_admin import admin

LONG = "a question that fills some blocks " * 60


async def explained(front, body, **more):
    client = await front.client(listener=1)
    answer = await client.ask(json.dumps({"body": body, **more}).encode(), target="/admin/explain")
    await client.close()
    return answer


@on_both_loops
async def test_it_says_what_then_happens():
    async with cluster(3, admin_port=0) as (front, replicas):
        await front.ask(stream(LONG))
        told = (await explained(front, stream(LONG))).json()
        assert told["refused"] is None
        assert told["request"]["prompt_blocks"] > 5
        decision = told["decision"]
        assert (decision["reason"], decision["waits"]) == ("cached", False)
        assert decision["matched_tokens"]["routing_history"] > 400
        assert len(decision["candidates"]) == 3
        assert sum(len(replica.posts) for replica in replicas) == 1
        assert front.idle()
        answer = await front.ask(stream(LONG))
        assert answer.get("x-balancer-replica") == decision["replica"]


@pytest.mark.parametrize("policy", ["round_robin", "least_requests", "cache_aware", "session"])
@async_test
async def test_to_ask_changes_nobodys_turn(policy):
    async with cluster(3, admin_port=0, policy=policy) as (front, _):
        seen = []
        for _ in range(6):
            for _ in range(2):
                told = (await explained(front, chat(LONG))).json()["decision"]["replica"]
            seen.append((told, (await front.ask(chat(LONG))).get("x-balancer-replica")))
        assert all(told == went for told, went in seen)
        if policy == "round_robin":
            assert len({went for _, went in seen}) == 3


@async_test
async def test_session_headers_and_other_routes_count():
    async with cluster(4, admin_port=0, policy="session") as (front, _):
        homes = set()
        for number in range(12):
            headers = {"X-Session-Id": f"s{number}"}
            told = (await explained(front, chat(), headers=headers)).json()
            assert told["request"]["session"] == "named"
            answer = await front.ask(chat(), headers=headers)
            assert answer.get("x-balancer-replica") == told["decision"]["replica"]
            homes.add(told["decision"]["replica"])
        assert len(homes) > 1
        told = (await explained(front, {"model": "m", "prompt": "x"})).json()
        assert told["route"] == "/v1/completions"


@async_test
async def test_a_tier_is_told_and_nothing_is_taken(monkeypatch):
    monkeypatch.setenv("HOSTED_API_KEY", KEY)
    async with tiered({"auto": {"tiers": ["small", "large"], "strong_share": 0.5}}, admin_port=0) as tiers:
        told = [(await explained(tiers.front, chat(model="auto"))).json() for _ in range(5)]
        assert all(each == told[0] or each["tiering"]["tier"] == told[0]["tiering"]["tier"] for each in told)
        assert [offer["tier"] for offer in told[0]["tiering"]["offers"]] == ["small", "large"]
        assert tiers.asked() == []
        cut = tiers.front.balancer.decider.tiering._steps["auto"].cuts[0]
        assert cut._debt == 0.0
        reply = await tiers.ask()
        assert reply.get("x-balancer-tier") == told[0]["tiering"]["tier"]


@async_test
async def test_a_refusal_is_told():
    async with cluster(1, admin_port=0) as (front, _):
        told = (await explained(front, chat(model="nope"))).json()
        assert told["decision"] is None
        assert told["refused"]["status"] == 404
        assert "nope" in told["refused"]["message"]


@pytest.mark.parametrize(
    ("question", "param"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b'{"body": 3}', "body"),
        (b'{"body": {}, "colour": 1}', "colour"),
        (b'{"body": {}}', "path"),
        (b'{"body": {"messages": []}, "headers": [1]}', "headers"),
        (b'{"body": {"messages": []}, "headers": {"a": 1}}', "headers"),
        (b'{"body": {"messages": []}, "path": 7}', "path"),
    ],
)
@async_test
async def test_what_is_no_question(question, param):
    async with cluster(1, admin_port=0) as (front, _):
        client = await front.client(listener=1)
        answer = await client.ask(question, target="/admin/explain")
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
        await client.close()
        assert (await admin(front, "explain")).status == 405
