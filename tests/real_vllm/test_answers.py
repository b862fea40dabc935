"""An answer through the balancer is the answer of the engine, on every route, streamed or not."""

from random import Random

import pytest

from tests.real_vllm.wire import MODEL, ask, prose, script, steady

pytestmark = pytest.mark.real_vllm

MESSAGES = [{"role": "user", "content": "Say something about the water of the system."}]
GREEDY = {"model": MODEL, "temperature": 0}
ROUTES = {
    "/v1/chat/completions": {**GREEDY, "messages": MESSAGES, "max_tokens": 24},
    "/v1/completions": {**GREEDY, "prompt": "the water of the system", "max_tokens": 24},
    "/v1/responses": {**GREEDY, "input": "the water of the system", "max_output_tokens": 24},
    "/v1/messages": {**GREEDY, "messages": MESSAGES, "max_tokens": 24},
    "/v1/messages/count_tokens": {"model": MODEL, "messages": MESSAGES},
    "/tokenize": {"model": MODEL, "prompt": "the water of the system"},
    "/detokenize": {"model": MODEL, "tokens": [100, 200, 300]},
}
STREAMING = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_plain_answer_is_the_engines(balancer, replica, path):
    ours, direct = ask(balancer, path, ROUTES[path]), ask(replica, path, ROUTES[path])
    assert (ours.status, direct.status) == (200, 200)
    assert ours.headers["content-type"] == direct.headers["content-type"]
    assert steady(ours.json()) == steady(direct.json())


@pytest.mark.parametrize("path", STREAMING)
def test_a_stream_is_the_engines(balancer, replica, path):
    body = {**ROUTES[path], "stream": True}
    if path in ("/v1/chat/completions", "/v1/completions"):
        body["stream_options"] = {"include_usage": True}
    ours, direct = ask(balancer, path, body), ask(replica, path, body)
    assert (ours.status, direct.status) == (200, 200)
    assert ours.headers["content-type"] == direct.headers["content-type"]
    assert len(direct.events()) > 8
    assert script(ours.events()) == script(direct.events())


def test_usage_is_given_when_asked_for_and_only_then(balancer):
    body = {**ROUTES["/v1/chat/completions"], "stream": True}
    bare = ask(balancer, "/v1/chat/completions", body).events()
    assert all("usage" not in data for _, data in bare if data != "[DONE]")
    asked = ask(
        balancer, "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}
    ).events()
    (_, last), done = asked[-2:]
    assert done == (None, "[DONE]")
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 24


def test_token_ids_and_logprobs_pass(balancer, replica):
    body = {**ROUTES["/v1/chat/completions"], "logprobs": True, "top_logprobs": 2, "return_token_ids": True}
    ours, direct = (
        ask(balancer, "/v1/chat/completions", body).json(),
        ask(replica, "/v1/chat/completions", body).json(),
    )
    assert ours["choices"][0]["token_ids"] == direct["choices"][0]["token_ids"]
    assert len(ours["choices"][0]["logprobs"]["content"]) == 24


def test_a_long_answer_is_greedy_to_its_end(balancer, replica):
    prompt = prose(Random("a long answer"), words=300)
    body = {**GREEDY, "prompt": prompt, "max_tokens": 400, "ignore_eos": True, "stream": True}
    texts = []
    for url in (balancer, replica):
        events = ask(url, "/v1/completions", body).events()
        assert events[-1] == (None, "[DONE]")
        texts.append("".join(data["choices"][0]["text"] for _, data in events[:-1]))
    assert texts[0] == texts[1]


def test_models_are_merged(balancer, replica):
    ours, direct = ask(balancer, "/v1/models").json(), ask(replica, "/v1/models").json()
    assert ours["object"] == "list"
    (card,), (original,) = ours["data"], direct["data"]
    kept = ("id", "object", "owned_by", "max_model_len")
    assert {name: card[name] for name in kept} == {name: original[name] for name in kept}


def test_a_stored_response_is_found_again(balancer):
    for turn in range(4):
        body = {**ROUTES["/v1/responses"], "input": f"stored response {turn}", "store": True}
        made = ask(balancer, "/v1/responses", body).json()
        for _ in range(3):
            found = ask(balancer, f"/v1/responses/{made['id']}")
            assert found.status == 200, found.body
            assert found.json()["output"] == made["output"]


def test_a_stored_response_is_continued_where_it_is(balancer):
    first = ask(balancer, "/v1/responses", {**ROUTES["/v1/responses"], "store": True}).json()
    body = {**ROUTES["/v1/responses"], "previous_response_id": first["id"], "store": True}
    for _ in range(4):
        second = ask(balancer, "/v1/responses", body)
        assert second.status == 200, second.body
        body["previous_response_id"] = second.json()["id"]
