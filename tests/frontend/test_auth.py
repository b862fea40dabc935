import pytest

from balancer.core.errors import Refused
from balancer.frontend.auth import ApiKeys
from tests.fakes.balancer import cluster
from tests.fakes.client import CHAT, chat
from tests.fakes.loops import async_test, on_both_loops

KEYS = ["key-one", "key-two"]
NAMED = {"key-one": "one", "key-two": "two"}
OPEN = ("/health", "/ping", "/ready")
GUARDED = (
    "/v1/models",
    "/v1/models/m",
    "/version",
    "/metrics",
    "/load",
    "/v1/responses/x",
    "/v1/realtime",
    "/nope",
    "/sleep",
)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([], False),
        ([(b"Authorization", b"Bearer key-one")], True),
        ([(b"authorization", b"bearer   key-two ")], True),
        ([(b"X-API-Key", b"key-one")], True),
        ([(b"Authorization", b"Bearer wrong"), (b"x-api-key", b"key-two")], True),
        ([(b"Authorization", b"Bearer key-on")], False),
        ([(b"Authorization", b"Bearer key-one key-two")], False),
        ([(b"Authorization", b"Bearer")], False),
        ([(b"Authorization", b"Basic key-one")], False),
        ([(b"Authorization", b"")], False),
        ([(b"x-api-key", b"\xff\xfe")], False),
        ([(b"X-Other", b"key-one")], False),
    ],
)
def test_which_headers_open(headers, allowed):
    if allowed:
        sent = b" ".join(value for _, value in headers)
        assert ApiKeys(NAMED).check(headers) == ("one" if b"key-one" in sent else "two")
        return
    with pytest.raises(Refused) as refused:
        ApiKeys(NAMED).check(headers)
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    assert not any(key in refused.value.message for key in KEYS)


def test_no_keys_no_lock():
    assert ApiKeys({}).check([]) == ""


@on_both_loops
async def test_without_a_key_only_the_probes_are_open():
    async with cluster(api_keys=KEYS) as (front, (replica,)):
        for path in OPEN:
            assert (await front.ask(target=path)).status == 200
        for path in GUARDED:
            answer = await front.ask(target=path)
            assert answer.status == 401, path
            assert answer.get("www-authenticate") == "Bearer"
            assert answer.json()["error"]["code"] == "invalid_api_key"
        refused = await front.ask(chat(), headers=bearer("key-onee"))
        assert refused.status == 401
        refused = await front.ask(chat(), target="/v1/messages")
        assert refused.json() == {
            "type": "error",
            "error": {"type": "authentication_error", "message": refused.json()["error"]["message"]},
        }
        assert replica.posts == []


@on_both_loops
async def test_the_clients_key_stays_here():
    async with cluster(api_keys=KEYS) as (front, (replica,)):
        for headers in (bearer("key-one"), {"x-api-key": "key-two"}):
            assert (await front.ask(chat(), headers={**headers, "X-Kept": "1"})).status == 200
        for post in replica.posts:
            assert post.all("authorization") == post.all("x-api-key") == []
            assert post.all("x-kept") == ["1"]


@on_both_loops
async def test_the_replicas_key_goes_to_the_replicas_alone():
    async with cluster(api_keys=KEYS, replica_api_key="inner") as (front, (replica,)):
        answer = await front.ask(chat(), headers=bearer("key-one"))
        assert answer.status == 200
        assert replica.posts[0].all("authorization") == ["Bearer inner"]
        assert all(probe.all("authorization") == ["Bearer inner"] for probe in replica.probes)
        assert not any("inner" in value for _, value in answer.headers)


@async_test
async def test_without_keys_the_clients_own_header_goes_through():
    async with cluster() as (front, (replica,)):
        await front.ask(chat(), headers={**bearer("mine"), "x-api-key": "mine too"})
        assert replica.posts[0].all("authorization") == ["Bearer mine"]
        assert replica.posts[0].all("x-api-key") == ["mine too"]


@on_both_loops
async def test_a_browsers_preflight_needs_no_key_and_is_the_replicas_to_answer():
    async with cluster(api_keys=KEYS) as (front, (replica,)):
        replica.on_post = lambda connection, request: connection.respond(
            200, b"OK", [("Access-Control-Allow-Origin", "*"), ("Vary", "Origin")]
        )
        headers = {"Origin": "https://app.test", "Access-Control-Request-Method": "POST"}
        answer = await front.ask(method="OPTIONS", target=CHAT, headers=headers)
        assert (answer.status, answer.get("access-control-allow-origin")) == (200, "*")
        assert (replica.posts[0].method, replica.posts[0].all("origin")) == ("OPTIONS", ["https://app.test"])
        assert (await front.ask(method="OPTIONS", target="/sleep", headers=headers)).status == 401
