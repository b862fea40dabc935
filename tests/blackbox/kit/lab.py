"""A bench for one check: replicas that it scripts, a balancer process in front of them, and an end to all of it.

BLACKBOX_LOOP (asyncio or uvloop) chooses the balancer's event loop.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.blackbox.kit.client import Exchange, ask, chat, get
from tests.blackbox.kit.replica import LOOPBACK, METRICS, PROBE, Replica

ROOT = Path(__file__).parents[3]
READY_S = 25
STOP_S = 2
CHECK_S = 45


class Balancer:
    """The process under test. It is the leader of a session of its own, which ends with it."""

    def __init__(self, urls: list[str], policy: str, log: Path):
        self.log = log
        self.url = ""
        command = [sys.executable, "-m", "balancer", "serve", "--host", LOOPBACK, "--port", "0"]
        command += ["--policy", policy, "--worker-urls", *urls]
        if loop := os.environ.get("BLACKBOX_LOOP"):
            command += ["--event-loop", loop]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                start_new_session=True,
            )

    async def ask(self, body: object, **request) -> Exchange:
        return await ask(self.url, body, **request)

    async def get(self, target: str, **request) -> Exchange:
        return await get(self.url, target, **request)

    async def ready(self) -> None:
        """Wait until it answers for itself and for a replica."""
        deadline = time.monotonic() + READY_S
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the balancer ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the balancer was not ready in {READY_S} s:\n{self.tail()}")
            if listening := re.search(rb"listening on (http://[\d.]+:\d+)", self.log.read_bytes()):
                self.url = listening[1].decode()
                health = await self.get("/health", timeout_s=1.5)
                if health.status == 200 and (await self.ask(chat(PROBE), timeout_s=2)).status == 200:
                    return
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


class Lab:
    def __init__(self, folder: Path):
        self._folder = folder
        self._replicas: list[Replica] = []
        self._balancers: list[Balancer] = []

    async def replicas(self, count: int, metrics: str = METRICS) -> list[Replica]:
        made = [await Replica(f"replica-{len(self._replicas) + i}", metrics).start() for i in range(count)]
        self._replicas += made
        return made

    async def balancer(self, replicas: list[Replica], policy: str = "predicted_latency") -> Balancer:
        urls = [replica.url for replica in replicas]
        balancer = Balancer(urls, policy, self._folder / f"balancer-{len(self._balancers)}.log")
        self._balancers.append(balancer)
        await balancer.ready()
        return balancer

    async def close(self) -> None:
        for balancer in self._balancers:
            await asyncio.to_thread(balancer.stop)
        for replica in self._replicas:
            await replica.close()

    def tails(self) -> str:
        return "\n".join(f"--- {balancer.log.name}\n{balancer.tail()}" for balancer in self._balancers)


def check(
    *reports: str, limit_s: float = CHECK_S
) -> Callable[[Callable[[Lab], Awaitable[None]]], Callable[[], None]]:
    """Run an async check in a lab of its own. `reports` are the public bug reports of balancers it is drawn from."""

    def decorate(body: Callable[[Lab], Awaitable[None]]) -> Callable[[], None]:
        async def main(lab: Lab) -> None:
            try:
                async with asyncio.timeout(limit_s):
                    await body(lab)
            finally:
                await lab.close()

        def run() -> None:
            with tempfile.TemporaryDirectory(prefix="blackbox-") as folder:
                lab = Lab(Path(folder))
                try:
                    asyncio.run(main(lab))
                except BaseException as failure:
                    failure.add_note(lab.tails())
                    raise

        run.__name__, run.__doc__, run.reports = body.__name__, body.__doc__, reports
        return run

    return decorate


async def until(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def posts(replicas: list[Replica]) -> list[int]:
    return [len(replica.posts) for replica in replicas]
