"""The proxy that one writes in ten minutes: aiohttp on both sides, round robin. A peer of the benchmark, and the
floor to beat. `python -m benchmarks.overhead.aiohttp_proxy PORT UPSTREAM_URL ...`
"""

import itertools
import sys
from collections.abc import AsyncIterator, Sequence

import aiohttp
import uvloop
from aiohttp import web

_SESSION = web.AppKey("session", aiohttp.ClientSession)
_HEADERS = ("Accept", "Authorization", "Content-Type")


def make_app(upstreams: Sequence[str]) -> web.Application:
    turns = itertools.cycle(upstreams)

    async def forward(request: web.Request) -> web.StreamResponse:
        return await _forward(request, next(turns) + request.path_qs)

    app = web.Application(client_max_size=1 << 30)
    app.cleanup_ctx.append(_with_session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def _with_session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as app[_SESSION]:
        yield


async def _forward(request: web.Request, url: str) -> web.StreamResponse:
    headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
    body = await request.read()
    async with request.app[_SESSION].request(request.method, url, data=body, headers=headers) as upstream:
        kind = {"Content-Type": upstream.headers.get("Content-Type", "application/octet-stream")}
        if "event-stream" not in kind["Content-Type"]:
            return web.Response(status=upstream.status, headers=kind, body=await upstream.read())
        answer = web.StreamResponse(status=upstream.status, headers=kind)
        await answer.prepare(request)
        async for chunk in upstream.content.iter_any():
            await answer.write(chunk)
        await answer.write_eof()
        return answer


if __name__ == "__main__":
    uvloop.install()
    app = make_app(sys.argv[2:])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=4096)
