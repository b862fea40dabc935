"""What the engine refuses is refused in its own words; only what no replica could answer is answered by us."""

import pytest

from tests.real_vllm.wire import MODEL, ask

pytestmark = pytest.mark.real_vllm

MESSAGES = [{"role": "user", "content": "hello"}]
TOO_LONG = "water " * 9000
REFUSED = {
    "context overflow": (
        "/v1/chat/completions",
        {"model": MODEL, "messages": [{"role": "user", "content": TOO_LONG}]},
    ),
    "context overflow, streamed": ("/v1/completions", {"model": MODEL, "prompt": TOO_LONG, "stream": True}),
    "context overflow, Anthropic": (
        "/v1/messages",
        {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": TOO_LONG}]},
    ),
    "max_tokens": ("/v1/completions", {"model": MODEL, "prompt": "a", "max_tokens": 100_000}),
    "temperature": ("/v1/chat/completions", {"model": MODEL, "messages": MESSAGES, "temperature": -3}),
    "no messages": ("/v1/chat/completions", {"model": MODEL}),
    "wrong type": ("/v1/chat/completions", {"model": MODEL, "messages": "hello"}),
    "no object": ("/v1/chat/completions", [1, 2]),
    "bad JSON": ("/v1/chat/completions", b'{"model": "tiny", "messages": [{"role": "user", "content": "x'),
    "empty body": ("/v1/completions", b""),
    "no UTF-8": ("/v1/completions", b'{"model": "tiny", "prompt": "\xff"}'),
    "unserved task": ("/v1/embeddings", {"model": MODEL, "input": "a"}),
    "unknown response": (
        "/v1/responses",
        {"model": MODEL, "input": "a", "previous_response_id": "resp_unknown"},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_is_the_engines_to_the_byte(balancer, replica, case):
    path, body = REFUSED[case]
    ours, direct = ask(balancer, path, body), ask(replica, path, body)
    assert direct.status >= 400
    assert (ours.status, ours.body) == (direct.status, direct.body)
    assert ours.headers["content-type"] == direct.headers["content-type"]


UNKNOWN = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "a", "stream": True},
    "/v1/responses": {"input": "a"},
    "/v1/embeddings": {"input": "a"},
    "/tokenize": {"prompt": "a"},
}


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_model_is_told_what_is_served(balancer, path):
    answer = ask(balancer, path, {"model": "nope", **UNKNOWN[path]})
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (404, 404)
    assert "nope" in error["message"]
    assert MODEL in error["message"]


def test_an_unknown_model_is_an_anthropic_error_on_anthropics_route(balancer):
    answer = ask(balancer, "/v1/messages", {"model": "nope", "max_tokens": 5, "messages": MESSAGES})
    assert answer.status == 404
    assert answer.json()["type"] == "error"
    assert "nope" in answer.json()["error"]["message"]


def test_a_missing_model_is_the_only_one(balancer):
    assert ask(balancer, "/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 2}).status == 200


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/sleep", "/reset_prefix_cache", "/nothing"])
def test_what_is_not_for_clients_does_not_reach_an_engine(balancer, path):
    assert ask(balancer, path, {}).status == 404
