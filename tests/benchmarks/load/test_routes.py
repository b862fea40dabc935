"""The player against an embedded replica: every generating route, streamed and whole, and one that embeds."""

import asyncio

import pytest

from benchmarks.load.player import play
from benchmarks.load.record import Outcome
from benchmarks.load.target import Target
from benchmarks.workloads.script import Ask, Conversation, Script
from tests.embedded.replica_client import CHAT, MESSAGES, RESPONSES, TEXT, replica

ROUTES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": TEXT,
    "/v1/messages": MESSAGES,
    "/v1/responses": RESPONSES,
}


def record_of(path, body):
    script = Script("s", (Conversation(0.0, "c", (Ask(path, body),)),), 0.0, 30.0)

    async def main():
        async with replica() as client:
            return await play(script, Target(str(client.session._base_url), "m"))

    (record,) = asyncio.run(main()).records
    assert (record.outcome, record.error) == (Outcome.ANSWERED, "")
    assert record.prompt_tokens > 0
    return record


def asked_tokens(body):
    return body.get("max_tokens") or body["max_output_tokens"]


@pytest.mark.parametrize(("path", "body"), ROUTES.items())
def test_streams_of_each_route(path, body):
    record = record_of(path, body)

    assert 1 <= len(record.token_s) <= record.output_tokens == asked_tokens(body)


@pytest.mark.parametrize(("path", "body"), ROUTES.items())
def test_whole_answers_of_each_route(path, body):
    record = record_of(path, {**body, "stream": False})

    assert (record.ttft_s, record.tpot_s) == (None, None)
    assert record.e2e_s > 0
    assert record.output_tokens == asked_tokens(body)


def test_embeddings():
    assert record_of("/v1/embeddings", {"input": "hello there"}).output_tokens == 0
