"""What a service manager is told, over a real socket: by the process from its start to its end, and when nobody listens."""

import asyncio
import os
import signal
import socket

import pytest

from balancer.service_manager import ServiceManager
from tests.fakes.loops import async_test
from tests.fakes.replica import Replica
from tests.integration.test_process import serving, working


class Manager:
    """The socket that NOTIFY_SOCKET names, and what was told on it."""

    def __init__(self, folder, *, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = f"@balancer-test-{os.getpid()}" if abstract else str(folder / "notify")
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        self.socket.setblocking(False)

    async def told(self):
        """The next message but signs of life, as a dict."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while True:
                lines = (await loop.sock_recv(self.socket, 4096)).decode().split("\n")
                message = dict(line.split("=", 1) for line in lines)
                if "WATCHDOG" not in message:
                    return message

    def close(self):
        self.socket.close()


@async_test
async def test_a_manager_hears_of_start_reload_refusal_and_stop(tmp_path, monkeypatch):
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.name)
    replica = await Replica().start()
    config = tmp_path / "balancer.yaml"
    config.write_text(f"replicas: {replica.url}\nconfig_watch_interval_s: 0\n")
    async with serving("--config", str(config)) as served:
        begun = await manager.told()
        assert begun["READY"] == "1"
        assert begun["STATUS"] == "1 replicas, policy predicted_latency"
        await (await working(served.port)).close()
        served.process.send_signal(signal.SIGHUP)
        reloading = await manager.told()
        assert reloading["RELOADING"] == "1"
        assert int(reloading["MONOTONIC_USEC"]) > 0
        assert (await manager.told())["STATUS"] == "the configuration was read anew: replicas: unchanged"
        config.write_text("replicas: nonsense\n")
        served.process.send_signal(signal.SIGHUP)
        assert "RELOADING" in await manager.told()
        refused = await manager.told()
        assert (refused["READY"], refused["STATUS"]) == (
            "1",
            "a new configuration was refused, the old one holds",
        )
        served.process.send_signal(signal.SIGTERM)
        stopping = await manager.told()
        assert (stopping["STOPPING"], stopping["STATUS"]) == ("1", "draining: 0 requests in flight, 0 held")
        assert await served.ended() == 0
    await replica.stop()
    manager.close()


@async_test
async def test_a_watchdog_is_fed_more_often_than_it_asks(tmp_path):
    manager = Manager(tmp_path, abstract=True)
    telling = ServiceManager({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "3000000"})
    assert telling.watchdog_s == 3
    assert await telling.alive() == 1
    assert manager.socket.recv(4096) == b"WATCHDOG=1"
    manager.close()


@pytest.mark.parametrize("micros", ["", "0", "soon", "-5"])
def test_nobody_watches_who_did_not_say_how_long(micros):
    assert ServiceManager({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": micros}).watchdog_s is None


def test_without_a_manager_nobody_watches():
    assert ServiceManager({"WATCHDOG_USEC": "3000000"}).watchdog_s is None


def test_a_manager_that_does_not_listen_stops_nobody(tmp_path, caplog):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("serving")
    assert "cannot be told READY=1" in caplog.text


def test_a_manager_that_does_not_read_blocks_nobody(tmp_path, caplog):
    manager = Manager(tmp_path)
    telling = ServiceManager({"NOTIFY_SOCKET": manager.name})
    while not caplog.records:
        telling.stopping("x" * 1000)
    assert "cannot be told STOPPING=1" in caplog.text
    manager.close()
