"""A journal of a real balancer: what it decided is decided again, and no prompt is in the file."""

import asyncio
import json

import pytest

from balancer.journal.command import run
from balancer.journal.opening import policy_of
from balancer.journal.reader import Reading, read_journal
from balancer.journal.replayer import Replayer
from tests.fakes.balancer import balancing, cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import Replica, answers
from tests.fakes.tiers import KEY, tiered
from tests.integration.test_admin import admin

SECRET = "the combination of the safe is 8472"
LONG = f"{SECRET}, and it goes on and on, " * 80


def replayed(path):
    reading, replayer = Reading(), Replayer(policy_of)
    for event in read_journal(path, reading):
        replayer.feed(event)
    assert reading.notes == []
    return replayer.counts


def same(path, least):
    counts = replayed(path)
    assert counts.first is None, str(counts.first)
    assert counts.partial == counts.lost_events == 0
    assert counts.decisions >= least


@pytest.mark.parametrize("policy", ["predicted_latency", "cache_aware", "random", "session", "dynamo_cost"])
@async_test
async def test_decisions_of_all_that_happens_to_replicas_are_made_again(policy, tmp_path):
    path = tmp_path / "journal"
    async with cluster(3, policy=policy, journal=path, admin_port=0) as (front, replicas):
        for number in range(6):
            await front.ask(stream(LONG + str(number % 2)), headers={"X-Session-Id": f"anna {number}"})
        replicas[0].on_post = answers(503, {"error": {"message": "busy"}})
        replicas[1].on_post = answers(500, {"error": {"message": "no"}})
        for number in range(6):
            await front.ask(chat(LONG + str(number)))
        await replicas[2].stop()
        await asyncio.gather(*(front.ask(chat(f"{number}")) for number in range(6)))
        await admin(front, "replicas/r0/drain", "POST")
        await front.ask(chat(model="nobody's"))
        await front.ask(chat("the end"))
    same(path, 20)


@on_both_loops
async def test_replicas_that_come_and_go_and_requests_that_wait(tmp_path):
    path = tmp_path / "journal"
    one, two = [await Replica(name).start() for name in ("one", "two")]
    limits = {"journal": path, "max_in_flight_per_replica": 1, "max_waiting": 5}
    async with balancing(one, **limits) as front:
        await asyncio.gather(*(front.ask(chat(LONG)) for _ in range(8)))
        await front.reload(one, two, **limits, warmup_s=1)
        await until(lambda: all(state.models for state in front.fleet))
        await asyncio.gather(*(front.ask(stream(LONG)) for _ in range(8)))
        await front.reload(two, **limits, ejection_s=1)
        await front.ask(chat(LONG))
    for replica in (one, two):
        await replica.stop()
    same(path, 17)


@async_test
async def test_tiers_and_fallbacks(monkeypatch, tmp_path):
    monkeypatch.setenv("HOSTED_API_KEY", KEY)
    path = tmp_path / "journal"
    virtual = {
        "auto": {"tiers": ["small", "large"], "strong_share": 0.4, "explore": 0.05, "fallback": ["hosted"]}
    }
    hosted = {"requests_per_minute": 3}
    async with tiered(virtual, hosted, journal=path, admin_port=0) as tiers:
        told = [{"role": "user", "content": SECRET}]
        for number in range(12):
            told = [
                *told,
                {"role": "assistant", "content": "no"},
                {"role": "user", "content": f"again {number}"},
            ]
            await tiers.ask({"model": "auto", "messages": told})
        tiers.large.on_post = answers(500, {"error": {"message": "no"}})
        tiers.small.on_post = answers(503, {"error": {"message": "busy"}})
        for number in range(6):
            await tiers.ask(chat(f"{SECRET} {number}", model="auto"))
        client = await tiers.front.client(listener=1)
        question = {"body": chat(SECRET, model="auto")}
        assert (await client.ask(json.dumps(question).encode(), target="/admin/explain")).status == 200
        await client.close()
        await tiers.ask(chat("after", model="auto"))
    same(path, 30)
    assert b"combination" not in b"".join(unpacked(path))


def unpacked(path):
    """All texts and bytes that are in it."""

    def leaves(value):
        if isinstance(value, dict):
            value = [*value.keys(), *value.values()]
        if isinstance(value, list):
            for each in value:
                yield from leaves(each)
        elif isinstance(value, str | bytes):
            yield value.encode() if isinstance(value, str) else value

    return [leaf for event in read_journal(path, Reading()) for leaf in leaves(event)]


@async_test
async def test_no_prompt_and_no_name_of_a_session_is_in_it(tmp_path):
    path = tmp_path / "journal"
    async with cluster(2, journal=path) as (front, _):
        body = stream(LONG, user="anna", prompt_cache_key="anna's key", metadata={"session_id": "anna's"})
        await front.ask(body)
        await front.ask(chat(LONG), headers={"X-Session-Id": "anna", "Authorization": "Bearer sesame"})
    texts = unpacked(path)
    assert b"/v1/chat/completions" not in texts
    assert b"chat" in texts
    for word in (b"anna", b"combination", b"sesame", b"8472"):
        assert not any(word in text for text in texts)
    assert (path.stat().st_mode & 0o777) == 0o600


@async_test
async def test_the_command_tells_and_another_policy_is_compared(tmp_path):
    path = tmp_path / "journal"
    async with cluster(3, policy="round_robin", journal=path) as (front, _):
        for number in range(12):
            await front.ask(stream(LONG + str(number % 2)))
    said, good = run(path, policy=None, as_json=False)
    assert good
    assert "all 12 verified: each decision is the same again" in said
    said, good = run(path, policy="session", as_json=True)
    found = json.loads(said)
    assert good
    assert (found["decisions"], found["verified"], found["different"]) == (12, 12, 0)
    other = found["other"]
    assert (other["requests"], other["compared"], other["policy"]) == (12, 12, "session")
    assert 0 < other["moved"] <= 12
    # nobody sees whose prompts these are: one session, one replica, all that comes again is cached
    assert other["hit_share"]["other_modelled"] > other["hit_share"]["recorded_modelled"] >= 0
    assert other["ttft_s"]["recorded_known"]["requests"] == 12
