"""A replica dies after tokens were delivered: the client sees one unbroken stream, or is told in so many words."""

import pytest

from balancer.core.types import Fault, Health
from tests.fakes.balancer import cluster
from tests.fakes.client import stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, chunk, event, piece, token

DEAD = event(
    {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
)
ABORT = token("", finish_reason="abort")
END = token("", finish_reason="stop")

GREEDY = {"temperature": 0, "max_tokens": 20}


def greedy(**more):
    return stream(**GREEDY | more)


def role(by):
    return piece([{"index": 0, "delta": {"role": "assistant", "content": ""}}], by=by)


def texts(answer):
    """What the client put together, and everything in the answer that would tell of a second one."""
    chunks = [data for data in answer.events() if data != b"[DONE]"]
    text = "".join(choice["delta"].get("content") or "" for each in chunks for choice in each["choices"])
    roles = sum("role" in choice["delta"] for each in chunks for choice in each["choices"])
    return text, roles, {each["id"] for each in chunks}


def dying(replicas, *begun, how):
    """The replica that is asked first says so much, and then this happens; the others take notes and go on."""
    asked = []

    def script(connection, request):
        asked.append((connection.replica.name, request))
        if len(asked) == 1:
            connection.write(SSE_HEAD, *map(chunk, begun))
            how(connection)
        else:
            last = token(" end", by="2", finish_reason="stop")
            connection.write(SSE_HEAD, *map(chunk, (role("2"), last, DONE)), LAST_CHUNK)

    for replica in replicas:
        replica.on_post = script
    return asked


def dying_when_told(replicas, *begun):
    """The same, but it happens when the test has the connection do it."""
    broken = []
    return dying(replicas, *begun, how=broken.append), broken


WAYS = {
    "reset": lambda connection: connection.reset(),
    "fin": lambda connection: connection.fin(),
    "within an event": lambda connection: (connection.write(b"100\r\ndata: {"), connection.reset()),
    "engine dead": lambda connection: connection.write(chunk(DEAD), chunk(DONE), LAST_CHUNK),
    "silent abort": lambda connection: connection.write(chunk(ABORT), chunk(DONE), LAST_CHUNK),
    "garbage": lambda connection: connection.write(b"zz\r\n"),
}


@pytest.mark.parametrize("way", WAYS)
@on_both_loops
async def test_a_chat_goes_on_where_it_broke(way):
    async with cluster(2) as (front, replicas):
        asked, broken = dying_when_told(replicas, ROLE, token("so"), token(" far"))
        client = await front.client()
        client.send(greedy())
        answer = await client.head()
        await client.more(answer)
        WAYS[way](broken.pop())
        await client.read(answer)
        assert answer.complete
        assert texts(answer) == ("so far end", 1, {"chatcmpl-1"})
        assert answer.body.endswith(DONE)
        assert b": balancer: resumed after 2 tokens\n\n" in answer.body
        (first, _), (second, request) = asked
        assert first != second
        body = request.json()
        assert body["messages"][-1] == {"role": "assistant", "content": "so far"}
        assert (body["continue_final_message"], body["add_generation_prompt"], body["max_tokens"]) == (
            True,
            False,
            18,
        )
        await until(front.idle)
        page = (await front.ask(target="/metrics", method="GET")).body.decode()
        assert 'balancer_broken_streams_total{outcome="resumed"} 1.0' in page
        assert 'balancer_retries_total{model_name="m"} 1.0' in page


@async_test
async def test_a_completion_goes_on_from_its_text():
    async with cluster(2) as (front, replicas):
        parts = [
            event({"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "text": text}]})
            for text in "ab"
        ]
        asked = []

        def script(connection, request):
            asked.append(request)
            if len(asked) == 1:
                connection.write(SSE_HEAD, *map(chunk, parts))
                connection.fin()
            else:
                connection.write(SSE_HEAD, chunk(parts[0].replace(b'"a"', b'"c"')), chunk(DONE), LAST_CHUNK)

        for replica in replicas:
            replica.on_post = script
        body = {"model": "m", "prompt": "Say: ", "stream": True, "temperature": 0}
        answer = await front.ask(body, target="/v1/completions")
        assert answer.complete
        assert [each["choices"][0]["text"] for each in answer.events() if isinstance(each, dict)] == [
            "a",
            "b",
            "c",
        ]
        assert asked[1].json() == body | {"prompt": "Say: ab", "max_tokens": 14}


@async_test
async def test_a_stream_may_break_again_and_again():
    async with cluster(4) as (front, replicas):
        asked = []

        def script(connection, request):
            asked.append((connection.replica.name, request))
            number = str(len(asked))
            connection.write(SSE_HEAD, chunk(role(number)), chunk(token(number, by=number)))
            if len(asked) < 4:
                connection.fin()
            else:
                connection.write(chunk(token("", by=number, finish_reason="stop")), chunk(DONE), LAST_CHUNK)

        for replica in replicas:
            replica.on_post = script
        answer = await front.ask(greedy())
        assert answer.complete
        assert texts(answer) == ("1234", 1, {"chatcmpl-1"})
        assert [post.json()["max_tokens"] for _, post in asked] == [20, 19, 18, 17]
        await until(front.idle)


@async_test
async def test_by_ids_the_request_asks_for_them_and_the_client_sees_none():
    async with cluster(2, resume="exact") as (front, replicas):
        asked = []

        def script(connection, request):
            asked.append(request)
            if len(asked) == 1:
                begun = piece(
                    [{"index": 0, "delta": {"role": "assistant", "content": ""}}], prompt_token_ids=[7, 8]
                )
                connection.write(SSE_HEAD, chunk(begun), chunk(token("so", token_ids=[1])))
                connection.write(chunk(token(" far", token_ids=[2])), chunk(token("", token_ids=[3])))
                connection.fin()
            else:
                choice = {"index": 0, "text": " end", "finish_reason": "stop", "token_ids": [3, 4]}
                first = {"id": "cmpl-2", "created": 2, "model": "m", "object": "text_completion"}
                first["choices"] = [choice | {"prompt_token_ids": [7, 8, 1, 2]}]
                connection.write(SSE_HEAD, chunk(event(first)), chunk(DONE), LAST_CHUNK)

        for replica in replicas:
            replica.on_post = script
        answer = await front.ask(greedy(priority=3))
        assert answer.complete
        assert texts(answer) == ("so far end", 1, {"chatcmpl-1"})
        assert b"token_ids" not in answer.body
        assert asked[0].json()["return_token_ids"] is True
        assert asked[1].target == "/v1/completions"
        wanted = {
            "prompt": [7, 8, 1, 2],
            "max_tokens": 18,
            "temperature": 0,
            "priority": 3,
            "return_token_ids": True,
        }
        assert asked[1].json() == {"model": "m", "stream": True} | wanted


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"resume": "off"}, {}),
        ({}, {"temperature": 0.5}),
        ({}, {"n": 2}),
        ({}, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ({}, {"logprobs": True}),
        ({}, {"response_format": {"type": "json_object"}}),
    ],
)
@async_test
async def test_what_is_not_sound_ends_in_an_error_and_a_broken_frame(settings, more):
    async with cluster(2, **settings) as (front, replicas):
        asked = dying(replicas, ROLE, token("so"), how=WAYS["fin"])
        answer = await front.ask(greedy(**more))
        assert (answer.complete, answer.end) == (False, "closed")
        assert answer.body.startswith(ROLE + token("so") + b'data: {"error":')
        assert b"[DONE]" not in answer.body
        assert len(asked) == 1


