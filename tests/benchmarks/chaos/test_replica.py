"""The replica that fails on command, the load's truths against it, and the client in between."""

import asyncio
import contextlib
import itertools
from collections import Counter

import aiohttp
import pytest

from balancer.embedded.server import ReplicaOptions
from benchmarks.chaos.client import Client
from benchmarks.chaos.replica import MODEL, FaultyServer, Trouble
from benchmarks.chaos.traffic import Ask, Traffic
from benchmarks.chaos.verdict import Outcome, Truth, judge
from benchmarks.load.connection import End
from benchmarks.processes import free_ports

LONG = b'{"model":"embedded-model","prompt":"the red","max_tokens":2000,"ignore_eos":true,"stream":%b}'


class Order:
    def __init__(self, trouble):
        self.match_info = {"name": trouble}


@contextlib.asynccontextmanager
async def serving(speed=5.0, patience_s=0.5):
    (port,) = free_ports(1)
    server = FaultyServer(ReplicaOptions(host="127.0.0.1", port=port, model=MODEL, speed=speed))
    await server.start()
    client = Client(port, patience_s)
    try:
        yield server, client, port
    finally:
        client.close()
        await server.stop()


def ask(*, stream=True, long=False):
    truth = Truth("", "length")
    body = LONG % (b"true" if stream else b"false")
    if not long:
        body = body.replace(b"2000", b"3")
    return Ask("/v1/completions", body, truth, stream, "text")


def test_every_truth_is_what_an_undisturbed_replica_says():
    async def main():
        async with serving(patience_s=10) as (_, client, _):
            asks = list(itertools.islice(Traffic(5).asks(), 120))
            replies = []
            for at in range(0, len(asks), 40):
                replies += await asyncio.gather(*map(client.ask, asks[at : at + 40]))
        verdicts = [
            judge(a.truth, reply.seen(), stream=a.stream) for a, reply in zip(asks, replies, strict=True)
        ]
        counts = Counter(verdict.outcome for verdict in verdicts)
        assert set(counts) == {Outcome.ANSWERED, Outcome.CANCELLED}, [v for v in verdicts if v.why]
        assert 0.1 < counts[Outcome.CANCELLED] / len(asks) < 0.3
        assert {a.kind for a in asks} >= {"chat", "chat, whole", "turn", "text", "text, whole", "logprobs"}
        assert any(a.slow for a in asks)

    asyncio.run(main())


def test_the_same_seed_gives_the_same_load():
    first, again, other = (list(itertools.islice(Traffic(seed).asks(), 200)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("trouble", "end", "status", "holds"),
    [
        (Trouble.NONE, End.COMPLETE, 200, b"[DONE]"),
        (Trouble.ERRORS, End.COMPLETE, 500, b"EngineCore"),
        (Trouble.BUSY, End.COMPLETE, 503, b"busy"),
        (Trouble.BUSY_EVENT, End.COMPLETE, 200, b'data: {"error":'),
        (Trouble.HALF_OPEN, End.SILENT, None, b""),
        (Trouble.REFUSED, End.LOST, None, b""),
    ],
)
def test_troubles_of_answers(trouble, end, status, holds):
    async def main():
        async with serving() as (server, client, port):
            assert (await server.obey(Order(trouble))).status == 200
            reply = await client.ask(ask())
            assert (reply.end, reply.status) == (end, status)
            assert holds in bytes(reply.body)
            if trouble not in {Trouble.HALF_OPEN, Trouble.REFUSED}:
                async with aiohttp.request("GET", f"http://127.0.0.1:{port}/health") as health:
                    assert health.status == 200
            await server.obey(Order(Trouble.NONE))
            assert (await client.ask(ask())).end is End.COMPLETE

    asyncio.run(main())


def test_a_reset_breaks_a_stream_in_the_middle():
    async def main():
        async with serving(speed=1.0, patience_s=5) as (server, client, _):
            await server.obey(Order(Trouble.RESET))
            reply = await client.ask(ask(long=True))
            assert reply.end is End.LOST
            assert b"[DONE]" not in reply.body

    asyncio.run(main())


def test_garbage_on_the_metrics_page_and_an_order_that_is_none():
    async def main():
        async with serving() as (server, _, port):
            assert (await server.obey(Order("dance"))).status == 404
            await server.obey(Order(Trouble.METRICS_GARBAGE))
            async with aiohttp.request("GET", f"http://127.0.0.1:{port}/metrics") as page:
                assert b"# TYPE" not in await page.read()

    asyncio.run(main())


@pytest.mark.parametrize("stream", [True, False])
def test_told_to_stop_it_ends_answers_cleanly_and_too_early(stream):
    async def main():
        async with serving(speed=1.0, patience_s=5) as (server, client, _):
            asked = asyncio.ensure_future(client.ask(ask(long=True, stream=stream)))
            async with asyncio.timeout(10):
                while server.idle:
                    await asyncio.sleep(0.01)
            await server.stop()
            reply = await asked
        assert (reply.end, reply.status) == (End.COMPLETE, 200)
        assert b'"finish_reason":"abort"' in reply.body
        assert reply.body.count(b" ") < 1900

    asyncio.run(main())


def test_a_kept_connection_that_was_closed_is_not_a_lost_request():
    async def main():
        gone = asyncio.Semaphore(0)

        async def once(reader, writer):
            """Answers the first request of a connection; the next one finds it closed."""
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b""):
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
                    writer.write(answer)
            writer.close()
            gone.release()

        async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
            client = Client(server.sockets[0].getsockname()[1], patience_s=1)
            replies = [await client.ask(ask(stream=False)) for _ in range(4)]
            client.close()
            for _ in range(4):  # a connection each
                await gone.acquire()
        assert [(reply.end, bytes(reply.body)) for reply in replies] == [(End.COMPLETE, b"ok")] * 4

    asyncio.run(main())
