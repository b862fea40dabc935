"""How long one engine step takes on given hardware, and how many tokens its KV cache holds.

    step = base + prefill * tokens + attention * sum(chunk * context) + sequence * sequences + context * sum(context)

over the prefill chunks of the step, then over its decoding sequences. `base` reads the weights once; the prefill
term is arithmetic; the attention term makes long prompts superlinear; the last two are what decoding adds.

Where the constants come from:
- Qwen3-32B on 2 H100: llm-d-kv-cache, benchmarking/73-capacity (8,192 tokens prefilled in 0.40 to 0.51 s, 11 ms between
  tokens when idle and 29 ms at 60 requests/s, 307,328 KV tokens), and llm-d's scheduling study of August 2026.
- Llama-3.1-8B on one H100 and 70B on four: scaled from the above by FLOPs per GPU (about 500 TFLOP/s reached), weights
  (16 and 141 GB) and KV (128 and 320 KiB a token) over 70 % of the data sheet's 3.35 TB/s;
  KV capacity = 0.9 * 80 GB * GPUs - weights - activations.
- `tiny` is no hardware: an engine that is quick and small enough to fill in a test.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """One model on one kind of hardware."""

    name: str
    base_s: float
    prefill_s_per_token: float
    attention_s_per_token_context: float
    decode_s_per_sequence: float
    decode_s_per_context_token: float
    kv_capacity_tokens: int
    max_model_len: int

    def step_s(
        self, *, prefill_tokens: int, attention: float, decode_sequences: int, decode_context_tokens: int
    ) -> float:
        """Seconds of one step; `attention` is the sum of chunk * context over its prefill chunks."""
        return (
            self.base_s
            + self.prefill_s_per_token * prefill_tokens
            + self.attention_s_per_token_context * attention
            + self.decode_s_per_sequence * decode_sequences
            + self.decode_s_per_context_token * decode_context_tokens
        )


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("llama-3.1-8b-h100", 7.0e-3, 32e-6, 1.0e-10, 30e-6, 50e-9, 400_000, 131_072),
        Profile("qwen3-32b-2xh100", 10.5e-3, 54e-6, 1.6e-10, 50e-6, 23e-9, 307_328, 40_960),
        Profile("llama-3.1-70b-4xh100", 15.0e-3, 80e-6, 1.5e-10, 80e-6, 40e-9, 420_000, 131_072),
        Profile("tiny", 1.0e-3, 2e-6, 0.0, 10e-6, 0.0, 16_384, 4_096),
    )
}
