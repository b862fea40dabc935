"""Metrics of the configuration: what holds, since when, and what became of attempts to change it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from time import time

from balancer.accounting.exposition import Samples, counter, gauge, info

_CONFIG = info("balancer_config", "Digest of the settings that hold, secrets left out.", "digest")
_READ_AT = gauge(
    "balancer_config_last_reload_success_timestamp_seconds",
    "When the configuration was last read without a mistake.",
)
_RELOADS = counter(
    "balancer_config_reloads",
    "Attempts to reload the configuration: applied, unchanged, refused (a mistake: the old one stays).",
    "outcome",
)
_WAITING = gauge(
    "balancer_config_waits_for_restart",
    "1 for each setting whose new value only a restart brings.",
    "setting",
)


class ConfigurationSeries:
    def __init__(self) -> None:
        self._reloads: Counter[str] = Counter()
        self._digest = ""
        self._configured_at = 0.0
        self._waiting_for_restart: Sequence[str] = ()

    def reloaded(self, outcome: str) -> None:
        """Count an attempt to reload the configuration."""
        self._reloads[outcome] += 1

    def configured(self, digest: str, waiting_for_restart: Sequence[str]) -> None:
        """A configuration holds from now on, but for some settings."""
        self._digest, self._configured_at = digest, time()
        self._waiting_for_restart = waiting_for_restart

    def collect(self) -> Iterator[Samples]:
        yield _CONFIG, [((self._digest,), 1.0)]
        yield _READ_AT, [((), self._configured_at)]
        outcomes = ("applied", "unchanged", "refused")
        yield _RELOADS, [((outcome,), self._reloads[outcome]) for outcome in outcomes]
        yield _WAITING, [((setting,), 1.0) for setting in self._waiting_for_restart]
