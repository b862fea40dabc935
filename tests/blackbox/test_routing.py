"""Where requests go: conversations stay, load spreads, and no body is too odd to be routed."""

import asyncio
import base64
import hashlib

import pytest

from tests.blackbox.kit.client import chat
from tests.blackbox.kit.lab import check, posts

pytestmark = pytest.mark.blackbox


def text(*key: object) -> str:
    """768 characters that no other key gives."""
    return hashlib.sha256(repr(key).encode()).hexdigest() * 12


async def ask_one(balancer, replicas, body, **request) -> int:
    """Ask, and tell which replica got it."""
    before = posts(replicas)
    answer = await balancer.ask(body, **request)
    assert answer.status == 200, answer
    [index] = [i for i, (old, new) in enumerate(zip(before, posts(replicas), strict=True)) if new > old]
    return index


@check("sglang#2114", "gproxy#161", "prime-rl#3255")
async def test_a_growing_conversation_stays(lab):
    replicas = await lab.replicas(3)
    balancer = await lab.balancer(replicas)
    # Seven over three: in turn, no conversation would meet its replica again.
    talks = [[{"role": "system", "content": f"You are {text('system', k)}"}] for k in range(7)]
    where = [[] for _ in talks]
    for turn in range(5):
        for k, messages in enumerate(talks):
            messages.append({"role": "user", "content": f"turn {turn} {text(k, turn)}"})
            where[k].append(await ask_one(balancer, replicas, {"model": "m", "messages": messages}))
            messages.append({"role": "assistant", "content": f"answer {text('answer', k, turn)}"})
    stayed = sum(places[i] == places[i - 1] for places in where for i in range(1, 5))
    assert stayed >= 23, f"{stayed} of 28 turns stayed with their cache: {where}"


@check("kv-cache-tester#10", "aibrix#2484", "ray#62906", "router#189")
async def test_a_session_header_sticks_and_spreads(lab):
    replicas = await lab.replicas(3)
    balancer = await lab.balancer(replicas, policy="session")
    where = [set() for _ in range(13)]
    for turn in range(4):
        for session, places in enumerate(where):
            headers = [("X-Session-Id", f"session-{session}")]
            places.add(await ask_one(balancer, replicas, chat(text(turn, session)), headers=headers))
    assert all(len(places) == 1 for places in where), where
    assert len(set.union(*where)) >= 2, where


@check("router#179", "sglang#14532", "prime-rl#3255")
async def test_a_hot_prefix_spills_over(lab):
    replicas = await lab.replicas(3)
    # by the speeds that predicted_latency begins with, 48 short questions on one replica are cheaper than a second copy
    balancer = await lab.balancer(replicas, policy="cache_aware")
    prefix = text("hot") * 3
    await balancer.ask(chat(prefix + "warm"))
    for replica in replicas:
        replica.delay_s = 2.0
        replica.posts.clear()
    bodies = [chat(f"{prefix}q{index}") for index in range(48)]
    answers = await asyncio.gather(*(balancer.ask(body, timeout_s=15) for body in bodies))
    assert all(answer.status == 200 for answer in answers)
    assert max(posts(replicas)) <= 36, posts(replicas)


@check("gateway-api-inference-extension#1700", "router#198")
async def test_a_cold_burst_is_spread(lab):
    replicas = await lab.replicas(3)
    balancer = await lab.balancer(replicas)
    for replica in replicas:
        replica.delay_s = 1.5
    bodies = [chat(text("cold", index)) for index in range(30)]
    answers = await asyncio.gather(*(balancer.ask(body, timeout_s=15) for body in bodies))
    assert all(answer.status == 200 for answer in answers)
    assert max(posts(replicas)) <= 18, posts(replicas)


@check("production-stack#767", "NeMo-RL#3590", "litellm#19549")
async def test_160_requests_are_in_flight_at_once(lab):
    [replica] = await lab.replicas(1)
    replica.delay_s = 3.0
    balancer = await lab.balancer([replica])
    bodies = [chat(f"{index} c", stream=index % 2 == 0) for index in range(160)]
    answers = await asyncio.gather(*(balancer.ask(body, timeout_s=20) for body in bodies))
    assert all(answer.status == 200 for answer in answers)
    assert replica.most_in_flight == 160


IMAGE = {
    "type": "image_url",
    "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"\x89PNG" * 500).decode()},
}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHATS = [
    [{"role": "user", "content": [{"type": "text", "text": "hi"}, IMAGE]}],
    [{"role": "user", "content": [IMAGE]}],
    [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ],
    [{"role": "user", "content": ""}],
    [
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": "\U0001f980" * 500},
    ],
]
UNUSUAL = [
    *(("/v1/chat/completions", {"model": "m", "messages": messages}) for messages in CHATS),
    ("/v1/completions", {"model": "m", "prompt": [1, 2, 3, 4]}),
    ("/v1/completions", {"model": "m", "prompt": ["a", "b"]}),
    ("/v1/completions", {"model": "m", "prompt": [[1, 2], [3]]}),
    ("/v1/embeddings", {"model": "m", "input": ["a", "b"]}),
]


@check("llm-d-router#781", "llm-d-router#1540", "production-stack#1019", "litellm#40780")
async def test_unusual_bodies_are_routed(lab):
    replicas = await lab.replicas(2)
    balancer = await lab.balancer(replicas)
    for path, body in UNUSUAL:
        await ask_one(balancer, replicas, body, target=path)
    lone_surrogate = b'{"model":"m","messages":[{"role":"user","content":"\\ud83e lone"}]}'
    answer = await balancer.ask(lone_surrogate)
    assert answer.status in (200, 400), answer
