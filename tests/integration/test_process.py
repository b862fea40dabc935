"""The process itself: it starts from the command line, says where it listens, and leaves by a signal."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.fakes.client import LOOPBACK, Client, chat, stream
from tests.fakes.loops import LOOPS, async_test, until
from tests.fakes.replica import LAST_CHUNK, ROLE, SSE_HEAD, Replica, chunk, token

ROOT = Path(__file__).parents[2]
LISTENING = re.compile(rb"listening on http://127.0.0.1:(\d+)")
LOOP = pytest.mark.parametrize("loop_name", LOOPS)


class Process:
    def __init__(self, process):
        self.process = process
        self.log = b""
        self.port = 0

    async def listening(self):
        while not (found := LISTENING.search(self.log)):
            line = await self.process.stderr.readline()
            assert line, self.log.decode()
            self.log += line
        self.port = int(found[1])
        return self

    async def ended(self):
        async with asyncio.timeout(10):
            self.log += await self.process.stderr.read()
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balancer", "serve", "--host", LOOPBACK, "--port", "0", *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield await Process(process).listening()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()


async def working(port):
    client = await Client.connect(port)
    async with asyncio.timeout(10):
        while (await client.ask(target="/ready")).status != 200:
            await asyncio.sleep(0.02)
    return client


@LOOP
@async_test
async def test_sigterm_lets_a_stream_end_and_exits_with_0(loop_name):
    replica = await Replica().start()
    asked = asyncio.Queue()
    async with serving("--replicas", replica.url, "--event-loop", loop_name) as served:
        client = await working(served.port)
        assert (await client.ask(chat())).status == 200
        replica.on_post = lambda connection, request: asked.put_nowait(connection)
        client.send(stream())
        upstream = await asked.get()
        upstream.write(SSE_HEAD, chunk(ROLE))
        answer = await client.head()
        await client.more(answer)
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while b"draining: 1 requests" not in served.log:
                served.log += await served.process.stderr.readline()
        with pytest.raises(OSError):
            async with asyncio.timeout(10):
                while True:
                    await (await Client.connect(served.port)).close()
        upstream.write(chunk(token("a")), LAST_CHUNK)
        await client.read(answer)
        assert (answer.complete, answer.body) == (True, ROLE + token("a"))
        assert await served.ended() == 0
        assert b"Traceback" not in served.log
        await client.close()
    await replica.stop()


@LOOP
@async_test
async def test_a_second_signal_ends_it_at_once(loop_name):
    replica = await Replica().start()
    replica.on_post = lambda connection, request: connection.write(SSE_HEAD, chunk(ROLE))
    async with serving("--replicas", replica.url, "--event-loop", loop_name) as served:
        client = await working(served.port)
        client.send(stream())
        answer = await client.head()
        await client.more(answer)
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while b"draining" not in served.log:
                served.log += await served.process.stderr.readline()
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
        await client.read(answer)
        assert not answer.complete
        assert b"Traceback" not in served.log
        await client.close()
    await until(lambda: not replica.open)
    await replica.stop()


@async_test
async def test_metrics_on_a_port_of_their_own_and_a_json_log():
    replica = await Replica().start()
    arguments = (
        "--replicas",
        replica.url,
        "--log-format",
        "json",
        "--access-log",
        "--prometheus-host",
        LOOPBACK,
    )
    async with serving(*arguments, "--prometheus-port", "0") as served:
        client = await working(served.port)
        assert (await client.ask(chat())).status == 200
        await client.close()
        served.process.send_signal(signal.SIGINT)
        assert await served.ended() == 0
        lines = [json.loads(line) for line in served.log.splitlines()]
        (access,) = [json.loads(line["message"]) for line in lines if line["logger"] == "balancer.access"]
        assert (access["status"], access["model"], access["route"]) == (200, "m", "/v1/chat/completions")
    await replica.stop()


@async_test
async def test_a_port_that_is_taken_is_told_in_one_line():
    replica = await Replica().start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balancer", "serve", "--host", LOOPBACK, "--port", str(replica.port),
        "--replicas", replica.url, cwd=ROOT, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(15):
        _, log = await process.communicate()
    assert process.returncode == 1
    assert b"cannot listen on 127.0.0.1:%d" % replica.port in log
    assert b"Traceback" not in log
    await replica.stop()
