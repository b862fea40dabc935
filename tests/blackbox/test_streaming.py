"""A stream passes as it comes, byte for byte, and its end is told truly. A client that leaves is followed."""

import asyncio
import json
import os
import re
import signal

import pytest

from tests.blackbox.kit.client import chat, opened
from tests.blackbox.kit.lab import check, posts, until
from tests.blackbox.kit.replica import DONE, delta, event

pytestmark = pytest.mark.blackbox


@check("dstack#4269", "c8s#140", "llama-swap#236")
async def test_the_first_token_is_not_held_back(lab):
    [replica] = await lab.replicas(1)

    async def slow(request, connection):
        await connection.start_stream()
        await connection.chunk(event(delta("FIRST")))
        await asyncio.sleep(1.2)
        await connection.chunk(event(delta("SECOND")), DONE)
        await connection.end()

    replica.on_post = slow
    balancer = await lab.balancer([replica])
    answer = await balancer.ask(chat(stream=True))
    assert answer.ok, answer
    first = next(when for when, data in answer.pieces if b"FIRST" in data)
    second = next(when for when, data in answer.pieces if b"SECOND" in data)
    assert second - first > 0.8, f"sent 1.2 s apart, arrived {second - first:.2f} s apart"


@check("litellm#18842", "litellm#30224", "litellm#30602", "aibrix#2653", "utopia#764")
async def test_a_stream_is_exact_however_it_is_cut(lab):
    """CJK, emoji, U+2028, CRLF, a comment, an event line, a tool call and usage beyond 2^53, in 7-byte chunks."""
    [replica] = await lab.replicas(1)
    text = "\uc548\ub155\ud558\uc138\uc694 \U0001f980 \u2028\u0085\u00e9"
    call = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"city":"\u676d\u5dde"}'},
    }
    tools = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
    sent = (
        b": ping - keepalive\n\nevent: message\ndata: "
        + json.dumps(delta(text), ensure_ascii=False).encode()
        + b"\r\n\r\n"
        + event(json.dumps(tools, ensure_ascii=False).encode())
        + event({"choices": [], "usage": {"prompt_tokens": 2**53 + 1, "completion_tokens": 1}})
        + DONE
    )

    async def cut(request, connection):
        await connection.start_stream()
        for start in range(0, len(sent), 7):
            await connection.chunk(sent[start : start + 7])
            if start % 5 == 0:
                await asyncio.sleep(0.002)
        await connection.end()

    replica.on_post = cut
    balancer = await lab.balancer([replica])
    answer = await balancer.ask(chat(stream=True, stream_options={"include_usage": True}))
    assert answer.ok, answer
    assert answer.body == sent


@check("TensorRT-LLM#13952", "open-webui#24928", "ansible-ai-connect#2000", "sglang#7301")
async def test_one_huge_event_passes_whole(lab):
    [replica] = await lab.replicas(1)
    events = [event(delta("a")), event(delta("x" * (3 << 20))), DONE]
    replica.on_post = lambda _, connection: connection.stream(*events)
    balancer = await lab.balancer([replica])
    answer = await balancer.ask(chat(stream=True), timeout_s=20)
    assert answer.ok, answer
    assert answer.body == b"".join(events), len(answer.body)


@check("litellm#33222", "litellm#39748", "apisix#13876", "nuguard#455", "hive#5923")
async def test_a_stream_that_breaks_is_seen_to_break_and_is_not_replayed(lab):
    replicas = await lab.replicas(2)

    async def breaks(request, connection):
        await connection.start_stream()
        await connection.chunk(event(delta("HELLO")), event(delta("WORLD")))
        await asyncio.sleep(0.3)
        connection.reset()

    for replica in replicas:
        replica.on_post = breaks
    balancer = await lab.balancer(replicas)
    answer = await balancer.ask(chat(stream=True), timeout_s=12)
    await asyncio.sleep(0.5)
    assert answer.status == 200, answer
    assert answer.body.count(b"HELLO") == 1, answer
    assert sum(posts(replicas)) == 1, "sent again after tokens had been delivered"
    assert not answer.complete or b'"error"' in answer.body, f"looks like a success: {answer}"
    assert answer.took_s < 8, answer


