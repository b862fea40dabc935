"""The engine in real time."""

import asyncio
import time

import pytest

from balancer.embedded.driver import EngineDeadError, EngineDriver
from balancer.embedded.engine import PROFILES, Engine, EngineRequest

STEP_S = 0.01


def ignore(result, now):
    pass


def run(test, *, observe=ignore):
    async def main():
        driver = EngineDriver(
            Engine(PROFILES["tiny"]), speed=PROFILES["tiny"].base_s / STEP_S, observe=observe
        )
        driver.start()
        try:
            async with asyncio.timeout(30):
                await test(driver)
        finally:
            await driver.stop()

    asyncio.run(main())


def test_time_that_was_lost_is_made_up_for():
    stalls = iter([0.5])

    def stall(result, now):
        time.sleep(next(stalls, 0))  # the stall that is tested, not a wait for something

    async def check(driver):
        started = driver.now()
        await driver.submit([EngineRequest("a", 10, 100)], streaming=False).finished()
        assert 0.95 < driver.now() - started < 1.35  # 100 steps of 10 ms, whatever happened meanwhile

    run(check, observe=stall)


def test_a_stream_wakes_for_each_token_and_a_plain_batch_once():
    async def check(driver):
        streaming = driver.submit([EngineRequest("s", 10, 5)], streaming=True)
        plain = driver.submit([EngineRequest("p", 10, 5)], streaming=False)

        async def wakes(batch):
            count = 0
            while not batch.done:
                await batch.progress()
                count += 1
            return count

        assert await asyncio.gather(wakes(streaming), wakes(plain)) == [5, 1]

    run(check)


def test_an_abort_ends_the_waiting():
    async def check(driver):
        batch = driver.submit([EngineRequest("a", 10, 1000), EngineRequest("b", 10, 1000)], streaming=False)
        asyncio.get_running_loop().call_later(3 * STEP_S, driver.abort, batch)
        await batch.finished()
        assert driver.engine.num_unfinished == 0

    run(check)


def test_a_dead_engine_is_an_error_for_those_who_wait_and_those_who_come():
    def fail(result, now):
        raise RuntimeError("broken")

    async def check(driver):
        batch = driver.submit([EngineRequest("a", 10, 5)], streaming=False)
        with pytest.raises(EngineDeadError):
            await batch.finished()
        with pytest.raises(EngineDeadError):
            driver.submit([EngineRequest("b", 10, 5)], streaming=False)

    run(check, observe=fail)
