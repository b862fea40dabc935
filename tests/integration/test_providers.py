"""Providers as they are met: behind TLS, as another vLLM with a key, and while the settings change."""

import asyncio
import shutil
import ssl
import subprocess

import pytest

from balancer.core.types import Health
from tests.embedded.replica_client import TINY, replica
from tests.fakes.balancer import balancing
from tests.fakes.client import LOOPBACK, chat, stream
from tests.fakes.loops import async_test, on_both_loops, until
from tests.fakes.replica import Connection, Replica, silent
from tests.fakes.tiers import KEY, settings, tiered

CHAIN = {"auto": {"tiers": ["hosted"], "fallback": "large"}}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("HOSTED_API_KEY", KEY)


@pytest.fixture
def certificate(tmp_path):
    """Of 127.0.0.1, signed by itself: certificate and key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    made = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{LOOPBACK}",
            "-out", made[0], "-keyout", made[1],
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


class Secure(Replica):
    """A provider behind TLS."""

    def __init__(self, name, model, context):
        super().__init__(name, model=model)
        self._context = context

    async def start(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), LOOPBACK, self.port, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self


async def behind_tls(certificate, check):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    large, provider = (
        await Replica("r-large", model="l").start(),
        await Secure("r-hosted", "p", context).start(),
    )
    chosen = settings(CHAIN, url=f"https://{LOOPBACK}:{provider.port}/v1")
    del chosen["tiers"]["small"]
    async with balancing(large, wait_for=None, **chosen) as front:
        await until(lambda: front.fleet[0].health is Health.HEALTHY and front.fleet[0].models)
        await check(front, provider)
    await large.stop()
    await provider.stop()


@on_both_loops
async def test_a_providers_certificate_is_verified(certificate):
    async def check(front, provider):
        for body in (chat(model="auto"), stream(model="auto")):
            reply = await front.ask(body)
            assert (reply.status, reply.get("x-balancer-fallback")) == (200, "hosted=failing")
        assert not provider.posts

    await behind_tls(certificate, check)


@on_both_loops
async def test_a_provider_with_a_good_certificate_answers(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def check(front, provider):
        for body in (chat(model="auto"), stream(model="auto")):
            reply = await front.ask(body)
            assert (reply.status, reply.get("x-balancer-tier"), reply.complete) == (200, "hosted", True)
        assert {post.all("host")[0] for post in provider.posts} == {f"{LOOPBACK}:{provider.port}"}
        assert {post.all("authorization")[0] for post in provider.posts} == {f"Bearer {KEY}"}

    await behind_tls(certificate, check)


@async_test
async def test_another_vllm_with_a_key_of_its_own_is_a_provider():
    own, peer = {**TINY, "model": "s", "max_model_len": 64}, {**TINY, "model": "p", "api_key": KEY}
    async with replica(**own) as small, replica(**peer) as provider:
        urls = [str(each.session._base_url).rstrip("/") for each in (small, provider)]
        chosen = settings({"auto": {"tiers": ["small"], "fallback": "hosted"}}, url=urls[1])
        del chosen["tiers"]["large"]
        async with balancing(urls[0], wait_for=None, **chosen) as front:
            await until(lambda: front.fleet[0].health is Health.HEALTHY and front.fleet[0].models)
            short = await front.ask(chat("hello", model="auto", max_tokens=4))
            assert (short.json()["model"], short.get("x-balancer-tier")) == ("s", "small")
            long = await front.ask(chat("hello " * 500, model="auto", max_tokens=4))
            assert (long.status, long.json()["model"]) == (200, "p")
            assert long.get("x-balancer-fallback") in {"small=context", None}
            streamed = await front.ask(stream("hello", model="p", max_tokens=4))
            assert streamed.complete
            assert {event["model"] for event in streamed.events()[:-1]} == {"p"}
            assert front.idle()


@async_test
async def test_what_a_replica_finds_too_long_goes_where_there_is_room():
    own, large = {**TINY, "model": "s", "max_model_len": 64}, {**TINY, "model": "l"}
    async with replica(**own) as first, replica(**large) as second:
        urls = [str(each.session._base_url).rstrip("/") for each in (first, second)]
        tiers = {
            # told wrong, so that the replica is the one that finds out
            "small": {"model": "s", "can": {"context_tokens": 100_000}},
            "large": {"model": "l"},
        }
        virtual = {"auto": {"tiers": ["small"], "fallback": [{"to": "large", "on": "context"}]}}
        async with balancing(*urls, tiers=tiers, virtual_models=virtual) as front:
            for body in (
                chat("hello " * 500, model="auto"),
                stream("hello " * 500, model="auto", max_tokens=4),
            ):
                reply = await front.ask(body)
                assert (reply.status, reply.get("x-balancer-fallback")) == (200, "small=context")
            assert all(state.health is Health.HEALTHY for state in front.fleet)


@async_test
async def test_providers_come_go_and_change_with_the_settings():
    async with tiered(CHAIN) as tiers:
        replicas = [tiers.small, tiers.large]
        before = tiers.state("hosted")
        assert (await tiers.ask()).json()["served_by"] == "r-hosted"

        def chosen(**more):
            return settings(CHAIN, url=f"{tiers.hosted.url}/v1", **more)

        done = await tiers.front.reload(*replicas, **chosen(requests_per_minute=5, max_attempts=1))
        assert (done.outcome, tiers.state("hosted")) == ("applied", before)
        assert before.terms.attempts == 1
        await tiers.front.reload(*replicas, **settings(CHAIN, url=tiers.hosted.url))
        assert tiers.state("hosted") is not before
        assert (await tiers.ask()).json()["served_by"] == "r-hosted"
        done = await tiers.front.reload(*replicas)
        assert done.changes.removed == ["hosted"]
        assert (await tiers.ask()).status == 404
        assert [state.id for state in tiers.front.fleet] == ["r-small", "r-large"]
        listed = (await tiers.front.ask(target="/v1/models")).json()["data"]
        assert [entry["id"] for entry in listed] == ["s", "l"]


@async_test
async def test_a_request_under_way_outlives_the_tiers_that_it_began_with():
    async with tiered(CHAIN) as tiers:
        asked = []
        tiers.hosted.on_post = lambda connection, request: asked.append(connection)
        client = await tiers.front.client()
        client.send(chat(model="auto"))
        await until(lambda: asked)
        await tiers.front.reload(tiers.small, tiers.large)
        asked[0].respond(200, {"served_by": "still there"})
        reply = await client.read()
        assert (reply.json()["served_by"], reply.get("x-balancer-tier")) == ("still there", "hosted")
        await until(lambda: not tiers.front.balancer.decider.fleet.leaving)


@async_test
async def test_a_client_that_leaves_a_provider_is_not_followed_by_its_request():
    async with tiered(CHAIN) as tiers:
        tiers.hosted.on_post = silent
        client = await tiers.front.client()
        client.send(stream(model="auto"))
        await until(lambda: tiers.hosted.posts)
        client.reset()
        await until(lambda: not tiers.hosted.open)
        assert tiers.asked() == ["p"]
        assert tiers.front.idle()


@async_test
async def test_the_admin_api_shows_and_drains_a_provider():
    async with tiered(CHAIN, admin_port=0) as tiers:
        front = tiers.front
        client = await front.client(listener=1)
        listed = (await client.ask(target="/admin/replicas")).json()["replicas"]
        shown = next(each for each in listed if each["name"] == "hosted")
        assert (shown["models"], shown["state"]) == (["p"], "serving")
        assert KEY.encode() not in (await client.ask(target="/admin/config")).body
        await client.ask(b"", target="/admin/replicas/hosted/drain")
        reply = await tiers.ask()
        assert (reply.json()["served_by"], reply.get("x-balancer-fallback")) == ("r-large", "hosted=failing")