@async_test
async def test_a_dead_engine_says_so_itself_where_nobody_goes_on():
    async with cluster(2, resume="off") as (front, replicas):
        _, broken = dying_when_told(replicas, ROLE, token("so"))
        client = await front.client()
        client.send(greedy())
        answer = await client.head()
        await client.more(answer)
        WAYS["engine dead"](broken.pop())
        await client.read(answer)
        assert not answer.complete
        assert answer.body == ROLE + token("so") + DEAD


@async_test
async def test_sampled_streams_go_on_where_that_is_allowed():
    async with cluster(2, resume_sampled=True) as (front, replicas):
        dying(replicas, ROLE, token("so"), how=WAYS["fin"])
        answer = await front.ask(stream())
        assert (answer.complete, texts(answer)[0]) == (True, "so end")


@async_test
async def test_when_nobody_is_left_the_client_is_told():
    async with cluster(2, health_interval_s=60) as (front, replicas):

        def how(connection):
            connection.reset()
            for replica in replicas:
                replica.on_post = lambda connection, request: connection.reset()

        dying(replicas, ROLE, token("so"), how=how)
        answer = await front.ask(greedy())
        assert not answer.complete
        assert answer.body.startswith(ROLE + token("so") + b'data: {"error":')
        assert front.idle()
        page = (await front.ask(target="/metrics", method="GET")).body.decode()
        assert 'balancer_broken_streams_total{outcome="stranded"} 1.0' in page


