"""Async tests as plain ones: each in a loop of its own, bounded, and red if anything in that loop failed unheard."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

LIMIT_S = 30
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Check = Callable[..., Awaitable[None]]


def on_both_loops(check: Check) -> Callable[..., None]:
    def test(loop: str, **given: Any) -> None:
        _run(check, loop, given)

    return pytest.mark.parametrize("loop", LOOPS)(_named_like(test, check, "loop"))


def async_test(check: Check) -> Callable[..., None]:
    def test(**given: Any) -> None:
        _run(check, "asyncio", given)

    return _named_like(test, check)


async def until(condition: Callable[[], object], within_s: float = 10) -> None:
    """Wait for what somebody else brings about."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(
            f"did not happen within {within_s:g} s: {inspect.getsource(condition)}"
        ) from None


def _run(check: Check, loop: str, given: dict[str, Any]) -> None:
    unheard: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: unheard.append(f"{context['message']}: {context.get('exception')!r}")
        )
        async with asyncio.timeout(LIMIT_S):
            await check(**given)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    assert not unheard, unheard


def _named_like(test: Callable[..., None], check: Check, *added: str) -> Callable[..., None]:
    """Keep what pytest reads of a function; `wraps` would show it a coroutine function."""
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in added]
    parameters += inspect.signature(check).parameters.values()
    test.__name__, test.__qualname__, test.__doc__ = check.__name__, check.__qualname__, check.__doc__
    test.__module__ = check.__module__
    test.__signature__ = inspect.Signature(parameters)
    test.pytestmark = list(getattr(check, "pytestmark", ()))
    return test
