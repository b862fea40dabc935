"""A target's measure of text, as its own tokenizer tells it."""

import asyncio
from importlib.resources import files
from statistics import mean

import pytest
from aiohttp import web

from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.calibrate import calibrate
from benchmarks.workloads.choose import Wanted, script_for
from benchmarks.workloads.texts import BY_TOKENIZER, Template, Texts, by_bytes
from tests.embedded.replica_client import Client, with_replica
from tests.fakes.served import served


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


async def asked(answer, api_key: str | None = None) -> tuple[Texts | str, set[str | None]]:
    """What is found of a target that answers so, or what is wrong with it; and the authorizations that it was sent."""
    sent = set()

    async def tokenize(request):
        sent.add(request.headers.get("Authorization"))
        return web.json_response(answer(await request.json()))

    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    async with served(app) as url:
        try:
            return await calibrate(url, "m", api_key), sent
        except ValueError as error:
            return str(error), sent


def letters(text: str) -> int:
    return -(-len(text) * 10 // 17)


def of_letters(body) -> dict[str, int]:
    """A tokenizer of 1.7 letters a token; its template adds 20 tokens, 7 a message, and 3 more before a system message."""
    if "prompt" in body:
        return {"count": letters(body["prompt"])}
    said = body["messages"]
    system = 3 * (said[0]["role"] == "system")
    return {"count": 20 + system + sum(7 + letters(each["content"]) for each in said)}


def test_another_tokenizer_s_prompts_are_as_long_as_drawn_within_a_percent_or_two():
    texts, _ = asyncio.run(asked(of_letters))
    assert (texts.template.prompt, texts.template.system, texts.template.turn) == (27, 10, 14)
    for name in ("retrieval", "chat"):
        script = script_for(Wanted(name, rate=1, replicas=1, duration_s=20), texts)
        asks = [conversation.asks[0] for conversation in script.conversations]
        ratios = [of_letters(ask.body)["count"] / ask.prompt_tokens for ask in asks]
        assert mean(ratios) == pytest.approx(1, abs=0.01)
        assert all(ratio == pytest.approx(1, abs=0.04) for ratio in ratios)


@pytest.mark.parametrize(
    ("answer", "told"),
    [({"count": 5}, "a longer text"), ({"n": 5}, "a count of tokens"), ([], "a count of tokens")],
)
def test_an_answer_that_is_no_count_is_refused(answer, told):
    error, _ = asyncio.run(asked(lambda _: answer))
    assert told in error


def test_the_key_of_the_target_is_sent():
    assert asyncio.run(asked(of_letters, "secret"))[1] == {"Bearer secret"}
    assert asyncio.run(asked(of_letters))[1] == {None}


def test_without_a_tokenizer_a_prompt_has_about_its_tokens_in_bytes():
    script = script_for(Wanted("all_unique", rate=5, replicas=1, duration_s=20), by_bytes(3.5))
    assert script.facts["tokens"] == "bytes"
    for conversation in script.conversations:
        (ask,) = conversation.asks
        size = len(ask.body["messages"][0]["content"].encode())
        assert size == pytest.approx(3.5 * ask.prompt_tokens, rel=0.06, abs=16)
    with pytest.raises(ValueError, match="--bytes-per-token"):
        by_bytes(0.1)


def test_every_workload_says_what_it_is_in_a_line_or_two_here_and_in_the_readme():
    readme = files("benchmarks").joinpath("README.md").read_text()
    for workload in WORKLOADS.values():
        assert 20 < len(workload.tells) < 150
        assert f"| `{workload.name}` | {workload.tells} |" in readme