@async_test
async def test_a_single_replica_that_comes_back_goes_on_itself():
    async with cluster(1, health_interval_s=60) as (front, replicas):
        asked = dying(replicas, ROLE, token("so"), how=WAYS["reset"])
        answer = await front.ask(greedy())
        assert (answer.complete, texts(answer)[0]) == (True, "so end")
        assert [name for name, _ in asked] == ["r0", "r0"]


@pytest.mark.parametrize("begun", [[ROLE, token("so", finish_reason="stop")], [ROLE, token("so")]])
@async_test
async def test_where_only_the_end_is_lacking_it_is_given(begun):
    async with cluster(2) as (front, replicas):
        asked = dying(replicas, *begun, how=WAYS["fin"])
        answer = await front.ask(greedy(max_tokens=1))
        assert answer.complete
        assert texts(answer) == ("so", 1, {"chatcmpl-1"})
        assert answer.body.endswith(DONE)
        reasons = [
            c["finish_reason"]
            for e in answer.events()
            if e != b"[DONE]"
            for c in e["choices"]
            if c.get("finish_reason")
        ]
        assert reasons == ["stop" if "finish_reason" in str(begun) else "length"]
        assert len(asked) == 1


@async_test
async def test_an_old_client_sees_one_stream_too():
    async with cluster(2) as (front, replicas):
        dying(replicas, ROLE, token("so"), how=WAYS["fin"])
        client = await front.client()
        client.send(greedy(), version="1.0")
        answer = await client.read()
        assert texts(answer)[0] == "so end"
        assert answer.get("transfer-encoding") is None
        assert answer.body.endswith(DONE)


@async_test
async def test_a_replica_that_gives_up_a_plain_answer_is_passed_over():
    async with cluster(2) as (front, replicas):
        asked = []

        def script(connection, request):
            asked.append(connection.replica.name)
            reason = "abort" if len(asked) == 1 else "stop"
            message = {"role": "assistant", "content": reason}
            connection.respond(200, {"choices": [{"index": 0, "message": message, "finish_reason": reason}]})

        for replica in replicas:
            replica.on_post = script
        answer = await front.ask({"model": "m", "messages": []})
        assert answer.json()["choices"][0]["finish_reason"] == "stop"
        assert len(set(asked)) == 2
        state = next(state for state in front.fleet if state.id == asked[0])
        assert (state.health, state.fault) == (Health.EJECTED, Fault.DEAD)


@pytest.mark.parametrize("status", [200, 400, 500])
@async_test
async def test_an_answer_that_is_no_stream_is_never_mixed_into_one(status):
    async with cluster(3) as (front, replicas):
        asked = []

        def script(connection, request):
            asked.append(connection.replica.name)
            if len(asked) == 1:
                connection.write(SSE_HEAD, chunk(ROLE), chunk(token("so")))
                connection.fin()
            else:
                connection.respond(status, b"{}" + b" " * 600_000)

        for replica in replicas:
            replica.on_post = script
        answer = await front.ask(greedy())
        assert not answer.complete
        assert answer.body.startswith(ROLE + token("so") + b'data: {"error":')
        assert b"HTTP/" not in answer.body
        await until(front.idle)
