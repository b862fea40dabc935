"""Token estimates from bytes. Used to compare replicas for one request, so a constant factor cancels out."""

BYTES_PER_TOKEN = 4
"""English text under the tokenizers of current open models: between 3.5 and 4.5 bytes a token."""


def estimate_tokens(prompt_bytes: int) -> int:
    return -(-prompt_bytes // BYTES_PER_TOKEN)
