"""Settings to a decider that keeps a journal, and back: what its beginning tells, to a policy."""

import os
from collections.abc import Mapping
from random import Random
from time import time
from typing import Any, Self, get_args

from balancer import __version__
from balancer.config import ConfigError, Mistake, Settings
from balancer.config.build import health_policy, make_policy, policy_named
from balancer.config.schema import PolicyName
from balancer.core.fleet.fleet import Fleet
from balancer.core.scheduling import Policy
from balancer.journal.recorder import Recorder
from balancer.journal.writer import JournalFile

POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)

FLUSH_S = 0.5
"""A process that is killed takes no more of its journal with it."""


class Journal:
    """The decider that is written down, and the file."""

    def __init__(self, decider: Recorder, file: JournalFile) -> None:
        self.decider = decider
        self.file = file

    @classmethod
    def open(cls, settings: Settings, seed: int) -> Self | None:
        """None, where none is asked for. The decider has no replicas: they join. All that it draws follows from the seed.

        Raises: ConfigError, if nothing can be written there.
        """
        if settings.journal is None:
            return None
        try:
            file = JournalFile(settings.journal, settings.journal_max_bytes, settings.journal_keep)
        except OSError as error:
            expected = f"a file that can be written: {error.strerror}"
            raise ConfigError([Mistake("journal", expected)]) from None
        facts = {
            "run": os.urandom(8).hex(),
            "version": __version__,
            "at": time(),
            "policy": settings.policy,
            "index_max_blocks": settings.index_max_blocks,
            "seed": seed,
        }
        policy = make_policy(settings, Random(seed).random)
        return cls(Recorder(Fleet(), policy, health_policy(settings), file, facts), file)

    async def keep(self) -> float:
        """Hand over what was written down; the seconds until the next time."""
        self.decider.flush()
        return FLUSH_S

    def close(self) -> None:
        self.decider.flush()
        self.file.close()


def policy_of(facts: Mapping[str, Any], name: str | None = None) -> Policy:
    """The policy that the facts tell of, as it was at the start; another one, by its name.

    Raises: ValueError, if they tell of none that is known.
    """
    named = next((each for each in POLICIES if each == (name or facts.get("policy"))), None)
    blocks, seed = facts.get("index_max_blocks"), facts.get("seed")
    if named is None or type(blocks) is not int or type(seed) is not int:
        raise ValueError(f"a policy that is not known here: {facts.get('policy')!r}")
    return policy_named(named, blocks, Random(seed).random)
