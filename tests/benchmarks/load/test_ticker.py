"""Alarms: nobody wakes early, all wake in order, with the kernel's timer and without."""

import asyncio
import time

import pytest

from benchmarks.load import ticker
from benchmarks.load.ticker import Alarms


@pytest.mark.parametrize("platform", ["linux", "other"])
def test_sleepers_wake_in_order_and_never_early(platform, monkeypatch):
    monkeypatch.setattr(ticker.sys, "platform", platform)
    woken = []

    async def sleep(alarms, due_s):
        await alarms.until(due_s)
        woken.append((due_s, time.monotonic()))

    async def main():
        alarms = Alarms(asyncio.get_running_loop())
        now_s = time.monotonic()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            gone = group.create_task(sleep(alarms, now_s + 0.01))
            for late_s in (0.03, 0.01, -1.0, 0.02, 0.01):
                group.create_task(sleep(alarms, now_s + late_s))
            await asyncio.sleep(0)
            gone.cancel()
        alarms.close()

    asyncio.run(main())
    assert len(woken) == 5
    assert [due_s for due_s, _ in woken] == sorted(due_s for due_s, _ in woken)
    assert all(at_s >= due_s for due_s, at_s in woken)
