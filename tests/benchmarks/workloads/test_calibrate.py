"""A target's measure of text, as its own tokenizer tells it."""

import asyncio

import pytest
from aiohttp import web

from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.calibrate import calibrate
from benchmarks.workloads.choose import Wanted, script_for
from benchmarks.workloads.texts import BY_TOKENIZER, Template, Texts, by_bytes
from tests.embedded.replica_client import Client, with_replica


def url_of(client: Client) -> str:
    return str(client.session._base_url)


def test_an_embedded_replica_counts_every_prompt_as_long_as_it_was_drawn():
    async def test(client):
        texts = await calibrate(url_of(client), "m")
        assert texts == Texts(1.0, Template(prompt=9, system=5, turn=11), BY_TOKENIZER)
        script = script_for(Wanted("retrieval", rate=2, replicas=1, duration_s=4, scale=8), texts)
        for conversation in script.conversations:
            (ask,) = conversation.asks
            status, answer = await client.post(ask.path, {"model": "m", **ask.body})
            assert status == 200
            assert answer["usage"]["prompt_tokens"] == ask.prompt_tokens
            assert answer["usage"]["completion_tokens"] == ask.output_tokens

    with_replica(test)


def test_what_has_no_tokenizer_is_told_by_its_address():
    async def test(client):
        with pytest.raises(ValueError, match=r"/tokenize: expected status 200, got 404"):
            await calibrate(url_of(client), "another model")

    with_replica(test)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:1/tokenize: cannot be asked"):
        asyncio.run(calibrate("http://127.0.0.1:1", "m"))


async def asked(answer, api_key: str | None = None) -> list[str | None]:
    """Calibrates by a target that always answers so; the authorizations that it was sent."""
    sent = []

    async def tokenize(request):
        sent.append(request.headers.get("Authorization"))
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        await calibrate(f"http://{host}:{port}", "m", api_key)
    except ValueError as error:
        sent.append(str(error))
    finally:
        await runner.cleanup()
    return sent


@pytest.mark.parametrize(
    ("answer", "told"),
    [({"count": 5}, "a longer text"), ({"n": 5}, "a count of tokens"), ([], "a count of tokens")],
)
def test_an_answer_that_is_no_count_is_refused(answer, told):
    *_, error = asyncio.run(asked(answer))
    assert told in error


def test_the_key_of_the_target_is_sent():
    assert asyncio.run(asked({"count": 5}, "secret"))[0] == "Bearer secret"
    assert asyncio.run(asked({"count": 5}))[0] is None


def test_without_a_tokenizer_a_prompt_has_about_its_tokens_in_bytes():
    script = script_for(Wanted("all_unique", rate=5, replicas=1, duration_s=20), by_bytes(3.5))
    assert script.facts["tokens"] == "bytes"
    for conversation in script.conversations:
        (ask,) = conversation.asks
        size = len(ask.body["messages"][0]["content"].encode())
        assert size == pytest.approx(3.5 * ask.prompt_tokens, rel=0.06, abs=16)
    with pytest.raises(ValueError, match="--bytes-per-token"):
        by_bytes(0.1)


def test_every_workload_says_what_it_is_in_a_line_or_two():
    for workload in WORKLOADS.values():
        assert 20 < len(workload.tells) < 150
        assert not workload.tells.endswith(".")
