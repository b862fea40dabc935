"""The demo: four embedded replicas, real chats through the balancer, round-robin beside the default policy.

The replicas model Qwen3-32B on two H100 in real time, with a KV cache cut to 40,000 tokens so that, as in a real
cluster, no replica can hold every prefix: 24 assistants with a system prompt of about 4,000 tokens each. Chats of
three turns arrive at random (Poisson, seeded, the same for both policies), at a rate that round-robin can keep up with.
"""

import asyncio
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.fleets import Fleet, embedded
from benchmarks.peers.balancer import program as balancer
from benchmarks.peers.peer import Place
from benchmarks.peers.running import running
from benchmarks.processes import Child, NotServingError, all_cores, free_ports
from benchmarks.replica import MODEL
from benchmarks.reporting.counters import engine_hit_rate, engines

REPLICAS = 4
PROFILE = "qwen3-32b-2xh100"
KV_TOKENS = 40_000
ASSISTANTS = 24
SYSTEM_PROMPT_BYTES = 16_000
TURNS = 3
CHATS_PER_S = 6.0
THINK_TIME_S = 0.5
MAX_TOKENS = 48
SEED = 7

console = Console(highlight=False)


@dataclass(slots=True)
class Figures:
    """What one policy did; TTFT in seconds."""

    ttfts: list[float] = field(default_factory=list)
    errors: int = 0
    hit_rate: float = 0.0

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.ttfts, percent)) if self.ttfts else float("nan")


@dataclass(frozen=True, slots=True)
class Cluster:
    url: str
    fleet: Fleet
    children: list[Child]


@contextlib.contextmanager
def cluster(policy: str, port: int, folder: Path) -> Iterator[Cluster]:
    """Fresh replicas, cold, and a balancer in front of them; all ended when the block is left."""
    with embedded(REPLICAS, PROFILE, folder, kv_capacity_tokens=KV_TOKENS) as fleet:
        place = Place(port, fleet.urls, folder, fleet.model)
        with running(balancer(policy), place, all_cores()) as front:
            assert front.child is not None
            yield Cluster(front.url, fleet, [*fleet.children, front.child])


def sentences(rng: random.Random, size_bytes: int) -> str:
    words = "cache block prefix token queue replica batch model answer prompt memory engine request".split()  # noqa: SIM905 - reads better than a list
    out: list[str] = []
    length = 0
    while length < size_bytes:
        sentence = " ".join(rng.choices(words, k=9)) + f" {rng.randrange(10_000)}. "
        out.append(sentence)
        length += len(sentence)
    return "".join(out)


async def chat(
    session: aiohttp.ClientSession, url: str, rng: random.Random, system: str, figures: Figures
) -> None:
    messages = [{"role": "system", "content": system}]
    for _ in range(TURNS):
        messages.append({"role": "user", "content": sentences(rng, 300)})
        answer = await ask(session, url, messages, figures)
        if answer is None:
            return
        messages.append({"role": "assistant", "content": answer})
        await asyncio.sleep(THINK_TIME_S)


async def ask(
    session: aiohttp.ClientSession, url: str, messages: list[dict[str, str]], figures: Figures
) -> str | None:
    """The answer's text, streamed; None if it failed."""
    body = {
        "model": MODEL,
        "messages": messages,
        "stream": True,
        "max_tokens": MAX_TOKENS,
        "ignore_eos": True,
    }
    sent = time.monotonic()
    first: float | None = None
    text: list[str] = []
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                content = content_of(json.loads(line[6:]))
                if content and first is None:
                    first = time.monotonic()
                text.append(content)
    except aiohttp.ClientError:
        figures.errors += 1
        return None
    if first is None:
        figures.errors += 1
        return None
    figures.ttfts.append(first - sent)
    return "".join(text)


def content_of(event: dict[str, Any]) -> str:
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


async def arrivals(rng: random.Random, duration_s: float) -> AsyncIterator[None]:
    """One item for each chat that begins, at its time, whatever became of those before."""
    start = time.monotonic()
    due = 0.0
    while (due := due + rng.expovariate(CHATS_PER_S)) < duration_s:
        await asyncio.sleep(max(0.0, start + due - time.monotonic()))
        yield


async def traffic(target: Cluster, duration_s: float, progress: Progress, label: str) -> Figures:
    rng = random.Random(SEED)
    systems = [sentences(rng, SYSTEM_PROMPT_BYTES) for _ in range(ASSISTANTS)]
    figures = Figures()
    task = progress.add_task(label, total=None)
    before = await target.fleet.samples()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        async for _ in arrivals(rng, duration_s):
            chats = random.Random(rng.random())
            group.create_task(chat(session, target.url, chats, rng.choice(systems), figures))
            progress.update(task, description=f"{label}: {len(figures.ttfts)} answers")
    rate = engine_hit_rate(engines(before, await target.fleet.samples()))
    figures.hit_rate = float("nan") if rate is None else rate
    progress.update(task, description=f"{label}: {len(figures.ttfts)} answers", total=1, completed=1)
    return figures


def table(results: dict[str, Figures]) -> Table:
    shown = Table("policy", title="Time to first token", title_justify="left")
    for column in ("P50", "P90", "P99", "prefix cache hits", "answers", "errors"):
        shown.add_column(column, justify="right")
    for policy, figures in results.items():
        percentiles = [f"{1000 * figures.percentile(each):.0f} ms" for each in (50, 90, 99)]
        shown.add_row(
            policy, *percentiles, f"{figures.hit_rate:.0%}", str(len(figures.ttfts)), str(figures.errors)
        )
    return shown


def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the table.")] = False,
    port: Annotated[int, typer.Option(help="Port of the balancer; 0: a free one.")] = 0,
    duration_s: Annotated[float, typer.Option(help="Traffic for each policy, in seconds.", min=1)] = 20.0,
) -> None:
    """Round-robin beside the default policy, on embedded replicas."""
    console.print(
        f"{REPLICAS} embedded replicas ({PROFILE}, {KV_TOKENS:,} tokens of KV cache each), {ASSISTANTS} assistants with "
        f"system prompts of {SYSTEM_PROMPT_BYTES // 4:,} tokens, {CHATS_PER_S:g} chats/s of {TURNS} turns"
    )
    serving_port = port or free_ports(1)[0]
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="balancer-demo-") as name, contextlib.ExitStack() as stack:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            with cluster("round_robin", serving_port, Path(name)) as target:
                results["round_robin"] = asyncio.run(traffic(target, duration_s, progress, "round_robin"))
            target = stack.enter_context(cluster("predicted_latency", serving_port, Path(name)))
            results["predicted_latency (default)"] = asyncio.run(
                traffic(target, duration_s, progress, "predicted_latency")
            )
        console.print(table(results))
        if not once:
            keep_serving(target)


def keep_serving(target: Cluster) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    question = json.dumps(body)
    console.print(
        f"serving on {target.url} until Ctrl-C; try:\n  curl -N {target.url}/v1/chat/completions -d '{question}'"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while all(child.running for child in target.children):
            time.sleep(0.5)  # there is nothing to wait for but Ctrl-C, or the end of any of them
        raise NotServingError("a process of the demo ended by itself")


def main() -> None:
    # both signals leave through the context managers, so that no process outlives the demo
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        typer.run(demo)
    except NotServingError as error:
        console.print(f"demo: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
