"""Metrics of the configuration: what holds, since when, and what became of attempts to change it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from time import time

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric


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

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "balancer_config",
            "Digest of the settings that hold, secrets left out.",
            {"digest": self._digest},
        )
        yield GaugeMetricFamily(
            "balancer_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read without a mistake.",
            value=self._configured_at,
        )
        reloads = CounterMetricFamily(
            "balancer_config_reloads",
            "Attempts to reload the configuration: applied, unchanged, refused (a mistake: the old one stays).",
            labels=("outcome",),
        )
        for outcome in ("applied", "unchanged", "refused"):
            reloads.add_metric((outcome,), self._reloads[outcome])
        yield reloads
        waiting = GaugeMetricFamily(
            "balancer_config_waits_for_restart",
            "1 for each setting whose new value only a restart brings.",
            labels=("setting",),
        )
        for setting in self._waiting_for_restart:
            waiting.add_metric((setting,), 1)
        yield waiting
