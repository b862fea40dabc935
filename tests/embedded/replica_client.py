"""A replica on a free port of this machine, and a client for it."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from balancer.embedded.server import ReplicaOptions, serve_replica

TINY = {"port": 0, "profile": "tiny", "model": "m"}
SLOW = {**TINY, "speed": 0.02}  # 50 ms a step: slow enough to act in the middle of an answer

CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": "hello there"}],
    "max_tokens": 5,
    "ignore_eos": True,
}
TEXT = {"model": "m", "prompt": "hello there", "max_tokens": 5, "ignore_eos": True}
MESSAGES = {"model": "m", "messages": CHAT["messages"], "max_tokens": 2}
RESPONSES = {"model": "m", "input": "hello there", "max_output_tokens": 5, "ignore_eos": True}


@dataclass
class Client:
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(path) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        async with self.session.post(path, json=body, **options) as response:
            return response.status, await response.json()

    async def events(self, path: str, body: dict[str, Any]) -> list[tuple[str | None, Any]]:
        """All events of a stream, as (name, data); [DONE] stays a string."""
        async with self.session.post(path, json={**body, "stream": True}) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            return parse_events((await response.read()).decode())

    async def metrics(self) -> str:
        async with self.session.get("/metrics") as response:
            return await response.text()

    async def metric(self, line_start: str) -> float:
        (line,) = [line for line in (await self.metrics()).splitlines() if line.startswith(line_start)]
        return float(line.rsplit(" ", 1)[1])

    async def until(self, line_start: str, value: float) -> None:
        async with asyncio.timeout(10):
            while await self.metric(line_start) != value:
                await asyncio.sleep(0.01)


def parse_events(text: str) -> list[tuple[str | None, Any]]:
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if fields:
            data = fields["data"]
            events.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return events


@contextlib.asynccontextmanager
async def replica(**options: Any):
    loop = asyncio.get_running_loop()
    port = loop.create_future()
    task = loop.create_task(serve_replica(ReplicaOptions(**{**TINY, **options}), ready=port.set_result))
    try:
        async with asyncio.timeout(10):
            await asyncio.wait([port, task], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port.result()}") as session:
            yield Client(session)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def with_replica(test, **options: Any) -> None:
    """Runs `test(client)` against a fresh replica."""

    async def main() -> None:
        async with replica(**options) as client:
            await test(client)

    asyncio.run(main())
