"""Scores that somebody else computes, through the front door: a judge, an embedded replica, and those that say nothing."""

import asyncio
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from balancer.core.tiering.score.features import BUCKETS
from balancer.learning.files import Vectors, save
from tests.embedded.replica_client import replica as embedded
from tests.fakes.client import chat
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import Replica, answers, silent
from tests.fakes.tiers import KEY, tiered
from tests.integration.test_tiers import told
from tests.learning.test_files import metadata

ENCODER = Path(__file__).parents[1] / "data" / "tiers" / "encoder"
EASY, HARD = "Say hello to the birthday guests", "Prove that the theorem holds for all of them"


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("HOSTED_API_KEY", KEY)
    monkeypatch.setenv("JUDGE_API_KEY", "judge-key")


def auto(classifier, **more):
    chosen = {"tiers": ["small", "large"], "threshold": 0.5, "default": "small", "sticky": False}
    return {"auto": {**chosen, "classifier": classifier, **more}}


def judging(judge, **more):
    return {"judge": {"url": judge.url, "model": "j", "api_key_env": "JUDGE_API_KEY", **more}}


def rates(connection, request):
    """5 where there is a theorem, else 1, neither quite sure."""
    digits = {"5": 0.9, "1": 0.1} if b"theorem" in request.body else {"1": 0.9, "5": 0.1}
    top = [{"token": token, "logprob": math.log(p)} for token, p in digits.items()]
    choice = {"message": {"content": next(iter(digits))}, "logprobs": {"content": [{"top_logprobs": top}]}}
    connection.respond(200, {"choices": [choice]})


class Started(Replica):
    async def __aenter__(self):
        return await self.start()

    async def __aexit__(self, *_):
        await self.stop()


@on_both_loops
async def test_a_judge_decides():
    async with Started() as judge:
        judge.on_post = rates
        async with tiered(auto(judging(judge))) as tiers:
            for text, tier, score in ((EASY, "small", "0.100"), (HARD, "large", "0.900")):
                reply = await tiers.ask(chat(text, model="auto"))
                assert (reply.status, told(reply)["tier"], told(reply)["tier-reason"]) == (200, tier, "score")
                assert told(reply)["score"] == score
            assert [post.all("authorization") for post in judge.posts] == [["Bearer judge-key"]] * 2
            assert {post.json()["model"] for post in judge.posts} == {"j"}
            assert not any(post.all("authorization") for post in tiers.small.posts + tiers.large.posts)
        assert not judge.open


@async_test
async def test_nobody_is_asked_where_no_score_is_needed():
    async with Started() as judge:
        judge.on_post = silent
        chosen = {**auto(judging(judge)), "one": {"tiers": ["large"], "classifier": judging(judge)}}
        async with tiered(chosen) as tiers:
            for body, headers in (
                (chat(HARD, model="l"), {}),
                (chat(HARD, model="one"), {}),
                (chat(HARD, model="auto"), {"x-balancer-tier": "large"}),
                (chat(HARD, model="auto", provider={"only": ["large"]}), {}),
                (chat(HARD, model="auto", provider={"order": ["large"]}), {}),
            ):
                reply = await tiers.ask(body, headers=headers)
                assert (reply.status, reply.json()["served_by"]) == (200, "r-large")
            assert not judge.posts


@async_test
async def test_who_says_nothing_is_not_waited_for_and_then_left_alone():
    async with Started() as judge:
        judge.on_post = silent
        async with tiered(auto(judging(judge, timeout_s=0.05))) as tiers:
            for _ in range(5):
                reply = await tiers.ask(chat(HARD, model="auto"))
                assert (reply.status, told(reply)["tier"], told(reply)["tier-reason"]) == (
                    200,
                    "small",
                    "default",
                )
                assert "score" not in told(reply)
            assert len(judge.posts) == 3


@async_test
async def test_a_client_that_leaves_takes_its_question_along():
    async with Started() as judge:
        judge.on_post = silent
        async with tiered(auto(judging(judge, timeout_s=20, max_in_flight=1))) as tiers:
            client = await tiers.front.client()
            asking = asyncio.ensure_future(client.ask(chat(HARD, model="auto")))
            await until(lambda: judge.posts)
            busy = await tiers.ask(chat(HARD, model="auto"))
            assert (busy.status, told(busy)["tier-reason"], len(judge.posts)) == (200, "default", 1)
            asking.cancel()
            await client.close()
            await until(lambda: not judge.open)
            judge.on_post = rates
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert told(reply)["tier"] == "large"
            assert tiers.asked() == ["s", "l"]


