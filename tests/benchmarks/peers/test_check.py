import asyncio
import contextlib
import shutil

import aiohttp
import pytest
from aiohttp import web
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.fleets import embedded
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.check import HarmedError, check
from tests.fakes.served import served


def run(*arguments):
    done = CliRunner().invoke(app, ["peers", *arguments])
    return done.exit_code, " ".join(done.output.replace("│", " ").replace("┃", " ").split())


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    with embedded(1, "tiny", tmp_path_factory.mktemp("replica")) as fleet:
        yield fleet


@contextlib.asynccontextmanager
async def harming(url, harm):
    """A proxy that changes what it passes on."""

    async def forward(request):
        body = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                url + request.path, data=body, headers={"Content-Type": "application/json"}
            ) as answer,
        ):
            return web.Response(body=harm(await answer.read()), content_type=answer.content_type)

    app = web.Application()
    app.router.add_post("/{path:.*}", forward)
    async with served(app) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda body: body.removesuffix(b"data: [DONE]\n\n"), r"expected \[DONE\]"),
        (lambda body: body.replace(b'"length"', b"null"), "expected one end|expected an end by length"),
        (lambda body: body.replace(b'"completion_tokens":8', b'"completion_tokens":7'), "after 8 tokens"),
        (lambda body: body.replace(b'"content":"', b'"content":"x'), "question 0, .*: expected"),
    ],
)
def test_a_harmed_answer_is_told(replica, harm, told):
    async def main():
        async with harming(replica.urls[0], harm) as url:
            await check(PEERS["direct"], url, replica.urls[0], replica.model)

    with pytest.raises(HarmedError, match=told):
        asyncio.run(main())


def test_what_passes_all_on_is_right(replica):
    async def main():
        async with harming(replica.urls[0], lambda body: body) as url:
            await check(PEERS["direct"], url, replica.urls[0], replica.model)

    asyncio.run(main())


def test_those_that_need_no_installation_are_right():
    system = [name for name in ("nginx", "haproxy") if shutil.which(name, path="/usr/sbin:/usr/bin")]

    code, output = run("--check", "direct", "balancer/round_robin", *system)

    assert code == 0, output
    assert output.count("20 of 20 answers right") == 2 + 3 * len(system)


def test_harm_is_in_the_table_and_in_the_exit_code(monkeypatch):
    async def harmed(*_):
        raise HarmedError("expected an answer, got noise")

    monkeypatch.setattr("benchmarks.peers.command.check", harmed)

    code, output = run("--check", "direct")

    assert code == 1
    assert "got noise" in output


def test_a_peer_that_is_not_installed_says_how(tmp_path):
    code, output = run("smg/cache_aware", "--peer-dir", str(tmp_path))

    assert code == 0
    assert "smg==1.13.0 is not installed" in output
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_told():
    code, output = run("ngnix")

    assert code == 2
    assert "got 'ngnix'" in output
