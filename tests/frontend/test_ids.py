"""A request's id: the client's own where it can stand in heads and log lines, else one of ours; the same everywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.frontend.ids import MAX_CHARS, given_id, with_id
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test
from tests.fakes.replica import answers

MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("body", [chat(), stream()], ids=["whole", "stream"])
@async_test
async def test_the_clients_id_goes_to_the_replica_and_back(body):
    async with cluster() as (front, (replica,)):
        reply = await front.ask(body, headers={"X-Request-Id": "mine-1"})
        assert reply.all("x-request-id") == ["mine-1"]
        assert replica.posts[0].all("x-request-id") == ["mine-1"]


@async_test
async def test_one_is_made_where_none_came():
    async with cluster() as (front, (replica,)):
        replies = [await front.ask(chat()) for _ in range(2)]
        ids = [reply.get("x-request-id") for reply in replies]
        assert all(MADE.fullmatch(each) for each in ids)
        assert ids[0] != ids[1]
        assert [post.all("x-request-id") for post in replica.posts] == [[each] for each in ids]
        assert ids == [reply.get("x-balancer-decision-id") for reply in replies]


@async_test
async def test_a_replica_that_names_an_id_is_not_contradicted():
    async with cluster() as (front, (replica,)):
        replica.on_post = answers(200, {"ok": 1}, [("X-Request-Id", "theirs")])
        assert (await front.ask(chat())).all("x-request-id") == ["theirs"]


@pytest.mark.parametrize(
    "request_",
    [{"body": {**chat(), "model": "nope"}}, {"body": chat(), "target": "/nowhere"}],
    ids=["model", "path"],
)
@async_test
async def test_a_refusal_tells_it_too(request_):
    async with cluster() as (front, _):
        reply = await front.ask(request_.pop("body"), headers={"X-Request-Id": "mine-2"}, **request_)
        assert (reply.status, reply.get("x-request-id")) == (404, "mine-2")


@async_test
async def test_the_header_may_have_another_name():
    async with cluster(request_id_headers=["x-trace", "x-request-id"], decision_headers=False) as (
        front,
        (replica,),
    ):
        await front.ask(chat(), headers={"X-Trace": "t-1", "X-Request-Id": "other"})
        (post,) = replica.posts
        assert (post.all("x-trace"), post.all("x-request-id")) == (["t-1"], ["t-1"])


@async_test
async def test_what_cannot_stand_in_a_line_is_left_out_and_the_rest_bounded():
    async with cluster() as (front, (replica,)):
        reply = await front.ask(chat(), headers={"X-Request-Id": "a\xe9 \tb" + "c" * 500})
        kept = ("ab" + "c" * 500)[:MAX_CHARS]
        assert reply.get("x-request-id") == kept
        assert replica.posts[0].all("x-request-id") == [kept]


@given(st.text(st.characters()))
def test_whatever_comes_is_short_printable_and_stays_what_it_is(given_):
    kept = given_id({"x-request-id": given_}, ["x-request-id"])
    assert re.fullmatch(r"[\x21-\x7e]*", kept)
    assert len(kept) <= MAX_CHARS
    assert given_id({"x-request-id": kept}, ["x-request-id"]) == kept


def test_a_head_with_two_ids_gets_one():
    raw = [(b"x-request-id", b"a"), (b"Host", b"h"), (b"X-REQUEST-ID", b"a")]
    assert with_id(raw, "a") == [(b"Host", b"h"), (b"X-Request-Id", b"a")]
    untouched = [(b"x-request-id", b"a"), (b"Host", b"h")]
    assert with_id(untouched, "a") is untouched
