"""Names that users of vLLM, vllm-router and production-stack already type, where they mean what one of ours means.

An alias stands wherever the setting itself may: as a flag, in the environment and in the file. A translation takes
the value as it was written, text or YAML; its ValueError says what was expected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VLLM = "vLLM"
VLLM_ROUTER = "vllm-router"
PRODUCTION_STACK = "production-stack"

STATIC_BACKENDS = "static_backends"
STATIC_MODELS = "static_models"
"""production-stack: the model of each of `static_backends`, in the same order."""


@dataclass(frozen=True, slots=True)
class Alias:
    name: str
    setting: str
    known_from: str
    translate: Callable[[Any], Any] | None = None
    note: str = ""
    many: bool = False
    """Whether the flag takes several values."""


def comma_separated(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise ValueError("text with commas between")  # noqa: TRY004 - a mistake in a value, told as all others
    return [part.strip() for part in value.split(",") if part.strip()]


def _attempts(retries: Any) -> int:
    try:
        count = -1 if isinstance(retries, bool) else int(retries)
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        raise ValueError("a whole number, at least 0")
    return count + 1


_ROUTING_LOGIC = {
    "roundrobin": "round_robin",
    "session": "session",
    "prefixaware": "cache_aware",
    "loadaware": "production_stack_loadaware",
}


def _policy(logic: Any) -> str:
    try:
        return _ROUTING_LOGIC[logic]
    except (KeyError, TypeError):
        raise ValueError(f"{', '.join(_ROUTING_LOGIC)}, or one of ours as `policy`") from None


ALIASES: tuple[Alias, ...] = (
    Alias("worker_urls", "replicas", VLLM_ROUTER, many=True),
    Alias(STATIC_BACKENDS, "replicas", PRODUCTION_STACK, comma_separated, "URLs with commas between"),
    Alias("api_key", "api_keys", VLLM, many=True, note="vllm-router's `--api-key` is `replica_api_key` here"),
    Alias("max_payload_size", "max_body_bytes", VLLM_ROUTER),
    Alias(
        "routing_logic",
        "policy",
        PRODUCTION_STACK,
        _policy,
        "roundrobin, session; prefixaware is cache_aware, loadaware production_stack_loadaware",
    ),
    Alias("session_key", "session_headers", PRODUCTION_STACK),
    Alias("retry_max_retries", "max_attempts", VLLM_ROUTER, _attempts, "attempts are retries + 1"),
    Alias("health_check_interval_secs", "health_interval_s", VLLM_ROUTER),
    Alias("health_check_timeout_secs", "health_timeout_s", VLLM_ROUTER),
    Alias("engine_stats_interval", "metrics_interval_s", PRODUCTION_STACK),
)

VALUE_ALIASES = {"policy": {"consistent_hash": "session"}}
"""Values of other routers for a setting whose name is the same."""
