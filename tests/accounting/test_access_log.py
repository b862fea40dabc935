"""One line per request, which tells what happened and nothing that is secret, and which nobody can forge."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting import access_log
from balancer.accounting.record import Record
from balancer.vllm_api.answers import Usage
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.policies import hold
from tests.fakes.replica import answer, silent


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "balancer.access"]


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO, logger="balancer.access")


@on_both_loops
async def test_a_streamed_answer(caplog):
    async with cluster(access_log=True, policy="cache_aware") as (front, _):
        await front.ask(
            stream("secret words"), headers={"X-Request-Id": "id-1", "Authorization": "Bearer k3y"}
        )
        await until(lambda: lines(caplog))
        (line,) = lines(caplog)
        told = json.loads(line)
        assert len(told.pop("decision_id")) == 32
        assert 0 <= told.pop("ttft_s") <= told.pop("duration_s") < 10
        assert told == {
            "request_id": "id-1",
            "route": "/v1/chat/completions",
            "model": "m",
            "replica": "r0",
            "reason": "least_work",
            "status": 200,
            "ended_by": "answer",
            "attempts": 1,
            "prompt_tokens": 7,
            "output_tokens": 2,
        }
        assert "secret" not in line
        assert "k3y" not in line


@async_test
async def test_what_was_expected_and_how_long_it_was_held(caplog):
    async with cluster(access_log=True) as (front, (replica,)):
        hold(front)
        asked = []
        replica.on_post = lambda connection, request: asked.append((connection, request))
        clients = [await front.client() for _ in range(2)]
        for client in clients:
            client.send(stream())
        await until(lambda: asked and len(front.balancer.decider.line) == 1)
        replica.on_post = answer
        answer(*asked[0])
        for client in clients:
            assert (await client.read()).complete
        await until(lambda: len(lines(caplog)) == 2)
        first, held = map(json.loads, lines(caplog))
        assert "waited_s" not in first
        assert 0 < held["waited_s"] <= held["ttft_s"]
        assert (first["reason"], held["reason"]) == ("free", "freed")
        assert first["predicted_ttft_s"] == held["predicted_ttft_s"] == 0.25


@async_test
async def test_a_refusal_and_a_client_that_left(caplog):
    async with cluster(access_log=True) as (front, (replica,)):
        await front.ask({**chat(), "model": "nope"})
        replica.on_post = silent
        client = await front.client()
        client.send(stream())
        await until(lambda: replica.posts)
        await client.close()
        await until(lambda: len(lines(caplog)) == 2)
        refused, left = map(json.loads, lines(caplog))
        assert (refused["status"], refused["ended_by"], refused["attempts"]) == (404, "refusal", 0)
        assert (left["status"], left["ended_by"], left["replica"]) == (499, "client", "r0")


@async_test
async def test_there_is_none_unless_asked_for(caplog):
    async with cluster() as (front, _):
        await front.ask(chat())
        assert lines(caplog) == []


FORGED = 'm"}\r\n{"status": 200, "forged": true}\x1b[2J\u2028\x00'


@async_test
async def test_what_clients_send_stays_within_its_line(caplog):
    async with cluster(access_log=True) as (front, _):
        await front.ask({**chat(), "model": FORGED}, headers={"X-Request-Id": 'x"} {"a": '})
        await until(lambda: lines(caplog))
        (line,) = lines(caplog)
        assert json.loads(line)["model"] == FORGED
        assert "\n" not in line
        assert "\r" not in line
        assert "\x1b" not in line


@pytest.mark.parametrize("raw", [b"\xff\xfe", "\u4f60".encode(), b"a\tb"])
@async_test
async def test_an_id_of_any_bytes_neither_breaks_the_answer_nor_the_log(caplog, raw):
    async with cluster(access_log=True) as (front, _):
        client = await front.client()
        for _ in range(2):
            answer = await client.ask(chat(), headers={"X-Request-Id": raw.decode("latin-1")})
            assert (answer.status, answer.json()["served_by"]) == (200, "r0")
        await until(lambda: len(lines(caplog)) == 2)


@given(st.text(), st.text(), st.none() | st.text())
def test_any_text_is_one_line_of_json(model, replica, request_id):
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    access_log.log.addHandler(handler)
    try:
        record = Record("/x", 1.0, model=model, replica=replica, ended_at=2.0, usage=Usage(1, 2, 0))
        access_log.write(record, request_id)
    finally:
        access_log.log.removeHandler(handler)
    (line,) = heard
    assert not {"\n", "\r"} & set(line)
    told = json.loads(line)
    assert (told["model"], told["replica"], told.get("request_id")) == (model, replica, request_id)
    assert told["cached_tokens"] == 0
