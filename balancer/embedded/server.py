"""The replica's HTTP server: routes, errors, start and stop.

vLLM's own routes and answers; `balancer replica` runs it, tests take the application. Only what belongs to no API in
particular is answered here.
"""

import asyncio
import contextlib
import signal
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable

import uvloop
from aiohttp import web

from balancer.embedded import dev, messages, openai, pooling, responses, speech
from balancer.embedded.metrics import CONTENT_TYPE
from balancer.embedded.options import ReplicaOptions
from balancer.embedded.prompts import DetokenizeRequest, TokenizeRequest, encode_prompt, render_chat
from balancer.embedded.replica import REPLICA, Replica, replica_of
from balancer.embedded.wire import ApiError, InvalidBodyError, json_response, new_id, read_body

__all__ = ["ReplicaOptions", "create_app", "run_replica", "serve_replica"]

VLLM_VERSION = "0.32.0"
MAX_BODY_BYTES = 1 << 30
MAX_HEADER_BYTES = 64 << 10
KEEPALIVE_S = 5.0  # uvicorn's, which vLLM keeps
SHUTDOWN_S = 0.01  # as by --shutdown-timeout 0: what is under way breaks off
GUARDED = ("/v1", "/v2")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def health(request: web.Request) -> web.Response:
    return web.Response(status=200 if replica_of(request).driver.error is None else 503)


async def version(_: web.Request) -> web.Response:
    return json_response({"version": VLLM_VERSION})


async def models(request: web.Request) -> web.Response:
    replica = replica_of(request)
    permission = {
        "object": "model_permission", "created": replica.started_s, "allow_create_engine": False,
        "allow_sampling": True, "allow_logprobs": True, "allow_search_indices": False, "allow_view": True,
        "allow_fine_tuning": False, "organization": "*", "group": None, "is_blocking": False,
    }  # fmt: skip
    data = [
        {
            "id": name,
            "object": "model",
            "created": replica.started_s,
            "owned_by": "vllm",
            "root": replica.options.model,
            "parent": None,
            "max_model_len": replica.max_model_len,
            "permission": [{"id": new_id("modelperm-"), **permission}],
        }
        for name in replica.options.model_names
    ]
    return json_response({"object": "list", "data": data})


async def load(request: web.Request) -> web.Response:
    """As with --enable-server-load-tracking; without it vLLM always says 0."""
    return json_response({"server_load": replica_of(request).engine.num_unfinished})


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=replica_of(request).metrics.page(), headers={"Content-Type": CONTENT_TYPE})


async def tokenize(request: web.Request) -> web.Response:
    replica = replica_of(request)
    body = await read_body(request, TokenizeRequest)
    replica.check_model(body.model)
    if body.prompt is not None:
        tokens = encode_prompt(replica.tokenizer, body.prompt)
    elif body.messages is not None:
        tokens = render_chat(
            replica.tokenizer,
            body.messages,
            body.tools,
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continue_final_message,
        )
    else:
        raise InvalidBodyError("missing", "body.prompt", "Field required")
    pieces = [replica.tokenizer.piece(token) for token in tokens] if body.return_token_strs else None
    answer = {"count": len(tokens), "max_model_len": replica.max_model_len, "tokens": tokens}
    return json_response(answer | {"token_strs": pieces})


async def detokenize(request: web.Request) -> web.Response:
    replica = replica_of(request)
    body = await read_body(request, DetokenizeRequest)
    replica.check_model(body.model)
    return json_response({"prompt": replica.tokenizer.decode(body.tokens)})


async def reset_prefix_cache(request: web.Request) -> web.Response:
    return json_response({"success": replica_of(request).engine.reset_prefix_cache()})


def create_app(options: ReplicaOptions) -> web.Application:
    """The application of one replica; its engine starts and stops with it."""
    app = web.Application(middlewares=[_errors, _authenticate], client_max_size=MAX_BODY_BYTES)
    app[REPLICA] = Replica(options)
    app[responses.STORE] = OrderedDict()
    app.cleanup_ctx.append(_run_engine)
    gets: dict[str, _Handler] = {
        "/health": health, "/ping": health, "/version": version, "/v1/models": models, "/load": load,
        "/metrics": metrics, "/v1/responses/{id}": responses.retrieve,
    }  # fmt: skip
    if options.dev_mode:
        gets |= dev.GETS
    for path, handler in gets.items():
        app.router.add_get(path, handler, allow_head=False)
    posts: dict[str, _Handler] = {
        "/ping": health,
        "/tokenize": tokenize,
        "/detokenize": detokenize,
        "/reset_prefix_cache": reset_prefix_cache,
        "/v1/chat/completions": openai.chat_completions,
        "/v1/completions": openai.completions,
        "/v1/responses": responses.create,
        "/v1/responses/{id}/cancel": responses.cancel,
        "/v1/messages": messages.create,
        "/v1/messages/count_tokens": messages.count_tokens,
        "/v1/audio/transcriptions": speech.transcribe,
        **pooling.ROUTES,
    }
    if options.dev_mode:
        posts |= dev.POSTS
    for path, handler in posts.items():
        app.router.add_post(path, handler)
    return app


async def serve_replica(options: ReplicaOptions, *, ready: Callable[[int], None] | None = None) -> None:
    """Serve until cancelled. `ready` is called with the port once it accepts connections."""
    runner = web.AppRunner(
        create_app(options),
        handler_cancellation=True,  # a client that goes away frees its sequences at once
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, backlog=2048)
        await site.start()
        if ready is not None:
            ready(runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def run_replica(options: ReplicaOptions) -> None:
    """Serve until SIGTERM or SIGINT; prints one line with the URL when ready."""

    def announce(port: int) -> None:
        sys.stdout.write(f"{options.model_names[0]} on http://{options.host}:{port} ({options.profile})\n")
        sys.stdout.flush()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        serving = asyncio.current_task()
        assert serving is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serve_replica(options, ready=announce)

    uvloop.run(main())


async def _run_engine(app: web.Application) -> AsyncIterator[None]:
    app[REPLICA].driver.start()
    yield
    await app[REPLICA].driver.stop()


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        anthropic = request.path.startswith("/v1/messages")
        return json_response(error.anthropic_body if anthropic else error.body, error.status)
    except web.HTTPMethodNotAllowed as error:
        allow = ", ".join(sorted(error.allowed_methods))
        return json_response({"detail": "Method Not Allowed"}, 405, {"Allow": allow})
    except web.HTTPException as error:
        return json_response({"detail": error.reason}, error.status)


@web.middleware
async def _authenticate(request: web.Request, handler: _Handler) -> web.StreamResponse:
    key = replica_of(request).options.api_key
    if key and request.path.startswith(GUARDED) and request.headers.get("Authorization") != f"Bearer {key}":
        return json_response({"error": "Unauthorized"}, 401)
    return await handler(request)
