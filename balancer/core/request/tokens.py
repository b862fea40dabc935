"""Tokens of a prompt, from its canonical bytes and what the engine's `usage` has told of earlier ones.

    tokens = bytes / ratio(model),    ratio = sum of w * bytes / sum of w * tokens

over the model's past answers, of which each weighs (1 - 1 / MEMORY) times the one after it. A ratio of sums lets long
prompts speak louder than short ones, in which the template's own tokens (a constant for each request) outweigh the
text; w caps what a single one can say. Before anything was learned, ratio is BYTES_PER_TOKEN.

Replicas are compared for one request, where a factor cancels out; it counts where seconds are predicted from tokens.
"""

from balancer.core.types import RequestView

BYTES_PER_TOKEN = 4
"""English text under the tokenizers of current open models: between 3.5 and 4.5 bytes a token."""

MIN_BYTES_PER_TOKEN = 0.5
MAX_BYTES_PER_TOKEN = 16.0
MEMORY = 64
PRIOR_TOKENS = 256
LOUDEST_TOKENS = 4096
MAX_MODELS = 256


def estimate_tokens(prompt_bytes: int) -> int:
    """Of a model of which nothing is known."""
    return -(-prompt_bytes // BYTES_PER_TOKEN)


class TokenEstimator:
    def __init__(self) -> None:
        self._seen: dict[
            str | None, tuple[float, float]
        ] = {}  # weighted bytes and tokens, latest answer last

    def __repr__(self) -> str:
        ratios = ", ".join(f"{model}: {seen / tokens:.2f}" for model, (seen, tokens) in self._seen.items())
        return f"<TokenEstimator, bytes per token: {ratios}>"

    def bytes_per_token(self, model: str | None) -> float:
        seen = self._seen.get(model)
        return BYTES_PER_TOKEN if seen is None else seen[0] / seen[1]

    def estimate(self, model: str | None, prompt_bytes: int) -> int:
        seen = self._seen.get(model)
        if seen is None:
            return estimate_tokens(prompt_bytes)
        return round(prompt_bytes * seen[1] / seen[0]) or int(prompt_bytes > 0)

    def observe(self, model: str | None, prompt_bytes: int, prompt_tokens: int) -> None:
        """A prompt of so many canonical bytes was so many tokens. What cannot be is not learned."""
        if not MIN_BYTES_PER_TOKEN * prompt_tokens <= prompt_bytes <= MAX_BYTES_PER_TOKEN * prompt_tokens:
            return
        if prompt_tokens <= 0:
            return
        seen, tokens = self._seen.pop(model, (PRIOR_TOKENS * BYTES_PER_TOKEN, PRIOR_TOKENS))
        weight = min(1.0, LOUDEST_TOKENS / prompt_tokens)
        kept = 1 - 1 / MEMORY
        self._seen[model] = (seen * kept + weight * prompt_bytes, tokens * kept + weight * prompt_tokens)
        if len(self._seen) > MAX_MODELS:
            del self._seen[next(iter(self._seen))]

    def learn(self, request: RequestView, prompt_tokens: int) -> None:
        """From the usage of an answer, if the whole of its prompt was text that the request held."""
        if request.route.generates and not request.tokens_exact and request.previous_response is None:
            self.observe(request.model, request.prompt_bytes, prompt_tokens)
