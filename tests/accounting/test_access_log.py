"""One line per request, which tells what happened and nothing that is secret, and which nobody can forge."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting import access_log
from balancer.accounting.record import Record
from balancer.vllm_api.answers import Usage
from tests.accounting.test_metrics import total, value
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
            "method": "POST",
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


BIG = b"x" * 200
REFUSED = {
    "no key": ({"body": chat()}, 401, "/v1/chat/completions", "AuthenticationError"),
    "no route": ({"target": "/nowhere?key=hidden"}, 404, "/nowhere", "NotFoundError"),
    "no such method": ({"target": "/v1/completions"}, 405, "/v1/completions", "MethodNotAllowedError"),
    "too large": ({"body": BIG}, 413, "/v1/chat/completions", "RequestEntityTooLargeError"),
    "no socket": ({"target": "/v1/realtime"}, 426, "/v1/realtime", "BadRequestError"),
}


@pytest.mark.parametrize("what", REFUSED)
@async_test
async def test_what_never_came_to_a_replica_has_its_line_and_is_counted(caplog, what):
    request, status, path, error = REFUSED[what]
    async with cluster(access_log=True, api_keys=["k3y"], max_body_bytes=150) as (front, (replica,)):
        headers = {"X-Request-Id": "id-2"} | ({} if status == 401 else {"Authorization": "Bearer k3y"})
        assert (await front.ask(**request, headers=headers)).status == status
        await until(lambda: lines(caplog))
        (line,) = lines(caplog)
        told = json.loads(line)
        assert (told["request_id"], told["status"], told["route"], told["error"]) == (
            "id-2",
            status,
            path,
            error,
        )
        assert (told["ended_by"], told["attempts"]) == ("refusal", 0)
        assert "k3y" not in line
        assert "hidden" not in line
        labels = {"route": "other", "model_name": "", "code": str(status), "ended_by": "refusal"}
        assert value(front.balancer.metrics.render("")[0], "balancer_requests_total", **labels) == 1
        assert not replica.posts


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"NO HTTP\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000, 431)],
    ids=["no HTTP", "head"],
)
@async_test
async def test_what_is_no_request_has_a_line_too(caplog, raw, status):
    async with cluster(access_log=True) as (front, _):
        client = await front.client()
        client.writer.write(raw)
        assert (await client.read()).status == status
        await until(lambda: lines(caplog))
        (line,) = map(json.loads, lines(caplog))
        assert (line["status"], line["ended_by"], line["route"]) == (status, "refusal", "")
        page = front.balancer.metrics.render("")[0]
        assert total(page, "balancer_requests_total", code=str(status), ended_by="refusal") == 1


@async_test
async def test_a_client_that_leaves_in_its_body(caplog):
    async with cluster(access_log=True) as (front, _):
        client = await front.client()
        client.writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
        await client.writer.drain()
        await until(lambda: len(front.balancer._server.connections) == 1)
        await client.close()
        await until(lambda: lines(caplog))
        (line,) = map(json.loads, lines(caplog))
        assert (line["status"], line["ended_by"], line["route"]) == (499, "client", "/v1/completions")


@async_test
async def test_own_pages_have_none(caplog):
    async with cluster(access_log=True) as (front, _):
        for target in ("/health", "/ready", "/metrics", "/v1/models"):
            assert (await front.ask(target=target)).status == 200
        assert lines(caplog) == []


@async_test
async def test_a_hostile_name_is_bounded_in_its_line_and_in_metrics(caplog):
    async with cluster(access_log=True) as (front, _):
        for number in range(50):
            await front.ask({**chat(), "model": f"{number}" + "\u2028x" * 100_000})
            await front.ask(target=f"/{number}" + "y" * 5000)
        await until(lambda: len(lines(caplog)) == 100)
        assert max(map(len, lines(caplog))) < 3000
        page = front.balancer.metrics.render("")[0].decode()
        assert page.count('code="404"') == 2  # models that nobody serves, and routes that are not there


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


@given(st.text(), st.text(), st.text(min_size=1))
def test_any_text_is_one_line_of_json(model, replica, request_id):
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    access_log.log.addHandler(handler)
    access_log.log.setLevel(logging.INFO)
    try:
        usage = Usage(1, 2, 0)
        access_log.write(
            Record("/x", 1.0, model=model, replica=replica, ended_at=2.0, usage=usage, request_id=request_id)
        )
    finally:
        access_log.log.removeHandler(handler)
    (line,) = heard
    assert not {"\n", "\r"} & set(line)
    told = json.loads(line)
    assert (told["model"], told["replica"], told.get("request_id")) == (model, replica, request_id)
    assert told["cached_tokens"] == 0
