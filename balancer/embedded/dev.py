"""What vLLM serves with VLLM_SERVER_DEV_MODE alone: sleep and pause. Both leave /health at 200 and let requests hang; sleep shows
in `vllm:engine_sleep_state` and empties the prefix cache, pause shows nowhere.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from balancer.embedded.replica import replica_of
from balancer.embedded.wire import ApiError, json_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEFAULT_LEVEL = "1"
LEVELS = {"1": 1, "2": 2}


async def sleep(request: web.Request) -> web.Response:
    """Level 1 keeps the weights in host memory, level 2 discards them."""
    level = LEVELS.get(request.query.get("level", DEFAULT_LEVEL))
    if level is None:
        raise ApiError(400, f"level: expected one of {', '.join(LEVELS)}", "BadRequestError")
    replica = replica_of(request)
    replica.driver.hold()
    replica.engine.reset_prefix_cache()
    replica.metrics.sleep_level = level
    return web.Response()


async def wake_up(request: web.Request) -> web.Response:
    replica = replica_of(request)
    replica.metrics.sleep_level = None
    replica.driver.go_on()
    return web.Response()


async def is_sleeping(request: web.Request) -> web.Response:
    return json_response({"is_sleeping": replica_of(request).metrics.sleep_level is not None})


async def pause(request: web.Request) -> web.Response:
    replica_of(request).driver.hold()
    return json_response({"status": "paused"})


async def resume(request: web.Request) -> web.Response:
    replica_of(request).driver.go_on()
    return json_response({"status": "resumed"})


GETS: dict[str, Handler] = {"/is_sleeping": is_sleeping}
POSTS: dict[str, Handler] = {"/sleep": sleep, "/wake_up": wake_up, "/pause": pause, "/resume": resume}
