"""The faults, each with a window in which it lasts, and the schedule of them. A fault leaves everything as it found it.

A window is closed when the fault is undone: a killed replica serves again. `survivor` says whether at least one
replica is healthy all the while, so that nothing resumable may fail.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.chaos.lab import Lab
from benchmarks.chaos.replica import Trouble

_DRAINED_WITHIN_S = 60.0


class Unsupported(Exception):
    """What stands in front cannot take this fault; the message says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    inflict: Callable[[Lab, float], Awaitable[None]]
    """Does it, lets it last so many seconds, and undoes it. Raises: Unsupported."""

    window_s: float = 8.0
    survivor: bool = True
    any_replica: bool = False
    """Needs nothing but signals and restarts, so a replica of any make will do."""


async def _sigkill(lab: Lab, window_s: float) -> None:
    victim = lab.rng.choice(lab.replicas)
    await victim.kill()
    await asyncio.sleep(window_s)
    await victim.start()


async def _restart(lab: Lab, window_s: float) -> None:
    """Dies and is back at once, on the same port and with an empty cache; so it is asked before anyone noticed."""
    victim = lab.rng.choice(lab.replicas)
    await victim.kill()
    await victim.start()
    await asyncio.sleep(window_s)


async def _freeze(lab: Lab, window_s: float) -> None:
    victim = lab.rng.choice(lab.replicas)
    victim.send(signal.SIGSTOP)
    await asyncio.sleep(window_s)
    victim.send(signal.SIGCONT)


async def _silent_abort(lab: Lab, window_s: float) -> None:
    victim = lab.rng.choice(lab.replicas)
    victim.send(signal.SIGTERM)
    await victim.ended()
    await asyncio.sleep(window_s)
    await victim.start()


async def _all_down(lab: Lab, window_s: float) -> None:
    await asyncio.gather(*(each.kill() for each in lab.replicas))
    await asyncio.sleep(window_s)
    await asyncio.gather(*(each.start() for each in lab.replicas))


def _ordered(trouble: Trouble, *, all_but_one: bool = False) -> Callable[[Lab, float], Awaitable[None]]:
    async def inflict(lab: Lab, window_s: float) -> None:
        victims = lab.rng.sample(lab.replicas, len(lab.replicas) - 1 if all_but_one else 1)
        for each in victims:
            await each.order(trouble)
        await asyncio.sleep(window_s)
        for each in victims:
            await each.order(Trouble.NONE)

    return inflict


async def _reload(lab: Lab, window_s: float) -> None:
    """One replica leaves the configuration and another joins it; later the other way round."""
    front = lab.front
    if front.child is None or lab.spare is None:
        raise Unsupported("configuration is not reloaded")
    if not catches(front.child.pid, signal.SIGHUP):
        raise Unsupported("SIGHUP is not caught, and would end it")
    leaving = lab.rng.choice(lab.replicas)
    before = [each.url for each in lab.replicas]
    after = [url for url in before if url != leaving.url] + [lab.spare.url]
    for urls, joining in ((after, lab.spare), (before, leaving)):
        front.configure(urls)
        front.child.send(signal.SIGHUP)
        await asyncio.sleep(window_s / 2)
        if not await asyncio.to_thread(front.knows, joining.port):
            raise Unsupported("the new configuration did not take effect")


async def _replace_front(lab: Lab, window_s: float) -> None:
    """The rolling update of the balancer itself: a second process on the same port, then SIGTERM to the first."""
    if not lab.front.ours:
        raise Unsupported("two processes do not share a port")
    before = await lab.replace_front()
    before.send(signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_WITHIN_S):
            while before.running:  # noqa: ASYNC110 - a child of subprocess tells its end only when asked
                await asyncio.sleep(0.05)
    if before.running:
        raise Unsupported(f"the first process still runs {_DRAINED_WITHIN_S:g} s after SIGTERM")
    await asyncio.sleep(window_s)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


FAULTS = (
    Fault("SIGKILL", _sigkill, any_replica=True),
    Fault("SIGSTOP", _freeze, window_s=20.0, any_replica=True),
    Fault("restart", _restart, any_replica=True),
    Fault("port refused", _ordered(Trouble.REFUSED)),
    Fault("RST", _ordered(Trouble.RESET)),
    Fault("half-open", _ordered(Trouble.HALF_OPEN)),
    Fault("500s, green health", _ordered(Trouble.ERRORS)),
    Fault("503 storm", _ordered(Trouble.BUSY, all_but_one=True)),
    Fault("overload as first event", _ordered(Trouble.BUSY_EVENT, all_but_one=True)),
    Fault("metrics stall", _ordered(Trouble.METRICS_STALL), window_s=10.0),
    Fault("garbage metrics", _ordered(Trouble.METRICS_GARBAGE)),
    Fault("slow health", _ordered(Trouble.SLOW_HEALTH), window_s=12.0),
    Fault("silent abort", _silent_abort),
    Fault("all down", _all_down, window_s=5.0, survivor=False),
    Fault("configuration reload", _reload),
    Fault("balancer replaced", _replace_front, window_s=3.0),
)


def schedule(faults: Sequence[Fault], rounds: int, seed: int) -> list[Fault]:
    """Every fault once a round, each round in an order of its own: what follows what is part of the test."""
    rng = Random(seed)
    return [fault for _ in range(rounds) for fault in rng.sample(faults, len(faults))]
