"""Through the front door: replicas that do anything at all, clients that leave at any moment, and nothing is left behind."""

import asyncio
import contextlib
import json
import re
from random import Random

import pytest
from hypothesis import settings

from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import on_both_loops, until
from tests.fakes.policies import hold
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, USAGE, Replica, chunk, event, silent, token

AT_ONCE = 40
REQUESTS = 120 * min(6, max(1, settings.default.max_examples // 100))
TICK_S = 0.02
MOST_TOKENS = 9

BUSY = {"error": {"message": "busy", "type": "ServiceUnavailableError", "code": 503}}
DEAD = {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
ABORT = {
    "id": "chatcmpl-1",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}],
}


def whole(connection, request):
    if request.json().get("stream"):
        connection.write(SSE_HEAD, *map(chunk, (ROLE, token("a"), token("b"), USAGE, DONE)), LAST_CHUNK)
    else:
        connection.respond(
            200, {"id": "1", "whole": True, "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
        )


async def slow(connection, request):
    connection.write(SSE_HEAD, chunk(ROLE))
    for piece in (token("a"), token("b"), DONE):
        await asyncio.sleep(TICK_S)
        if connection.closed.is_set():
            return
        connection.write(chunk(piece))
    connection.write(LAST_CHUNK)


async def late(connection, request):
    await asyncio.sleep(TICK_S)
    if not connection.closed.is_set():
        whole(connection, request)


def begun(connection, *pieces):
    connection.write(SSE_HEAD, *map(chunk, (ROLE, token("a"), *pieces)))


def breaks(connection, request):
    begun(connection)
    connection.reset()


def ends_short(connection, request):
    begun(connection)
    connection.write(b"40\r\ndata: {")
    connection.fin()


def tells_of_death(connection, request):
    begun(connection, event(DEAD), DONE)
    connection.write(LAST_CHUNK)


def gives_up(connection, request):
    begun(connection)
    connection.write(chunk(event(ABORT)), chunk(DONE), LAST_CHUNK)


def busy_in_band(connection, request):
    connection.write(SSE_HEAD, chunk(event(BUSY)), chunk(DONE), LAST_CHUNK)


def falls_silent(connection, request):
    begun(connection)


def says(status, body):
    return lambda connection, request: connection.respond(status, body)


SCRIPTS = {
    "whole": whole,
    "late": late,
    "slow": slow,
    "breaks": breaks,
    "ends short": ends_short,
    "tells of death": tells_of_death,
    "gives up": gives_up,
    "busy in band": busy_in_band,
    "falls silent": falls_silent,
    "silent": silent,
    "400": says(400, {"error": {"message": "no", "code": 400}}),
    "500": says(500, {"error": {"message": "oops", "code": 500}}),
    "503": says(503, BUSY),
    "reset": lambda connection, request: connection.reset(),
    "garbage": lambda connection, request: connection.write(b"SSH-2.0-x\r\n\r\n"),
    "closes after": lambda connection, request: connection.respond(
        200, {"id": "1", "whole": True}, close=True
    ),
}
SILENT = {"silent", "falls silent"}
LEAVES = ("at once", "soon", "with the head", "later")


class Act:
    """Each request brings the plan of its attempts: what the first, the second, ... replica that is asked does."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.asked: dict[int, int] = {}
        self.used = set()
        for replica in replicas:
            replica.on_post = self.on_post

    def on_post(self, connection, request):
        plan, number = request.json()["plan"], request.json()["number"]
        attempt = self.asked[number] = self.asked.get(number, -1) + 1
        self.used.add(connection)
        return SCRIPTS[plan[min(attempt, len(plan) - 1)]](connection, request)


def drawn(rng, number, *, timed):
    """Without time limits nobody waits for a replica that is silent: then it is the clients that leave."""
    plan = [rng.choice(list(SCRIPTS)) for _ in range(rng.randint(1, 3))] + ["whole"] * rng.randint(0, 1)
    make = stream if rng.random() < 0.7 else chat
    temperature = {"temperature": 0} if rng.random() < 0.7 else {}  # else no stream is gone on with
    leaves = rng.choice(LEAVES) if rng.random() < 0.3 else None
    if not timed and not SILENT.isdisjoint(plan):
        leaves = "soon"
    body = make(rng.choice("pqr") * 300, plan=plan, number=number, max_tokens=MOST_TOKENS, **temperature)
    return body, leaves


async def visit(front, rng, body, leaves):
    client = await front.client()
    answer = None
    try:
        client.send(body)
        if leaves is None:
            answer = await client.read()
        elif leaves == "soon":
            await asyncio.sleep(rng.random() * TICK_S)
        elif leaves != "at once":
            head = await client.head()
            if leaves == "later" and head.get("transfer-encoding"):
                await client.more(head)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise AssertionError(f"closed without an answer: {body['plan']}") from None
    finally:
        if leaves is None or rng.random() < 0.5:
            await client.close()
        else:
            client.reset()
    return answer


def check(answer, body):
    """An answer that looks whole is whole, and one that is not says so."""
    if answer.get("transfer-encoding") is None:
        assert answer.complete, body["plan"]
        told = answer.json()
        assert "whole" in told or "error" in told or answer.status != 200
        return
    if answer.complete:
        assert answer.body.endswith(DONE), body["plan"]
        told = [each for each in answer.events() if isinstance(each, dict)]
        text = "".join(c["delta"].get("content", "") for each in told for c in each.get("choices", ()))
        # each replica begins with a, even after one that broke between its last text and its end
        in_full = re.fullmatch(f"a[ab]*b|a{{{MOST_TOKENS}}}", text)
        assert in_full or any("error" in each for each in told), (text, body["plan"])
    else:
        assert b'"error"' in answer.body.split(b"\n\n")[-2], body["plan"]


@contextlib.asynccontextmanager
async def serving():
    replica = await Replica("spare").start()
    try:
        yield replica
    finally:
        await replica.stop()


@pytest.mark.parametrize(
    ("policy", "resume", "timed"),
    [("predicted_latency", "text", True), ("cache_aware", "exact", False), ("held", "text", False)],
)
@on_both_loops
async def test_after_everything_nothing_is_counted_waited_for_or_running(policy, resume, timed):
    rng = Random(f"{policy} {resume}")
    given = {"policy": "round_robin" if policy == "held" else policy, "resume": resume}
    limits = {"first_byte_timeout_s": 0.2, "idle_timeout_s": 0.2} if timed else {}
    async with serving() as spare, cluster(3, **given, **limits) as (front, replicas):
        if policy == "held":
            hold(front)
        act = Act([*replicas, spare])
        gate = asyncio.Semaphore(AT_ONCE)
        balancer = front.balancer
        idle_tasks = len(asyncio.all_tasks())

        async def one(number):
            body, leaves = drawn(rng, number, timed=timed)
            async with gate:
                answer = await visit(front, rng, body, leaves)
            if answer is not None:
                check(answer, body)

        async def reload():
            """One replica leaves, comes back, and moves, while all others stay."""
            stays, moves = replicas[:2], replicas[2]
            for there in ([], [moves], [{"url": spare.url, "name": moves.name}], [moves]):
                await asyncio.sleep(3 * TICK_S)
                await front.reload(*stays, *there, **given, **limits)

        async with asyncio.TaskGroup() as group:
            group.create_task(reload())
            for number in range(REQUESTS):
                group.create_task(one(number))

        lifecycle = balancer._lifecycle
        await until(front.idle)
        await until(lambda: not lifecycle._running)
        await until(lambda: not balancer.decider.fleet.leaving)
        assert not lifecycle.watchman._under_way
        assert not lifecycle.room._places
        assert len(balancer.decider.line) == 0
        # what is still open upstream is idle in the pools, on our side and on theirs
        await until(
            lambda: (
                sum(not connection.closed.is_set() for connection in act.used)
                == sum(not kept.closed for pool in balancer.replicas.pools.values() for kept in pool._idle)
            )
        )
        assert all(kept._exchange is None for pool in balancer.replicas.pools.values() for kept in pool._idle)
        await until(lambda: len(asyncio.all_tasks()) <= idle_tasks)
        assert json.loads((await front.ask(target="/load")).body) == {"server_load": 0}
        assert len(act.asked) > REQUESTS / 2
