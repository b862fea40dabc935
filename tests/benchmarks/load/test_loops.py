"""The load client against the backend, and against answers that are wrong in each way."""

import asyncio
import contextlib
import itertools
import time

import pytest

from benchmarks import wire
from benchmarks.backend import serving
from benchmarks.load.client import Client, Expected, Request, post
from benchmarks.load.loops import closed_loop, open_loop
from benchmarks.overhead.bodies import BODIES, Body, requests


async def ask(port, request, times=1):
    client = Client(port)
    try:
        return [await client.ask(request) for _ in range(times)]
    finally:
        client.close()


def get(path, expected):
    return Request(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), Expected(len(expected), expected[-8:]))


@pytest.mark.parametrize("name", list(BODIES))
def test_right_answers_of_the_backend(name):
    async def main():
        async with serving(0) as port:
            return await ask(port, next(requests(BODIES[name], port)), times=2)

    for answer in asyncio.run(main()):
        assert answer.error is None
        assert answer.intended_s <= answer.first_s <= answer.ended_s


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/health", b""),
        ("/v1/models", wire.MODELS),
        ("/version", wire.VERSION),
        ("/metrics", wire.metrics(0)),
    ],
)
def test_pages_of_the_backend(path, page):
    async def main():
        async with serving(0) as port:
            return await ask(port, get(path, page))

    assert asyncio.run(main())[0].error is None


@pytest.mark.parametrize("path", ["/tokenize", "/v1/chat/completions/render"])
def test_the_backend_does_not_tokenize(path):
    async def main():
        async with serving(0) as port:
            return await ask(port, post(path, "x", b"{}", Expected(0)))

    assert asyncio.run(main())[0].error == "status 404"


def test_a_stream_of_n_events_comes_one_by_one():
    body = Body("short", None, stream=True, chunks=20)

    async def main():
        async with serving(0, visits_per_s=200) as port:
            return await ask(port, next(requests(body, port)))

    (answer,) = asyncio.run(main())
    assert answer.error is None
    assert answer.body_bytes == wire.stream_bytes(20)
    assert answer.ended_s - answer.first_s > 18 / 200
    assert answer.reads > 10


class Answers(asyncio.Protocol):
    """Answers every request with these pieces, each a write of a turn of its own."""

    def __init__(self, pieces, *, close):
        self.pieces, self.close = pieces, close

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.send(list(self.pieces))

    def send(self, left):
        if left:
            self.transport.write(left.pop(0))
            asyncio.get_running_loop().call_soon(self.send, left)
        elif self.close:
            self.transport.close()


@contextlib.asynccontextmanager
async def answering(*pieces, close=False):
    loop = asyncio.get_running_loop()
    made = []

    def make():
        made.append(Answers(pieces, close=close))
        return made[-1]

    server = await loop.create_server(make, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for each in made:
        each.transport.abort()
    await asyncio.sleep(0)


GOOD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\n [DONE]!!\r\n0\r\n\r\n"
ASKED = Request(b"GET / HTTP/1.1\r\n\r\n", Expected(14, b"[DONE]!!"))


async def faults(*pieces, close=False, times=1):
    async with answering(*pieces, close=close) as port:
        answers = await ask(port, ASKED, times)
    return [answer.error for answer in answers]


@pytest.mark.parametrize("pieces", [[GOOD], [bytes([byte]) for byte in GOOD]], ids=["whole", "byte by byte"])
def test_an_answer_is_the_same_however_it_is_cut(pieces):
    assert asyncio.run(faults(*pieces, times=2)) == [None, None]


@pytest.mark.parametrize(
    ("answer", "close", "fault"),
    [
        (GOOD.replace(b"200 OK", b"503 Busy"), False, "status 503"),
        (GOOD.replace(b"5\r\nhello\r\n", b""), False, "wrong length"),
        (GOOD.replace(b"[DONE]!!", b"[DONE]??"), False, "wrong end"),
        (GOOD[:-5], True, "connection lost"),
        (b"", True, "connection lost"),
    ],
)
def test_each_wrong_answer_is_named(answer, close, fault):
    assert asyncio.run(faults(answer, close=close)) == [fault]


def test_what_is_not_http_is_named():
    (fault,) = asyncio.run(faults(b"SSH-2.0-OpenSSH_9.6\r\n"))

    assert fault.startswith("not HTTP: ")


def test_a_closed_connection_is_replaced():
    answer = GOOD.replace(b"200 OK\r\n", b"200 OK\r\nconnection: close\r\n")

    assert asyncio.run(faults(answer, close=True, times=3)) == [None, None, None]


def test_an_idle_connection_that_the_server_closed_is_replaced():
    async def main():
        async with serving(0) as port:
            client = Client(port)
            await client.connect(1)
            client._idle.keep(idle := client._idle.take())
        async with asyncio.timeout(5):
            while idle.usable:
                await asyncio.sleep(0)
        async with serving(port):
            try:
                return await client.ask(next(requests(BODIES["small"], port)))
            finally:
                client.close()

    assert asyncio.run(main()).error is None


def test_nobody_listening_is_an_error_and_no_exception():
    async def main():
        async with answering(b"") as port:
            pass
        return await ask(port, ASKED)

    assert asyncio.run(main())[0].error.startswith("cannot connect")


def test_the_closed_loop_asks_as_often_as_it_may():
    async def main():
        async with serving(0) as port:
            client = Client(port)
            try:
                return await closed_loop(
                    client, requests(BODIES["small"], port), connections=4, duration_s=30, max_requests=50
                )
            finally:
                client.close()

    tally = asyncio.run(main())
    assert (tally.asked, tally.answers, tally.errors) == (50, 50, {})
    assert tally.body_bytes == 50 * len(wire.ANSWER)
    assert len(tally.total_s) == 50


def test_the_closed_loop_counts_errors():
    async def main():
        async with answering(GOOD.replace(b"200 OK", b"500 Oops")) as port:
            client = Client(port)
            try:
                return await closed_loop(
                    client, itertools.repeat(ASKED), connections=2, duration_s=30, max_requests=10
                )
            finally:
                client.close()

    tally = asyncio.run(main())
    assert (tally.answers, tally.errors) == (0, {"status 500": 10})


def test_the_open_loop_keeps_its_rate_and_charges_a_stall_to_all_that_waited():
    """The loop is held for 50 ms: requests due meanwhile leave late, and their latency says so."""

    async def main():
        async with serving(0) as port:
            client = Client(port)
            asyncio.get_running_loop().call_later(0.1, time.sleep, 0.05)
            try:
                return await open_loop(
                    client, requests(BODIES["small"], port), rate_per_s=200, duration_s=0.3
                )
            finally:
                client.close()

    tally = asyncio.run(main())
    assert (tally.asked, tally.answers, tally.errors) == (60, 60, {})
    assert tally.wall_s >= 0.29
    assert sum(latency_s > 0.01 for latency_s in tally.total_s) >= 5
