"""What a client sends arrives, and what a replica answers arrives: nothing lost, changed or added."""

import asyncio
import hashlib
import json
from contextlib import suppress

import pytest

from tests.blackbox.kit.client import chat, connect
from tests.blackbox.kit.lab import check
from tests.blackbox.kit.replica import DONE, delta, event

pytestmark = pytest.mark.blackbox

EVERYTHING = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "hi", "name": "bob"},
        {"role": "assistant", "content": "a", "reasoning_content": "because"},
        {"role": "user", "content": "go"},
    ],
    "chat_template_kwargs": {"enable_thinking": False},
    "seed": 2**53 + 1,
    "temperature": 0.1,
    "top_k": -1,
    "min_p": 1e-7,
    "priority": 5,
    "cache_salt": "s",
    "guided_json": {"type": "object"},
    "structured_outputs": {"regex": "a\\d+"},
    "vllm_xargs": {"k": [1, None, True]},
    "future_field": {"a": {"b": []}},
    "logit_bias": {"50256": -100},
    "stop_token_ids": [151645],
    "add_generation_prompt": True,
    "return_token_ids": True,
    "n": 1,
    "user": None,
}


@check("sglang#9958", "sglang#22740", "sglang#21571", "semantic-router#3573")
async def test_every_field_of_a_request_arrives(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    answer = await balancer.ask(EVERYTHING)
    assert answer.status == 200, answer
    assert replica.posts[0].json() == EVERYTHING


@check("sglang#22740")
async def test_a_request_arrives_to_the_byte(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    for body in (chat("x"), chat("x", stream=True)):
        raw = json.dumps(body, indent=3).encode()
        await balancer.ask(raw)
        assert replica.posts[-1].body == raw


@check("miles#1004", "litellm#28735", "production-stack#892")
async def test_an_answer_arrives_to_the_byte(lab):
    [replica] = await lab.replicas(1)
    sent = (
        b'{ "id":"x",\n "choices":[{"message":{"content":"\\u4f60\xe5\xa5\xbd","reasoning_content":"r"},'
        b'"logprobs":{"x":-1e-05}}],"usage":{"prompt_tokens":9007199254740993},'
        b'"kv_transfer_params":null, "dup":1, "dup":2 }'
    )
    replica.on_post = lambda _, connection: connection.respond(200, sent)
    balancer = await lab.balancer([replica])
    answer = await balancer.ask(chat("x"))
    assert answer.ok, answer
    assert answer.body == sent, answer


@check("headroom#2026", "litellm#35290", "litellm#25410")
async def test_usage_is_streamed_only_to_those_who_ask(lab):
    [replica] = await lab.replicas(1)

    async def report(request, connection):
        asked = (request.json().get("stream_options") or {}).get("include_usage")
        usage = [event({"choices": [], "usage": {"total_tokens": 5}})] if asked else []
        await connection.stream(event(delta("A")), *usage, DONE)

    replica.on_post = report
    balancer = await lab.balancer([replica])
    for options, count in ((None, 0), ({"include_usage": False}, 0), ({"include_usage": True}, 1)):
        more = {"stream_options": options} if options else {}
        answer = await balancer.ask(chat("u", stream=True, **more))
        assert answer.ok, answer
        assert answer.body.count(b'"choices": []') == count, (options, answer)


PATHS = [
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/tokenize",
    "/detokenize",
    "/v1/rerank",
    "/rerank",
    "/v1/score",
    "/score",
    "/pooling",
    "/classify",
]


@check("production-stack#410", "production-stack#690", "kubeai#508", "aibrix#2110", "router#179")
async def test_every_route_of_vllm_is_there(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    body = chat("x", input="a", prompt="a", tokens=[1], query="q", documents=["d"], text_1="a", text_2="b")
    for path in PATHS:
        answer = await balancer.ask(body, target=path)
        assert answer.status == 200, (path, answer)
    assert [request.path for request in replica.posts] == PATHS


@check("llm-gateway#2126", "llamastash#65", "Antigravity#1167")
async def test_an_8_mib_body_passes(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (8 << 20)}}
    content = [{"type": "text", "text": "see"}, image]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
    answer = await balancer.ask(body, timeout_s=20)
    assert answer.status == 200, answer
    assert replica.posts[0].body == body


@check(
    "production-stack#1019",
    "production-stack#733",
    "production-stack#950",
    "llama.cpp#22044",
    "llama.cpp#22215",
)
async def test_an_audio_form_passes(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas, policy="session")
    boundary = "----blackboxKit7MA4"
    wav = hashlib.sha512(b"w").digest() * 24000
    fields = [("model", "m"), ("language", "ko"), ("timestamp_granularities[]", "word")]
    fields += [("timestamp_granularities[]", "segment")]
    form = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields
    ]
    form += [
        'Content-Disposition: form-data; name="file"; filename="\uc74c\uc131.wav"\r\n\r\n'.encode() + wav
    ]
    body = (
        b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in form)
        + f"--{boundary}--\r\n".encode()
    )
    headers = [
        ("Content-Type", f"multipart/form-data; boundary={boundary}"),
        ("Authorization", "Bearer k"),
        ("X-Session-Id", "s1"),
    ]
    answer = await balancer.ask(body, target="/v1/audio/transcriptions", headers=headers, timeout_s=20)
    assert answer.status == 200, answer
    [request] = replicas[0].posts + replicas[1].posts
    assert request.path == "/v1/audio/transcriptions"
    assert request.body == body
    assert request.get("content-type") == headers[0][1]
    assert request.get("authorization") == "Bearer k"


@check("RFC 9112 6.1")
async def test_a_length_beside_chunks_smuggles_nothing(lab):
    [replica] = await lab.replicas(1)
    balancer = await lab.balancer([replica])
    inner = b"POST /v1/smuggled HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    front = json.dumps(chat("front")).encode()
    body = b"%x\r\n%b\r\n0\r\n\r\n%b" % (len(front), front, inner)
    client = await connect(balancer.url)
    try:
        client.writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (len(body), body)
        )
        with suppress(TimeoutError, OSError):
            await asyncio.wait_for(client.reader.read(65536), 3)
        await asyncio.sleep(1)
    finally:
        client.close()
    assert not [request.target for request in replica.requests if "smuggled" in request.target]


@check("FastChat#3776", "FastChat#3886", "sglang#32772")
async def test_nobody_can_register_a_replica(lab):
    replica, canary = await lab.replicas(2)
    balancer = await lab.balancer([replica])
    url = canary.url
    for target, body in (
        (f"/add_worker?url={url}", b""),
        ("/add_worker", {"url": url}),
        ("/workers", {"url": url}),
        ("/register_worker", {"worker_name": url, "check_heart_beat": False}),
        ("/add_backend", {"url": url}),
        ("/register", {"url": url, "model": "m"}),
    ):
        await balancer.ask(body, target=target, timeout_s=4)
    await asyncio.sleep(2.5)  # time for a probe of the newcomer
    for index in range(10):
        await balancer.ask(chat(f"{index} z"))
    assert not canary.requests, [(request.method, request.target) for request in canary.requests]
