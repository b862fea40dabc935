"""Chained block keys: equal keys mean equal prompts up to and including that block.

    key[0] = xxh3_64(block[0], seed of the namespace);  key[i] = xxh3_64(block[i], seed = key[i-1])

as vLLM chains its own block hashes (vllm/v1/core/kv_cache_utils.py), but over canonical prompt bytes, since
the balancer has no tokenizer. Only whole blocks have a key. The hash is seeded by content alone, so two
balancers, or one restarted, agree.
"""

from struct import Struct

from xxhash import xxh3_64_intdigest

from balancer.core.types import BlockKey

BLOCK_BYTES = 256
"""About 64 tokens of English: the block size of llm-d's and production-stack's hashed indexes."""

_blocks = Struct(f"{BLOCK_BYTES}s").iter_unpack


def block_keys(prompt: bytes, namespace: bytes = b"") -> list[BlockKey]:
    """Keys of the whole blocks of `prompt`; `namespace` keeps models, adapters and salts apart."""
    key = xxh3_64_intdigest(namespace)
    whole = memoryview(prompt)[: len(prompt) // BLOCK_BYTES * BLOCK_BYTES]
    return [key := xxh3_64_intdigest(block, key) for (block,) in _blocks(whole)]
