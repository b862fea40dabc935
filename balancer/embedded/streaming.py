"""Writing a stream: the head at once, then an event for each token as it comes out of the engine.

As in vLLM, 200 and the headers are sent before the prompt is computed, and a writer that lags behind puts all tokens
that have come out meanwhile into one event.
"""

from collections.abc import Iterable
from typing import Protocol

from aiohttp import web

from balancer.embedded.driver import EngineDeadError
from balancer.embedded.replica import Choice, Generation, Replica


class StreamShape(Protocol):
    """How an API says what happens; each bytes object is one event and is written on its own."""

    def begin(self) -> Iterable[bytes]:
        """When the first token of any choice is out."""

    def delta(self, choice: Choice, start: int) -> Iterable[bytes]:
        """Tokens from `start` up to `choice.sent`."""

    def end(self) -> Iterable[bytes]:
        """When all choices are complete."""

    def failure(self, message: str) -> Iterable[bytes]:
        """When the engine has died after the head was sent."""


async def stream_generation(
    request: web.Request,
    replica: Replica,
    generation: Generation,
    shape: StreamShape,
    *,
    early: Iterable[bytes] = (),
) -> web.StreamResponse:
    """The whole stream of a generation; `early` goes out before the first token. Leaving it early aborts it."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    try:
        await response.prepare(request)
        await _write(response, early)
        begun = False
        while not all(choice.complete for choice in generation.choices):
            await generation.batch.progress()
            for choice in generation.choices:
                start, choice.sent = choice.sent, replica.produced(choice)
                if choice.sent > start:
                    if not begun:
                        begun = True
                        await _write(response, shape.begin())
                    await _write(response, shape.delta(choice, start))
        await _write(response, shape.end())
    except EngineDeadError as error:
        await _write(response, shape.failure(str(error)))
    except ConnectionResetError:
        pass  # the client has gone: what it asked for is aborted below
    finally:
        replica.abort(generation.batch)
    return response


async def _write(response: web.StreamResponse, events: Iterable[bytes]) -> None:
    for event in events:
        await response.write(event)
