"""A conversation meets its own KV cache again, and the engine itself says so."""

from random import Random

import pytest

from tests.real_vllm.wire import MODEL, ask, engine, prose

pytestmark = pytest.mark.real_vllm

BLOCK_TOKENS = 32
CONVERSATIONS, TURNS = 5, 3


def hits_tokens(replicas: list[str]) -> float:
    samples = [engine(url) for url in replicas]
    assert all(sample.prefix_hits_tokens is not None for sample in samples)
    return sum(sample.prefix_hits_tokens or 0 for sample in samples)


MOST_PROMPTS = 200


def test_every_later_turn_is_a_hit_on_the_engine(balancer, replicas):
    rng = Random("conversations")
    conversations = [[{"role": "system", "content": prose(rng, words=120)}] for _ in range(CONVERSATIONS)]
    before = [0] * CONVERSATIONS
    for turn in range(TURNS):
        for number, messages in enumerate(conversations):
            messages.append({"role": "user", "content": prose(rng, words=40)})
            hits = hits_tokens(replicas)
            body = {"model": MODEL, "messages": messages, "max_tokens": 16, "temperature": 0}
            answer = ask(balancer, "/v1/chat/completions", body).json()
            messages.append(answer["choices"][0]["message"])
            usage = answer["usage"]
            cached = (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0
            if turn > 0:
                # The last prompt is cached but for its last, unfilled block and what the template adds at its end.
                assert cached >= before[number] - 2 * BLOCK_TOKENS, f"turn {turn} of conversation {number}"
            assert hits_tokens(replicas) - hits == cached
            before[number] = usage["prompt_tokens"]


def test_conversations_are_spread(balancer, replicas):
    """One that had more than its share before gets none at first, but not for long."""
    rng = Random("spread")
    before = [engine(url).prompt_tokens or 0 for url in replicas]
    for _ in range(MOST_PROMPTS):
        body = {"model": MODEL, "prompt": prose(rng, words=100), "max_tokens": 1}
        assert ask(balancer, "/v1/completions", body).status == 200
        after = [engine(url).prompt_tokens or 0 for url in replicas]
        if all(b > a for a, b in zip(before, after, strict=True)):
            return
    raise AssertionError(f"a replica got none of {MOST_PROMPTS} unrelated prompts: {before} to {after}")
