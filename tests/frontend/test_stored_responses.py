"""A stored response is known to the replica that made it, and to no other."""

import json

from tests.fakes.balancer import cluster
from tests.fakes.client import stream
from tests.fakes.loops import async_test, on_both_loops
from tests.fakes.replica import SSE_HEAD, Connection, Request, chunk, event

RESPONSES = "/v1/responses"
CREATED = event({"type": "response.created", "response": {"id": "resp_s", "status": "in_progress"}})


def ask(model="m", **more):
    return {"model": model, "input": "hi", **more}


@on_both_loops
async def test_what_names_a_response_goes_to_the_replica_that_made_it():
    async with cluster(3, policy="round_robin") as (front, replicas):
        made_by = {}
        for _ in range(3):
            answer = (await front.ask(ask(), target=RESPONSES)).json()
            made_by[answer["id"]] = next(r for r in replicas if r.name == answer["served_by"])
        assert len(made_by) == 3
        for _ in range(2):
            for response, replica in made_by.items():
                for method, target in (
                    ("GET", f"{RESPONSES}/{response}?include=x"),
                    ("DELETE", f"{RESPONSES}/{response}"),
                    ("POST", f"{RESPONSES}/{response}/cancel"),
                ):
                    answer = await front.ask(method=method, target=target)
                    assert answer.json()["served_by"] == replica.name
                    assert (replica.posts[-1].method, replica.posts[-1].target) == (method, target)
                going_on = ask(previous_response_id=response)
                assert (await front.ask(going_on, target=RESPONSES)).json()["served_by"] == replica.name
        assert front.idle()


@async_test
async def test_a_response_that_nobody_made_is_not_found():
    async with cluster(2) as (front, replicas):
        for method, target in (
            ("GET", f"{RESPONSES}/resp_x"),
            ("DELETE", f"{RESPONSES}/resp_x"),
            ("POST", f"{RESPONSES}/resp_x/cancel"),
        ):
            answer = await front.ask(method=method, target=target)
            assert answer.status == 404
            assert answer.json()["error"]["param"] == "response_id"
        assert not any(replica.posts for replica in replicas)
        answer = await front.ask(ask(previous_response_id="resp_x"), target=RESPONSES)
        assert answer.status == 200  # the replica's to refuse


@async_test
async def test_ids_of_other_routes_are_not_pinned():
    async with cluster() as (front, _):
        await front.ask({"model": "m", "prompt": "x"}, target="/v1/completions")
        assert (await front.ask(target=f"{RESPONSES}/resp_r0")).status == 404


@on_both_loops
async def test_a_response_can_be_fetched_and_cancelled_while_it_is_streamed():
    async with cluster(2) as (front, replicas):

        def script(connection: Connection, request: Request) -> None:
            if request.target == RESPONSES:
                connection.write(SSE_HEAD, chunk(CREATED))
            else:
                connection.respond(200, {"served_by": connection.replica.name})

        for replica in replicas:
            replica.on_post = script
        client = await front.client()
        client.send(stream(), target=RESPONSES)
        answer = await client.head()
        created = json.loads((await client.more(answer)).removeprefix(b"data: "))
        assert created["response"]["id"] == "resp_s"
        maker = next(replica for replica in replicas if replica.posts)
        cancelled = await front.ask(method="POST", target=f"{RESPONSES}/resp_s/cancel")
        assert cancelled.status == 200
        assert cancelled.json()["served_by"] == maker.name


@async_test
async def test_a_response_whose_client_left_can_be_fetched():
    async with cluster(2) as (front, replicas):
        streaming = []

        def script(connection: Connection, request: Request) -> None:
            if request.target == RESPONSES:
                streaming.append(connection)
                connection.write(SSE_HEAD, chunk(CREATED))
            else:
                connection.respond(200, {"served_by": connection.replica.name})

        for replica in replicas:
            replica.on_post = script
        client = await front.client()
        client.send(stream(background=True), target=RESPONSES)
        await client.more(await client.head())
        await client.close()
        await streaming[0].closed.wait()
        fetched = await front.ask(target=f"{RESPONSES}/resp_s")
        assert (fetched.status, fetched.json().get("served_by")) == (200, streaming[0].replica.name)
