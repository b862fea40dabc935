"""A server that stands still for a fifth of every second: the percentiles are those that arithmetic says.

Evenly spaced requests that are due in a stall wait for the rest of it. With a stall of S in every period P, a share
S/P * (1 - w/S) of all requests waits longer than w, so percentile q is S - (1 - q) * P: with P = 5 S, P90 is S/2, P95 is 3/4 S
and P99 is 19/20 S. A closed loop would send one request into each stall, and report a P99 of next to nothing.
"""

import asyncio
import time

import pytest

from benchmarks.load.player import play
from benchmarks.load.target import Target
from benchmarks.stats import percentile
from benchmarks.workloads.script import CHAT_PATH, Ask, Conversation, Script
from tests.benchmarks.load.scripted import serving, stream

PERIOD_S, STALL_S, PERIODS, RATE = 1.0, 0.2, 3, 200


def left_s(at_s):
    """Of the stall that this moment lies in."""
    return max(0.0, STALL_S - at_s % PERIOD_S)


@pytest.fixture(scope="module")
def waited_s():
    """What each request waited for its first token, and how long it had to by arithmetic; and by what the clock of the run
    is behind the server's at most.
    """
    began_s = None

    async def stalling(request, writer):
        while (rest_s := left_s(time.monotonic() - began_s)) > 0:
            await asyncio.sleep(rest_s)
        writer.write(stream("x"))

    async def main():
        nonlocal began_s
        spaced = (n / RATE for n in range(PERIODS * RATE))
        each = tuple(Conversation(at_s, str(at_s), (Ask(CHAT_PATH, {}),)) for at_s in spaced)
        async with serving(stalling) as server, asyncio.timeout(60):
            began_s = time.monotonic()
            run = await play(Script("s", each, 0.0, 60.0), Target(f"http://127.0.0.1:{server.port}", "m"))
            skew_s = time.monotonic() - run.wall_s - began_s
        return [(record.ttft_s, left_s(record.due_s)) for record in run.records], skew_s

    return asyncio.run(main())


def test_nobody_is_charged_less_than_was_left_of_the_stall(waited_s):
    waits_s, skew_s = waited_s
    assert len(waits_s) == PERIODS * RATE
    assert all(ttft_s >= least_s - skew_s for ttft_s, least_s in waits_s)


@pytest.mark.parametrize(("q", "share"), [(90, 1 / 2), (95, 3 / 4), (99, 19 / 20)])
def test_percentiles_are_what_arithmetic_says(waited_s, q, share):
    waits_s, skew_s = waited_s
    spacing_s = PERIOD_S / RATE
    assert percentile([least_s for _, least_s in waits_s], q) == pytest.approx(
        share * STALL_S, abs=2 * spacing_s
    )
    assert percentile([ttft_s for ttft_s, _ in waits_s], q) >= share * STALL_S - 2 * spacing_s - skew_s