@async_test
async def test_a_request_ends_in_its_time_though_its_judge_thinks():
    async with Started() as judge:
        judge.on_post = silent
        async with tiered(auto(judging(judge, timeout_s=20)), total_timeout_s=0.2) as tiers:
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert reply.status == 504
            assert not tiers.asked()


@async_test
async def test_what_a_rule_refuses_by_an_awaited_score_is_refused():
    rules = {
        "signals": {"hard": {"complexity": "hard"}},
        "decisions": {"name": "no", "when": "hard", "then": {"deny": "Too hard."}},
    }
    async with Started() as judge:
        judge.on_post = rates
        async with tiered(auto(judging(judge)), **rules) as tiers:
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert (reply.status, "Too hard." in reply.json()["error"]["message"]) == (403, True)
            assert (await tiers.ask(chat(EASY, model="auto"))).status == 200
            assert len(judge.posts) == 2


@async_test
async def test_other_settings_ask_somebody_else_and_whoever_waits_still_gets_an_answer():
    async with Started("a") as first, Started("b") as second:
        first.on_post, second.on_post = silent, rates
        async with tiered(auto(judging(first, timeout_s=1))) as tiers:
            waiting = asyncio.ensure_future(tiers.ask(chat(HARD, model="auto")))
            await until(lambda: first.posts)
            await tiers.choose(auto(judging(second)))
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert (told(reply)["tier"], len(first.posts), len(second.posts)) == ("large", 1, 1)
            assert told(await waiting)["tier-reason"] == "default"
        assert not first.open
        assert not second.open


def router(path, dimensions, known):
    """Of vectors: what is near the first of `known` needs the strong model."""
    arrays = {
        "known": known, "quality": np.array([[0.0, 1.0], [1.0, 1.0]]), "count": np.array(1), "width": np.array(0.1),
        "gains": np.array([0.0, 1.0]), "seen": np.zeros(BUCKETS // 8, np.uint8), "spreads": np.array([[0.0], [0.1]]),
    }  # fmt: skip
    save(path, metadata(router="knn", head="near", vectors=Vectors("endpoint", "m", dimensions)), arrays)
    return str(path)


@async_test
async def test_a_file_with_vectors_of_an_embedded_replica(tmp_path):
    mine = router(tmp_path / "mine.npz", 16, np.random.default_rng(0).standard_normal((2, 16)))
    async with embedded() as replica:
        url = str(replica.session._base_url)
        chosen = auto({"file": mine, "embeddings": {"url": url, "model": "m", "timeout_s": 10}})
        async with tiered(chosen) as tiers:
            scores = {}
            for number in range(8):
                reply = await tiers.ask(chat(f"What of the number {number}?", model="auto"))
                scores[told(reply)["score"]] = told(reply)["tier"]
            assert scores == {"0.250": "small", "0.750": "large"}


@async_test
async def test_an_embedded_replica_that_classifies_and_one_that_judges_in_words():
    async with embedded() as replica:
        asked = {"url": str(replica.session._base_url), "model": "m", "timeout_s": 10}
        async with tiered(auto({"classify": {**asked, "label": 1}})) as tiers:
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert 0 <= float(told(reply)["score"]) <= 1
        async with tiered(auto({"judge": asked})) as tiers:  # it writes no digit
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert (reply.status, told(reply)["tier-reason"]) == (200, "default")


@async_test
async def test_vectors_that_come_in_many_pieces(tmp_path):
    known = np.zeros((2, 4096))
    known[0, 0] = known[1, 1] = 1
    mine = router(tmp_path / "mine.npz", 4096, known)
    vector = [0.9999999, *[1e-9] * 4095]
    async with Started() as server:
        server.on_post = answers(200, {"padding": "x" * 500_000, "data": [{"index": 0, "embedding": vector}]})
        async with tiered(auto({"file": mine, "embeddings": {"url": server.url, "model": "m"}})) as tiers:
            reply = await tiers.ask(chat(HARD, model="auto"))
            assert (told(reply)["tier"], told(reply)["score"]) == ("large", "0.750")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "tokenizers")),
    reason="not installed: vllm-balancer[encoder]",
)
@async_test
async def test_a_file_with_vectors_of_an_encoder(tmp_path):
    mine = router(tmp_path / "mine.npz", 2, np.eye(2))
    async with tiered(auto({"file": mine, "encoder": str(ENCODER)})) as tiers:
        for text, tier in (("the theorem", "large"), ("breakfast", "small")):
            assert told(await tiers.ask(chat(text, model="auto")))["tier"] == tier
