"""Mended answers through the front door: their framing, their heads, and who asked for it."""

import gzip
import json
import sys

import pytest

from balancer.config import extras
from tests.config.given import only, told
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops
from tests.fakes.replica import answers, chunk

ASKED = {"response_format": {"type": "json_object"}}
ON = {"x-balancer-heal-json": "1"}


def answering(text, **more):
    return {
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3},
        **more,
    }


def content(reply):
    return reply.json()["choices"][0]["message"]["content"]


@on_both_loops
async def test_an_answer_is_mended_for_who_asks_for_it():
    async with cluster() as (front, (replica,)):
        broken = answering("```json\n{'a': 1}\n```")
        replica.on_post = answers(200, broken, [("X-Own", "1")])
        reply = await front.ask(chat(**ASKED), headers=ON)
        assert (reply.status, reply.complete, content(reply)) == (200, True, '{"a": 1}')
        assert (reply.get("x-balancer-healed"), reply.get("x-own")) == ("choices.0", "1")
        assert reply.get("content-type") == "application/json"
        for request in (chat(**ASKED), chat()):
            plain = await front.ask(request, headers={} if request != chat() else ON)
            assert (plain.json(), plain.get("x-balancer-healed")) == (broken, None)
        assert front.idle()
        page = (await front.ask(target="/metrics")).body
        assert b'balancer_healed_total{outcome="healed"} 1.0' in page


@on_both_loops
async def test_chunked_answers_and_old_clients_keep_their_framing():
    async with cluster(heal_json=True) as (front, (replica,)):
        raw = json.dumps(answering("{'a': 1}")).encode()

        def in_chunks(connection, request):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.write(head, chunk(raw[:9]), chunk(raw[9:]), b"0\r\n\r\n")

        replica.on_post = in_chunks
        for version in ("1.1", "1.0"):
            reply = await front.ask(chat(**ASKED), version=version)
            assert (reply.complete, content(reply)) == (True, '{"a": 1}')
        off = await front.ask(chat(**ASKED), headers={"x-balancer-heal-json": "0"})
        assert off.body == raw


@async_test
async def test_what_cannot_be_mended_is_byte_for_byte_what_came():
    async with cluster(heal_json=True) as (front, (replica,)):
        raw = b'{ "choices": [{"message": {"content": "no JSON"}, "finish_reason":"stop"}] }'
        replica.on_post = answers(200, raw)
        reply = await front.ask(chat(**ASKED))
        assert (reply.body, reply.get("x-balancer-heal-failed")) == (raw, "choices.0")
        packed = gzip.compress(json.dumps(answering("{'a': 1}")).encode())
        replica.on_post = answers(200, packed, [("Content-Encoding", "gzip")])
        assert (await front.ask(chat(**ASKED))).body == packed
        replica.on_post = answers(400, {"choices": [{"message": {"content": "{'a'"}}]})
        assert (await front.ask(chat(**ASKED))).get("x-balancer-heal-failed") is None
        assert (await front.ask(stream(**ASKED))).status == 400


@async_test
async def test_a_busy_replica_is_passed_over_before_anything_is_mended():
    async with cluster(2, heal_json=True, policy="round_robin") as (front, replicas):
        replicas[0].on_post = answers(503, {"error": "busy"})
        replicas[1].on_post = answers(200, answering("{'a': 1}"))
        for _ in range(3):
            assert content(await front.ask(chat(**ASKED))) == '{"a": 1}'


@pytest.mark.parametrize("value", ["yes", ""])
@async_test
async def test_the_header_says_0_or_1(value):
    async with cluster() as (front, _):
        reply = await front.ask(chat(), headers={"x-balancer-heal-json": value})
        assert (reply.status, reply.json()["error"]["param"]) == (400, "x-balancer-heal-json")


@pytest.fixture
def _without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "json_repair", None)
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    extras.can_heal.cache_clear()
    yield
    monkeypatch.undo()
    extras.can_heal.cache_clear()


@pytest.mark.usefixtures("_without_the_extra")
@async_test
async def test_who_cannot_mend_says_so():
    async with cluster() as (front, _):
        reply = await front.ask(chat(**ASKED), headers=ON)
        assert (reply.status, reply.json()["error"]["param"]) == (400, "x-balancer-heal-json")
        assert (await front.ask(chat(**ASKED))).status == 200
    mistake = only(told({"heal_json": "true"}, {"BALANCER_REPLICAS": "http://a:1"}))
    assert mistake.startswith("heal_json: expected false, or the extra `heal` installed")
