"""What a replica can be told at its start, named as vLLM's own flags where vLLM has one."""

from dataclasses import dataclass

from balancer.embedded.engine import PROFILES, Profile


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """A mistake in here is a ValueError that names the option.

    `speed` divides the modelled time; replicas of another `seed` hash their blocks differently. None stands for the
    profile's own value, and for no limit and no key. `dev_mode` is vLLM's VLLM_SERVER_DEV_MODE: routes that put
    the engine to sleep, or pause it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: str = "embedded-model"
    served_model_names: tuple[str, ...] = ()
    profile: str = "llama-3.1-8b-h100"
    speed: float = 1.0
    block_size: int = 16
    kv_capacity_tokens: int | None = None
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int | None = None
    max_num_queued_reqs: int | None = None
    api_key: str | None = None
    seed: int = 0
    dev_mode: bool = False

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"profile: expected one of {', '.join(PROFILES)}, got {self.profile!r}")
        if not self.speed > 0:
            raise ValueError(f"speed: expected a number above 0, got {self.speed}")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port: expected 0 to 65535, got {self.port}")
        for name in (
            "block_size",
            "max_num_seqs",
            "kv_capacity_tokens",
            "max_model_len",
            "max_num_queued_reqs",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens: expected at least max_num_seqs ({self.max_num_seqs}), "
                f"got {self.max_num_batched_tokens}"
            )
        if self.max_model_len is not None and self.max_model_len > self.kv_tokens:
            raise ValueError(
                f"max_model_len: expected at most the KV cache's {self.kv_tokens} tokens, got {self.max_model_len}"
            )

    @property
    def hardware(self) -> Profile:
        return PROFILES[self.profile]

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names that requests may use; the first one is used in answers and metrics."""
        return self.served_model_names or (self.model,)

    @property
    def kv_tokens(self) -> int:
        """The KV cache's size in whole blocks."""
        tokens = self.kv_capacity_tokens or self.hardware.kv_capacity_tokens
        return tokens // self.block_size * self.block_size

    @property
    def model_len(self) -> int:
        return self.max_model_len or min(self.hardware.max_model_len, self.kv_tokens)