@check("open-asm#451", "litellm#9551", "rllm#926")
async def test_a_slow_first_token_and_a_gap_are_waited_for(lab):
    """9 s to the first token, then a gap of 6 s, while /health does not answer."""
    [replica] = await lab.replicas(1)
    frozen = asyncio.Event()

    async def health(request, connection):
        await (connection.closed.wait() if frozen.is_set() else connection.respond(200))

    async def slow(request, connection):
        frozen.set()
        await asyncio.sleep(9)
        await connection.start_stream()
        await connection.chunk(event(delta("A")))
        await asyncio.sleep(6)
        await connection.chunk(event(delta("B")), DONE)
        await connection.end()

    replica.paths["/health"], replica.on_post = health, slow
    balancer = await lab.balancer([replica])
    answer = await balancer.ask(chat(stream=True), timeout_s=25)
    assert answer.ok, answer
    assert DONE in answer.body, answer


async def leave(lab, *, stream: bool, after_first_token: bool) -> None:
    """The upstream connection must close soon after the client's does, or the engine decodes for nobody."""
    [replica] = await lab.replicas(1)
    reached = asyncio.Queue()

    async def hang(request, connection):
        reached.put_nowait(connection)
        if after_first_token:
            await connection.start_stream()
            await connection.chunk(event(delta("A")))
        await connection.closed.wait()

    replica.on_post = hang
    balancer = await lab.balancer([replica])
    async with opened(balancer.url, chat(stream=stream)) as client:
        upstream = await asyncio.wait_for(reached.get(), 5)
        if after_first_token:
            await client.read_head()
            await client.read_piece()
        await asyncio.sleep(0.3)
    assert await until(upstream.closed.is_set, within_s=4), "still open 4 s after the client left"


@check("production-stack#634", "production-stack#1040", "litellm#37140", "litellm#13774")
async def test_leaving_a_plain_request_reaches_the_replica(lab):
    await leave(lab, stream=False, after_first_token=False)


@check("litellm#30244", "litellm#30245", "aiohttp#5693")
async def test_leaving_in_mid_stream_reaches_the_replica(lab):
    await leave(lab, stream=True, after_first_token=True)


@check("litellm#31499")
async def test_leaving_before_the_first_token_reaches_the_replica(lab):
    await leave(lab, stream=True, after_first_token=False)


async def in_flight_gauges(balancer) -> dict[str, float]:
    page = await balancer.get("/metrics")
    assert page.status == 200, page
    samples = [line.rsplit(" ", 1) for line in page.body.decode().splitlines() if line and line[0] != "#"]
    wanted = re.compile(r"(running|inflight|in_flight|active)")
    ending = re.compile(r"_(total|sum|count|bucket|created)$")
    names = {series: series.split("{")[0] for series, _ in samples}
    return {
        s: float(value) for s, value in samples if wanted.search(names[s]) and not ending.search(names[s])
    }


@check("production-stack#1092", "production-stack#1040")
async def test_gauges_of_requests_in_flight_fall_back(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    await balancer.ask(chat("warm"))
    idle = await in_flight_gauges(balancer)

    async def hang(request, connection):
        if request.streams:
            await connection.start_stream()
            await connection.chunk(event(delta("A")))
        await connection.closed.wait()

    replica.on_post = hang
    async with opened(balancer.url, chat("0")), opened(balancer.url, chat("1", stream=True)):
        assert await until(lambda: replica.in_flight == 2, within_s=5)
        busy = await in_flight_gauges(balancer)
        assert any(value > idle.get(series, 0) for series, value in busy.items()), f"no gauge rose: {busy}"
    for _ in range(15):
        now = await in_flight_gauges(balancer)
        stuck = {series: value for series, value in now.items() if value > idle.get(series, 0)}
        if not stuck:
            return
        await asyncio.sleep(0.4)
    raise AssertionError(f"after every client left: {stuck}")


@check("nvcf#1531", "apollo-router#2539", "llm-d-semantic-classifier#13", "aisix#995")
async def test_sigterm_lets_streams_finish(lab):
    [replica] = await lab.replicas(1)

    async def slow(request, connection):
        await connection.start_stream()
        for index in range(10):
            await connection.chunk(event(delta(f"k{index}")))
            await asyncio.sleep(0.25)
        await connection.chunk(DONE)
        await connection.end()

    replica.on_post = slow
    balancer = await lab.balancer([replica])
    async with opened(balancer.url, chat(stream=True)) as client:
        await client.read_head()
        await client.read_piece()
        os.kill(balancer.process.pid, signal.SIGTERM)
        while await asyncio.wait_for(client.read_piece(), 5):
            pass
    assert client.ok, client
    assert client.body.endswith(DONE), client
    assert await until(lambda: balancer.process.poll() is not None, within_s=15), (
        "still there after its last stream"
    )
