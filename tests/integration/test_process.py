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

    async def says(self, text):
        async with asyncio.timeout(10):
            while text not in self.log:
                line = await self.process.stderr.readline()
                assert line, self.log.decode()
                self.log += line

    async def ended(self):
        async with asyncio.timeout(10):
            self.log += await self.process.stderr.read()
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(*arguments, port=0):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balancer", "serve", "--host", LOOPBACK, "--port", str(port), *arguments,
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
        assert answer.events()[-1]["error"]["code"] == 503
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
        (access,) = [line for line in lines if line["logger"] == "balancer.access"]
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


def settings_file(path, *replicas, **more):
    """Written aside and put in its place, as editors do."""
    named = [{"url": replica.url, "name": replica.name} for replica in replicas]
    aside = path.with_suffix(".new")
    aside.write_text(
        json.dumps({"replicas": named, "health_interval_s": 0.05, "models_interval_s": 0.05, **more})
    )
    aside.replace(path)


async def served_by(port, name):
    """Ask until this replica answers; nothing else than 200 may come."""
    client = await Client.connect(port)
    async with asyncio.timeout(10):
        while True:
            answer = await client.ask(chat())
            assert answer.status == 200
            if answer.json()["served_by"] == name:
                break
            await asyncio.sleep(0.02)
    await client.close()


@LOOP
@async_test
async def test_sighup_brings_another_configuration_and_streams_go_on(loop_name, tmp_path):
    replicas = [await Replica(name).start() for name in ("r0", "r1")]
    file = tmp_path / "balancer.yaml"
    settings_file(file, replicas[0], event_loop=loop_name, config_watch_interval_s=0)
    async with serving("--config", str(file)) as served:
        client = await working(served.port)
        asked = asyncio.Queue()
        replicas[0].on_post = lambda connection, request: asked.put_nowait(connection)
        client.send(stream())
        upstream = await asked.get()
        upstream.write(SSE_HEAD, chunk(ROLE))
        answer = await client.head()
        await client.more(answer)
        settings_file(file, replicas[1], event_loop=loop_name, config_watch_interval_s=0)
        served.process.send_signal(signal.SIGHUP)
        await served.says(b"1 added (r1), 1 removed (r0)")
        await served_by(served.port, "r1")
        file.write_text("replicas: [")
        served.process.send_signal(signal.SIGHUP)
        await served.says(b"config: expected valid YAML")
        await served_by(served.port, "r1")
        upstream.write(chunk(token("a")), LAST_CHUNK)
        await client.read(answer)
        assert (answer.complete, answer.body) == (True, ROLE + token("a"))
        await served.says(b"replica r0 (%s) has left" % replicas[0].url.encode())
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
        assert b"Traceback" not in served.log
        await client.close()
    for replica in replicas:
        await replica.stop()


@async_test
async def test_a_config_map_is_watched(tmp_path):
    replicas = [await Replica(name).start() for name in ("r0", "r1")]
    for replica in replicas:
        (tmp_path / replica.name).mkdir()
        settings_file(tmp_path / replica.name / "balancer.yaml", replica, config_watch_interval_s=0.1)
    (tmp_path / "..data").symlink_to("r0")
    (tmp_path / "balancer.yaml").symlink_to("..data/balancer.yaml")
    async with serving("--config", str(tmp_path / "balancer.yaml")) as served:
        await (await working(served.port)).close()
        await served_by(served.port, "r0")
        (tmp_path / "..tmp").symlink_to("r1")
        (tmp_path / "..tmp").replace(tmp_path / "..data")
        await served.says(b"1 added (r1), 1 removed (r0)")
        await served_by(served.port, "r1")
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
    for replica in replicas:
        await replica.stop()


class Load:
    """Clients that ask all the time, on kept and on fresh connections, streamed and whole: every answer must be whole."""

    def __init__(self, port):
        self.port = port
        self.asked = 0
        self.resets = 0
        self.stopped = False

    async def connect(self):
        """Between the two system calls with which a listening socket is closed (frontend/listeners.py) a connection may be reset
        before anything was sent on it, and clients open another.
        """
        try:
            return await Client.connect(self.port)
        except ConnectionResetError:
            self.resets += 1
            return await Client.connect(self.port)

    async def ask(self, number):
        client = None
        try:
            while not self.stopped:
                client = client or await self.connect()
                answer = await client.ask(stream() if (number + self.asked) % 2 else chat())
                assert (answer.status, answer.complete) == (200, True), (answer, self.asked)
                self.asked += 1
                if number % 3 == 0 or answer.get("connection") == "close":
                    await client.close()
                    client = None
                await asyncio.sleep(0.002 * number)
        finally:
            if client is not None:
                await client.close()


@LOOP
@async_test
async def test_a_successor_on_the_same_port_takes_over_and_no_request_is_lost(loop_name):
    # NVIDIA/nvcf#1531: 220 failed requests per deployment
    replica = await Replica().start()
    arguments = (
        "--replicas",
        replica.url,
        "--reuse-port",
        "--event-loop",
        loop_name,
        "--drain-delay-s",
        "0.5",
    )
    async with serving(*arguments) as first:
        await (await working(first.port)).close()
        load = Load(first.port)
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(load.ask(number))
            async with serving(*arguments, port=first.port) as second:
                before = load.asked
                await until(lambda: load.asked > before + 200)
                first.process.send_signal(signal.SIGTERM)
                assert await first.ended() == 0
                before = load.asked
                await until(lambda: load.asked > before + 200)
                load.stopped = True
                await until(lambda: all(task.done() for task in group._tasks))
                second.process.send_signal(signal.SIGTERM)
                assert await second.ended() == 0
        assert b"Traceback" not in first.log + second.log
        assert b"ended before" not in first.log
        assert load.resets <= 2
    await replica.stop()


@async_test
async def test_a_file_that_is_no_outcome_log_is_a_mistake_of_the_configuration(tmp_path):
    (tmp_path / "notes").write_text("hello " * 1000)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balancer", "serve", "--replicas", "http://127.0.0.1:1", "--outcome-log", tmp_path / "notes",
        cwd=ROOT, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await process.communicate()
    assert process.returncode == 2
    assert told.decode().splitlines() == [
        "balancer: 1 mistake in the configuration",
        "  outcome_log: expected an outcome log, or a file that can be made: file is not a database",
    ]


@LOOP
@async_test
async def test_tiers_and_a_provider_from_a_file(loop_name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOSTED_API_KEY", "k-hosted")
    small, hosted = await Replica("small", model="s").start(), await Replica("hosted", model="p").start()
    file = tmp_path / "balancer.yaml"
    settings_file(
        file,
        small,
        event_loop=loop_name,
        tiers={
            "small": {"model": "s"},
            "hosted": {"model": "p", "url": hosted.url, "api_key_env": "HOSTED_API_KEY"},
        },
        virtual_models={"auto": {"tiers": ["small"], "fallback": "hosted"}},
        access_log=True,
    )
    async with serving("--config", str(file)) as served:
        client = await working(served.port)
        assert (await client.ask(chat(model="auto"))).json()["served_by"] == "small"
        await small.stop()
        async with asyncio.timeout(10):
            while (answer := await client.ask(chat(model="auto"))).status != 200:
                assert answer.status in {502, 503}
        assert answer.json()["served_by"] == "hosted"
        assert answer.get("x-balancer-fallback") == "small=failing"
        assert hosted.posts[-1].all("authorization") == ["Bearer k-hosted"]
        await client.close()
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
        assert b"k-hosted" not in served.log
        assert b"Traceback" not in served.log
    await hosted.stop()
