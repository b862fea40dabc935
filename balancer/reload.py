"""New settings for a process that runs: when they are looked for, and that they hold whole or not at all.

Asked for by SIGHUP, by the admin API, or by a file that has changed. First everything that can fail is done, aside and in a
thread: reading, judging, keys and certificates. Only then is anything touched, in one go, between two events of the loop.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from balancer.accounting.configuration import ConfigurationSeries
from balancer.config import ConfigError, Loaded, Settings
from balancer.config.reload import Watched, files, taken_over
from balancer.config.report import digest
from balancer.replicas import Changes
from balancer.service_manager import ServiceManager

log = logging.getLogger("balancer.config")

SETTLE_S = 0.5
IDLE_S = 5.0

Prepare = Callable[[Settings], Callable[[], Changes]]
"""Does what can fail (ConfigError), and touches nothing; what it returns makes the settings hold, and cannot fail."""


class Outcome(StrEnum):
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """`waiting`: settings whose new values only a restart brings."""

    outcome: Outcome
    changes: Changes
    waiting: tuple[str, ...]


class Reloader:
    """`loaded` is what holds, `mistakes` what the last attempt to change it was refused for, `waiting` what needs a restart."""

    def __init__(
        self, loaded: Loaded, prepare: Prepare, series: ConfigurationSeries, manager: ServiceManager
    ) -> None:
        self.loaded = loaded
        self._manager = manager
        self._prepare = prepare
        self._series = series
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self.mistakes: tuple[str, ...] = ()
        self.waiting: tuple[str, ...] = ()
        self._watched = Watched(files(loaded))
        series.configured(digest(loaded.settings), ())

    def ask(self) -> None:
        """Reload soon."""
        self._asked.set()

    async def watch(self) -> float:
        """Wait until somebody asks, or look whether a file has changed; reload then. For the supervisor to repeat."""
        interval_s = self.loaded.settings.config_watch_interval_s
        try:
            async with asyncio.timeout(SETTLE_S if self._watched.settling else interval_s or IDLE_S):
                await self._asked.wait()
        except TimeoutError:
            if not interval_s or not await asyncio.to_thread(self._watched.changed):
                return 0
        self._asked.clear()
        try:
            await self.reload()
        except ConfigError as error:
            count = len(error.mistakes)
            log.error("the new configuration is refused, the old one stays: %d mistakes", count)  # noqa: TRY400 - no defect
            for mistake in error.mistakes:
                log.error("  %s", mistake)  # noqa: TRY400 - no defect
        return 0

    async def reload(self) -> Reloaded:
        """Raises: ConfigError. Then all stays as it was."""
        async with self._one_at_a_time:
            self._manager.reloading()
            try:
                loaded, waiting, apply = await asyncio.to_thread(self._read)
            except ConfigError as error:
                self.mistakes = tuple(str(mistake) for mistake in error.mistakes)
                self._series.reloaded(Outcome.REFUSED)
                self._manager.ready("a new configuration was refused, the old one holds")
                raise
            changes = apply()
            self.mistakes = ()
            same = loaded.settings == self.loaded.settings
            outcome = Outcome.UNCHANGED if same else Outcome.APPLIED
            self.loaded = loaded
            if files(loaded) != self._watched.paths:
                self._watched = await asyncio.to_thread(Watched, files(loaded))
            self._series.reloaded(outcome)
            self._series.configured(digest(loaded.settings), waiting)
            if not same:
                log.info("the new configuration holds; %s", changes)
            if waiting and waiting != self.waiting:
                log.warning("only a restart changes %s", ", ".join(waiting))
            self.waiting = waiting
            self._manager.ready(f"the configuration was read anew: {changes}")
            return Reloaded(outcome, changes, waiting)

    def _read(self) -> tuple[Loaded, tuple[str, ...], Callable[[], Changes]]:
        new = self.loaded.again()
        settings, waiting = taken_over(self.loaded.settings, new.settings)
        origins = {**new.origins, **{key: self.loaded.origins[key] for key in waiting}}
        return replace(new, settings=settings, origins=origins), waiting, self._prepare(settings)
