"""The balancer with nothing that only serves to be looked at: `python -m benchmarks.overhead.unobserved serve ...`. It counts
nothing, and tells of no gaps; what could be switched off by settings is the caller's to switch off. There is no setting for the
rest, since nobody would want it.
"""

from collections.abc import Iterator
from typing import Any

import balancer.app
import balancer.sending
from balancer.__main__ import main
from balancer.accounting.exposition import Samples
from balancer.accounting.metrics import Metrics
from balancer.accounting.record import Record


def _nothing(*_: Any) -> None:
    pass


class Unobserved(Metrics):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.attempted = self.stream_broke = self.refused = _nothing

    def add(self, record: Record) -> None:
        pass

    def families(self) -> Iterator[Samples]:
        return iter(())


def blind() -> None:
    """From now on, in this process."""
    balancer.app.Metrics = Unobserved  # type: ignore[misc] # in the place of its own class
    balancer.sending.Gaps = _nothing  # type: ignore[assignment,misc] # no stream is timed


if __name__ == "__main__":
    blind()
    main()
